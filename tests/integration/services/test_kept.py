"""One service with a real process, by a clock of the test's own; its log, and who follows it."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from gateways import until

from penstock.monitoring_settings import ServiceSettings
from penstock.project import Project
from penstock.services.child import Child
from penstock.services.kept import Kept
from penstock.services.logs import follow, last_lines
from penstock.services.restarts import CRASHES
from penstock.services.roster import Service

pytestmark = pytest.mark.slow

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
PATIENT = 20.0  # seconds


def service(code: str) -> Service:
    return Service("one", (sys.executable, "-I", "-S", "-c", code))


def test_a_crash_loop_backs_off_and_is_said_aloud(
    make_project: Callable[..., Project],
) -> None:
    project, said, lost = make_project(), list[str](), list[str]()
    crashing = service("print('no luck'); raise SystemExit(3)")
    log = project.root / "one.log"
    kept = Kept(project, crashing, log, said.append, lambda *told: lost.extend(told))
    now, pauses = NOON, list[int]()

    def ended() -> bool:
        kept.look(now)
        return kept.standing().state != "running"

    while True:
        until(ended)
        again = re.search(r"started again in (\d+) s", kept.standing().said)
        if again is None:
            break
        pauses.append(int(again[1]))
        now += timedelta(seconds=pauses[-1])
    assert pauses == [1, 2, 4, 8, 16, 32, 60]
    why = f"ended with status 3, {CRASHES} times in a row; tried again in 15 min; it said: no luck"
    assert lost == ["one", why]
    assert said[-1] == f"one: {why}"
    assert last_lines(log, 99) == ["no luck"] * CRASHES
    assert kept.standing().state == "failed"
    now += timedelta(minutes=15)
    kept.look(now, hindered="the settings cannot be read")
    assert kept.standing().said == "the settings cannot be read"
    until(ended)
    assert (kept.standing().state, lost) == ("failed", ["one", said[-3].removeprefix("one: ")])
    now -= timedelta(hours=1)  # somebody sets the clock: that is no reason to wait for an hour
    kept.look(now)
    assert kept.standing().state == "running"
    until(ended)


def test_it_is_started_again_as_new_settings_have_it(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project, log = make_project(), tmp_path / "one.log"
    waiting = "import time; print({!r}, flush=True); time.sleep(600)"
    first, second = (service(waiting.format(word)) for word in ("old", "new"))
    kept = Kept(project, first, log, print, print)
    kept.look(NOON)
    until(lambda: kept.standing().said == "old")
    kept.next_as(project, second)
    kept.tell_to_end()
    now = NOON + timedelta(hours=1)

    def started() -> bool:
        nonlocal now
        now += timedelta(minutes=1)
        kept.look(now)
        return kept.standing().said == "new"

    until(started)
    kept.leave(PATIENT, now)
    assert (kept.standing().state, kept.standing().pid) == ("stopped", 0)


def test_what_cannot_be_started_is_tried_again(
    make_project: Callable[..., Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, said = make_project(), list[str]()
    kept = Kept(project, service("print(1)"), tmp_path / "one.log", said.append, print)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(tmp_path / "away"))
        kept.look(NOON)
    assert kept.standing().state == "waiting"
    assert said == ["one: it cannot be started: No such file or directory"]
    kept.look(NOON + timedelta(minutes=1))
    assert kept.standing().state == "running"
    kept.end(PATIENT, NOON)


def test_logs_are_rotated_and_followed_through_it(tmp_path: Path) -> None:
    log, ended, seen = tmp_path / "one.log", threading.Event(), list[str]()
    log.touch()

    def watch() -> None:
        for _, line in follow({"one": log}, ended):
            seen.append(line)

    watching = threading.Thread(target=watch)
    watching.start()
    settings = ServiceSettings(log_files=2).model_copy(update={"log_size": 2_000})
    counting = "for n in range(100): print('line', n, '.' * 40, flush=True); time.sleep(0.01)"
    child = Child(service(f"import time\n{counting}"), log, settings)
    child.end(PATIENT)
    until(lambda: seen and seen[-1].startswith("line 99 "))
    ended.set()
    watching.join()
    assert [int(line.split()[1]) for line in seen] == list(range(100))
    assert child.last_line.startswith("line 99 ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.log", "one.log.1", "one.log.2"]
    assert [line.split()[1] for line in last_lines(log, 3)] == ["97", "98", "99"]
