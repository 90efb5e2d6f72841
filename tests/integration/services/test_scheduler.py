"""The scheduler with a real ledger and real processes, by a clock of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from databases import empty_postgres
from gateways import alive, until
from sqlalchemy import Engine

from penstock.audit.ledger import Ledger
from penstock.errors import ConflictError, ResourceError, SettingsError
from penstock.project import Project, open_project
from penstock.services.cron import Schedule
from penstock.services.run_process import RunProcess
from penstock.services.scheduler import LEADERSHIP, Scheduler
from penstock.services.slot_memory import SlotMemory
from penstock.services.slots import Action, Stage, decide
from penstock.state.database import open_database, open_state

SETTINGS = """\
[project]
name = "shop"

[pipeline]
schedule = "{schedule}"
timezone = "{zone}"
catchup = {catchup}
"""
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
# Writes down that it began and ended; a file `hang` in its folder makes it wait in between.
RUN = """\
import os, sys, time
folder, slot = sys.argv[1:]
def say(what):
    with open(folder + "/said", "a") as said:
        said.write(f"{what} {slot} {os.getpid()}\\n")
say("began")
while os.path.exists(folder + "/hang"):
    time.sleep(0.02)
say("ended")
sys.exit(os.path.exists(folder + "/fail"))
"""
# A scheduler in a process of its own, by the clock on the wall.
ALONE = """\
import sys, threading
from pathlib import Path
from penstock.project import open_project
from penstock.services.cron import Schedule
from penstock.services.run_process import RunProcess
from penstock.services.scheduler import Scheduler
from penstock.state.database import open_database
folder, run = sys.argv[1:]
project = open_project(Path(folder), "dev")
start = lambda slot, reason: RunProcess([sys.executable, "-c", run, folder, slot.isoformat()])
Scheduler(project, lambda: open_database(project), start).run(threading.Event(), 0.05)
"""


@dataclass
class World:
    """A project, what its runs said, and the time."""

    project: Project
    now: datetime = NOON
    away: bool = False  # the state database
    reasons: list[str] = field(default_factory=list)

    def scheduler(self) -> Scheduler:
        return Scheduler(self.project, self.connect, self.start, lambda: self.now)

    def connect(self) -> Engine:
        if self.away:
            return open_state("postgresql+psycopg://nobody@127.0.0.1:1/none", self.project.folder)
        return open_database(self.project)

    def start(self, slot: datetime, reason: str) -> RunProcess:
        self.reasons.append(reason)
        folder = str(self.project.root)
        return RunProcess([sys.executable, "-c", RUN, folder, slot.isoformat()])

    def said(self, what: str) -> list[datetime]:
        file = self.project.root / "said"
        lines = file.read_text().splitlines() if file.exists() else []
        return [datetime.fromisoformat(n.split()[1]) for n in lines if n.startswith(what)]

    def work(self, *schedulers: Scheduler) -> None:
        """Looks until all of them wait for a slot to come."""

        def waits() -> bool:
            found = [one.tick() for one in schedulers]
            return any(one is not None and one.action is Action.WAIT for one in found)

        until(waits)

    @property
    def memory(self) -> SlotMemory:
        return SlotMemory(open_database(self.project), "shop", "dev")


def opened(
    folder: Path, *, catchup: bool = False, schedule: str = "0 * * * *", zone: str = "UTC"
) -> World:
    written = SETTINGS.format(catchup=str(catchup).lower(), schedule=schedule, zone=zone)
    (folder / "penstock.toml").write_text(written)
    return World(open_project(folder, "dev"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return opened(tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def with_catchup(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    if request.param == "sqlite":
        yield opened(tmp_path, catchup=True)
        return
    with empty_postgres() as url:
        monkeypatch.setenv("PENSTOCK_STATE_URL", url)
        world = opened(tmp_path, catchup=True)
        yield world
        world.connect().dispose()


def test_a_run_a_slot_as_of_the_slot_and_with_the_reason(world: World) -> None:
    one = world.scheduler()
    world.work(one)
    assert world.said("began") == []  # nothing is made up for what was before the schedule began
    for _ in range(2):
        world.now += HOUR
        world.work(one)
    assert world.said("ended") == [NOON + HOUR, NOON + 2 * HOUR]
    assert world.reasons[0] == "0 * * * * UTC: 2026-11-01 13:00 UTC, due"
    entries = Ledger(open_database(world.project)).entries(stream="schedule:dev")
    assert [entry.action.partition(".")[2] for entry in entries] == [
        "begun",
        *("claimed", "ended") * 2,
    ]


@pytest.mark.parametrize(
    ("eve", "slots"),
    [
        ("2026-03-28T12", ["2026-03-29T01:00", "2026-03-30T00:30"]),  # no 02:30: at 03:00 summer
        ("2026-10-24T12", ["2026-10-25T00:30", "2026-10-26T01:30"]),  # 02:30 twice: the first time
    ],
)
def test_a_night_whose_clocks_are_changed_has_one_run(
    tmp_path: Path, eve: str, slots: list[str]
) -> None:
    world = opened(tmp_path, schedule="30 2 * * *", zone="Europe/Berlin")
    world.now = datetime.fromisoformat(eve).replace(tzinfo=UTC)
    one = world.scheduler()
    for _ in range(96):
        world.work(one)
        world.now += HOUR / 2
    assert [slot.isoformat()[:16] for slot in world.said("ended")] == slots
    told = [f"30 2 * * * Europe/Berlin: {slot.replace('T', ' ')} UTC" for slot in slots]
    assert [reason.partition(",")[0] for reason in world.reasons] == told


def test_runs_never_overlap_and_the_latest_stands_for_those_missed_meanwhile(world: World) -> None:
    one = world.scheduler()
    world.work(one)
    hang = world.project.root / "hang"
    hang.touch()
    for _ in range(4):
        world.now += HOUR
        one.tick()
        one.tick()
    until(lambda: world.said("began"))
    assert world.said("began") == [NOON + HOUR]
    hang.unlink()
    world.work(one)
    assert world.said("ended") == [NOON + HOUR, NOON + 4 * HOUR]
    assert "missed since 2026-11-01 14:00 UTC" in world.reasons[-1]


def test_two_schedulers_do_each_slot_once(with_catchup: World) -> None:
    world = with_catchup
    pair = (world.scheduler(), world.scheduler())
    world.work(*pair)
    world.now += 3 * HOUR
    world.work(*pair)
    world.now += 2 * HOUR  # far beyond the term of the one that led
    world.work(*reversed(pair))
    assert world.said("ended") == [NOON + n * HOUR for n in range(1, 6)]


def test_of_two_that_both_believe_to_lead_one_gets_the_slot(world: World) -> None:
    begun = world.memory.begin(NOON)
    due = decide(Schedule("0 * * * *"), begun, NOON + HOUR, catchup=False)
    world.memory.claim(due, begun)
    with pytest.raises(ConflictError):
        world.memory.claim(due, begun)


def test_a_failed_run_ends_its_slot_and_a_killed_one_does_not(world: World) -> None:
    one = world.scheduler()
    world.work(one)
    (world.project.root / "fail").touch()
    world.now += HOUR
    world.work(one)
    assert world.said("began") == [NOON + HOUR]
    (world.project.root / "fail").unlink()
    (world.project.root / "hang").touch()
    world.now += HOUR
    one.tick()
    until(lambda: len(world.said("began")) == 2)
    pid = int((world.project.root / "said").read_text().split()[-1])
    os.kill(pid, signal.SIGKILL)
    (world.project.root / "hang").unlink()
    world.work(one)
    assert world.said("began")[1:] == [NOON + 2 * HOUR] * 2
    assert "attempt 2 of 3" in world.reasons[-1]


def test_settings_that_cannot_be_read_hold_a_slot_back_until_they_are_mended(world: World) -> None:
    one = world.scheduler()
    world.work(one)
    (world.project.root / "penstock.toml").write_text("[pipeline\n")
    world.now += HOUR
    for _ in range(3):
        one.tick()
    begun = world.memory.standing()
    assert world.said("began") == []
    assert begun is not None
    assert begun.stage is Stage.BEGUN
    opened(world.project.root, schedule="30 * * * *")
    world.now += HOUR / 2
    world.work(one)
    assert world.said("ended") == [NOON + HOUR * 3 / 2]  # of the schedule as it is now
    assert world.reasons == [
        "30 * * * * UTC: 2026-11-01 13:30 UTC, due, and it stands for those missed since "
        "2026-11-01 12:30 UTC"
    ]


def test_while_the_database_is_away_it_waits_and_a_run_that_failed_by_it_is_done_again(
    world: World,
) -> None:
    one = world.scheduler()
    world.work(one)
    (world.project.root / "hang").touch()
    (world.project.root / "fail").touch()
    world.now += HOUR
    one.tick()
    world.away = True
    with pytest.raises(ResourceError, match="cannot be opened"):
        one.tick()
    (world.project.root / "hang").unlink()
    until(lambda: world.said("ended"))
    with pytest.raises(ResourceError):
        one.tick()
    world.away = False
    (world.project.root / "fail").unlink()
    world.work(one)
    assert world.said("ended") == [NOON + HOUR] * 2


@contextmanager
def on_its_own(world: World) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", ALONE, str(world.project.root), RUN])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_scheduler_that_is_killed_amid_a_slot_leaves_it_to_the_next_which_does_it_once(
    tmp_path: Path,
) -> None:
    slot = datetime.now(UTC).replace(second=0, microsecond=0) - HOUR
    world = opened(tmp_path, schedule=f"{slot.minute} {slot.hour} * * *")
    world.memory.begin(slot - HOUR)
    hang = world.project.root / "hang"
    hang.touch()
    with on_its_own(world) as first:
        until(lambda: world.said("began"))
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    run = int((world.project.root / "said").read_text().split()[-1])
    until(lambda: not alive(run))  # it does not go on behind the back of the next one
    hang.unlink()
    world.now = datetime.now(UTC) + LEADERSHIP
    world.work(world.scheduler())
    assert world.said("ended") == [slot]
    standing = world.memory.standing()
    assert standing is not None
    assert (standing.stage, standing.slot) == (Stage.ENDED, slot)


def test_on_sigterm_the_run_is_interrupted_and_another_scheduler_may_lead_at_once(
    world: World,
) -> None:
    one = world.scheduler()
    world.work(one)
    (world.project.root / "hang").touch()
    world.now += HOUR
    one.tick()
    until(lambda: world.said("began"))
    told = threading.Event()
    told.set()
    one.run(told)
    run = int((world.project.root / "said").read_text().split()[-1])
    assert not alive(run)
    (world.project.root / "hang").unlink()
    world.work(world.scheduler())
    assert world.said("ended") == [NOON + HOUR]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('schedule = ""', "nothing to start"),
        ('schedule = "soon"', "cannot be used"),
        ('timezone = "Europe/Atlantis"', "no time zone"),
    ],
)
def test_a_schedule_that_cannot_be_is_said_at_once(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "penstock.toml").write_text(f'[project]\nname = "shop"\n[pipeline]\n{line}\n')
    make: Callable[[], object] = lambda: World(open_project(tmp_path, "dev")).scheduler()  # noqa: E731
    with pytest.raises(SettingsError, match=reason):
        make()
