"""The monitor loop on SQLite and PostgreSQL: real commands, one loop that works, an orderly end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from penstock.project import Project
from penstock.services import monitor_loop
from penstock.services.monitor_loop import ALERTS, LOOK, TRIGGERS, MonitorLoop
from penstock.state import heartbeats

pytestmark = pytest.mark.slow

START = datetime(2026, 11, 29, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def loop(project: Project, engine: Engine, clock: Clock, *commands: str) -> MonitorLoop:
    return MonitorLoop(project, lambda: engine, commands, clock)


def test_of_two_loops_one_works_and_the_other_takes_over(
    project: Project, database: Engine
) -> None:
    clock = Clock()
    first, second = (loop(project, database, clock) for _ in range(2))
    assert first.tick()
    assert second.tick() is None
    clock.now += HOUR
    assert first.tick()
    # The first is gone. The second goes on with the pace, and makes no round of its own at once.
    clock.now += HOUR / 2
    assert second.tick() is None
    clock.now += HOUR / 2
    assert second.tick()
    assert first.tick() is None
    assert heartbeats.last(database, heartbeats.MONITOR) == START + 2 * HOUR


def test_a_round_is_made_of_the_commands_themselves(project: Project, database: Engine) -> None:
    done = loop(project, database, Clock(), LOOK, ALERTS, TRIGGERS).once()
    assert [part.command for part in done.parts] == [ALERTS, TRIGGERS]  # nothing is served
    assert done.troubles == ()


def test_what_fails_is_counted_and_stops_nothing_else(project: Project, database: Engine) -> None:
    (project.root / "penstock.toml").write_text('[project]\nname = "shop"\ncolour = 1\n')
    one = loop(project, database, Clock(), ALERTS, TRIGGERS)
    done = one.once()
    assert len(done.parts) == len(done.troubles) == one.failures == 2
    assert "colour" in done.troubles[0]
    assert done.looked  # there was nothing to look at: the watchdog need not bark


def test_a_database_that_is_away_ends_no_loop(project: Project, database: Engine) -> None:
    clock, away = Clock(), True

    def connect() -> Engine:
        if away:
            raise OperationalError("SELECT", {}, Exception("no connection"))
        return database

    one = MonitorLoop(project, connect, (), clock)
    with pytest.raises(OperationalError):
        one.tick()
    away = False
    assert one.tick()


@contextmanager
def running(project: Project) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-m", "penstock", "monitor", "loop", "--project", str(project.root)]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_told_to_end_it_ends_its_command_and_lets_another_work(
    project: Project, database: Engine
) -> None:
    with running(project) as process:
        assert process.stderr
        line = ""
        while "round 1" not in line:
            line = process.stderr.readline()
            assert line, "the loop ended"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    after = Clock()
    after.now = datetime.now(UTC) + HOUR
    assert loop(project, database, after).tick()


def test_a_command_that_hangs_is_ended(
    project: Project, database: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(monitor_loop, "SHORTEST_LIMIT", timedelta(0))
    settings = project.settings.model_copy(
        update={"monitoring": project.settings.monitoring.model_copy(update={"every": HOUR * 0})}
    )
    hanging = type(project)(project.root, "dev", settings, {}, project.digests)
    done = loop(hanging, database, Clock(), ALERTS).once()
    assert "status -15" in done.troubles[0]
