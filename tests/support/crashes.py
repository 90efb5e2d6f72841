"""Controllers in processes of their own, which die, or fall asleep, at a chosen point."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from flights import STEP, Flight
from rollout_worlds import Traffic
from shops import PRODUCTION, Shop
from sqlalchemy import Engine, event

from penstock.errors import ConflictError, RolloutError
from penstock.releases.rollback import roll_back
from penstock.state import routes

T = TypeVar("T")
NEEDED = (
    "alembic.command",
    "alembic.config",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "duckdb",
    "mlflow.tracking",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "mlflow.store.model_registry.sqlalchemy_workspace_store",
)
MOST_DEATHS = 200

_SPAWN, _FORK = multiprocessing.get_context("spawn"), multiprocessing.get_context("fork")
_late: list[Any] = [None]  # the other end of the one who is late


class Nursery:
    """A process that has loaded all that controllers need, and no thread that they would lose.

    Scenes are functions of this module. They run there, and fork what they need.
    """

    def __init__(self) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_nurse, args=(theirs,))
        self._process.start()
        theirs.close()

    def run(self, scene: Callable[..., T], *arguments: Any) -> T:
        """What a scene gives."""
        self._pipe.send((scene, arguments))
        result, fault = self._pipe.recv()
        assert not fault, fault
        found: T = result
        return found

    def close(self) -> None:
        self._pipe.close()
        self._process.join()


def _nurse(pipe: Connection) -> None:
    for name in NEEDED:
        importlib.import_module(name)
    with contextlib.suppress(EOFError):
        while True:
            scene, arguments = pipe.recv()
            try:
                pipe.send((scene(*arguments), ""))
            except Exception:  # noqa: BLE001 -- it is told where the test is
                pipe.send((None, traceback.format_exc()))


def born(target: Callable[..., None], *arguments: Any) -> int:
    """A child that does one thing."""
    pid = os.fork()
    if pid:
        return pid
    try:
        target(*arguments)
    except BaseException:  # noqa: BLE001 -- nothing may go on as its parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(pid: int) -> int:
    """How a child ended; the negative of a signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@dataclass
class Fate:
    """A signal that a process sends itself at one of the points that it comes by."""

    signal: signal.Signals
    at: int  # which point, from 1; 0: none
    armed: bool = False
    passed: int = 0

    def pass_by(self) -> None:
        self.passed += self.armed
        if self.armed and self.passed == self.at:
            os.kill(os.getpid(), self.signal)

    @contextlib.contextmanager
    def arm(self) -> Iterator[None]:
        self.armed = True
        yield
        self.armed = False

    def at_writes(self, root: Path) -> None:
        """The points are its commits, each still to be made, and what it does to files.

        But for those by which a controller says no more than that it lives.
        """
        said = ""

        @event.listens_for(Engine, "before_cursor_execute")
        def _note(_: object, __: object, statement: str, *___: object) -> None:
            nonlocal said
            said = statement

        @event.listens_for(Engine, "commit")
        def _write(_: object) -> None:
            if " controllers " not in said:
                self.pass_by()

        self.at_files(str(root))

    def at_files(self, path: str) -> None:
        """The points are where it opens files to write to them, or moves one into its place."""

        def see(name: str, arguments: tuple[Any, ...]) -> None:
            if name not in ("open", "os.rename"):
                return
            file, mode = (
                (arguments[0], arguments[1] or "r") if name == "open" else (arguments[1], "w")
            )
            if path in str(file) and isinstance(mode, str) and mode[:1] in ("w", "a", "x"):
                self.pass_by()

        sys.addaudithook(see)

    def after_reading(self, what: str) -> None:
        """The points are where it turns to the database again, after a query about something."""
        read = False

        @event.listens_for(Engine, "before_cursor_execute")
        def _note(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
            nonlocal read
            read = read or what in statement or what in str(parameters)

        @event.listens_for(Engine, "begin")
        def _turn(_: object) -> None:
            nonlocal read
            if read:
                read = False
                self.pass_by()


# What the processes do.


def fly(root: Path, rollout: str, traffic: Traffic, dies_at: int = 0) -> None:
    """A controller that goes on until all is done, unless it dies before."""
    flight = Flight(Shop(root), rollout, traffic)
    fate = Fate(signal.SIGKILL, dies_at)
    fate.at_writes(root)
    while not flight.settled:
        flight.gateways.report()
        with fate.arm():
            flight.controller.tick()
        flight.clock.moment += STEP


def look_and_sleep(
    root: Path, rollout: str, traffic: Traffic, points: str, what: str, at: int
) -> None:
    """A controller that stops in the middle of a look, at one of its `points`: see `Fate`."""
    flight = Flight(Shop(root), rollout, traffic)
    fate = Fate(signal.SIGSTOP, at)
    getattr(fate, points)(what)
    flight.gateways.report()
    with fate.arm():
        flight.controller.tick()


def drive_together(root: Path, rollout: str, traffic: Traffic, barrier: Any, first: bool) -> None:
    """One of several controllers that all believe to lead, and look at the same moments."""
    flight = Flight(Shop(root), rollout, traffic)
    while True:
        barrier.wait()
        if flight.settled:
            return
        barrier.wait()
        if first:
            flight.gateways.report()
        barrier.wait()
        flight.controller.drive(rollout)
        flight.clock.moment += STEP


def act_together(
    root: Path, rollout: str, barrier: Any, told: Any, what: str, **given: Any
) -> None:
    """A person who does something at the same moment as another one."""
    shop = Shop(root)
    shop.state(rollout)
    barrier.wait()
    try:
        shop.act(rollout, what, actor=f"who would {what}", **given)
        told.send((what, ""))
    except (RolloutError, ConflictError) as error:
        told.send((what, str(error)))


def act_and_die(root: Path, rollout: str, what: str, at: int) -> None:
    """A person whose computer fails before the write of this number."""
    shop, fate = Shop(root), Fate(signal.SIGKILL, at)
    fate.at_writes(root)
    with fate.arm():
        shop.act(rollout, what, reason="a doubt")


def roll_back_and_die(root: Path, at: int) -> None:
    """Somebody takes production back, and their computer fails before the write of this number."""
    shop, fate = Shop(root), Fate(signal.SIGKILL, at)
    fate.at_writes(root)
    with fate.arm():
        roll_back(shop.project, shop.engine, reason="worse in the field", progress=lambda *_: None)


# Scenes.


def undisturbed(root: Path, rollout: str, traffic: Traffic) -> None:
    """One controller, from the start to the end."""
    assert ended(born(fly, root, rollout, traffic)) == 0


def dying(root: Path, rollout: str, traffic: Traffic, writes: int) -> int:
    """Controllers one after another. Each dies in the middle of a write, after so many others; or
    after as many more where the one before it came no further. Gives how many died before all was
    done.
    """
    shop = Shop(root)
    reached, dies_at = _reached(shop, rollout), writes + 1
    for deaths in range(MOST_DEATHS):
        if (code := ended(born(fly, root, rollout, traffic, dies_at))) == 0:
            return deaths
        assert code == -signal.SIGKILL
        before, reached = reached, _reached(shop, rollout)
        dies_at = dies_at + writes if reached == before else writes + 1
    raise AssertionError(f"no end after {deaths} deaths: {shop.why(rollout)}")


def _reached(shop: Shop, rollout: str) -> tuple[int, int, int]:
    one = shop.remembered(rollout)
    return len(one.events), one.settled, routes.revision_of(shop.engine, PRODUCTION)


def asleep(root: Path, rollout: str, traffic: Traffic, points: str, what: str, at: int = 1) -> int:
    """A controller that sleeps, by its process id. See `look_and_sleep`."""
    pid = born(look_and_sleep, root, rollout, traffic, points, what, at)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), f"it never comes to {what}"
    return pid


def awake(pid: int) -> None:
    """It goes on with what it was about to do, to the end of its look."""
    os.kill(pid, signal.SIGCONT)
    assert ended(pid) == 0


def together(root: Path, rollout: str, traffic: Traffic) -> None:
    """Two controllers at once, until all is done."""
    barrier = _FORK.Barrier(2, timeout=60)
    pids = [born(drive_together, root, rollout, traffic, barrier, first) for first in (True, False)]
    assert [ended(pid) for pid in pids] == [0, 0]


def at_once(root: Path, rollout: str, *doings: tuple[str, dict[str, Any]]) -> dict[str, str]:
    """People who act at once: what each was told; nothing where it was done."""
    barrier = _FORK.Barrier(len(doings), timeout=60)
    pipe, theirs = _FORK.Pipe()

    def act(what: str, given: dict[str, Any]) -> None:
        act_together(root, rollout, barrier, theirs, what, **given)

    pids = [born(act, *doing) for doing in doings]
    assert [ended(pid) for pid in pids] == [0] * len(doings)
    return dict(pipe.recv() for _ in doings)


def acting(root: Path, rollout: str, what: str, at: int) -> None:
    """A person acts, and dies meanwhile. See `act_and_die`."""
    assert ended(born(act_and_die, root, rollout, what, at)) == -signal.SIGKILL


def rolling_back(root: Path) -> int:
    """People take production back, one after another; each dies one write later than the one
    before, until one does not. Gives how many died."""
    for deaths in range(MOST_DEATHS):
        if (code := ended(born(roll_back_and_die, root, deaths + 1))) == 0:
            return deaths
        assert code == -signal.SIGKILL
    raise AssertionError(f"no end after {deaths} deaths")


def late(root: Path, rollout: str, what: str) -> int:
    """A person who has read how things stand, and acts on it when it is another way."""
    _late[0], theirs = _FORK.Pipe(duplex=False)

    def act() -> None:
        fate = Fate(signal.SIGSTOP, 1)
        fate.after_reading("FROM ledger")
        shop = Shop(root)
        try:
            with fate.arm():
                shop.act(rollout, what)
            theirs.send("")
        except RolloutError as error:
            theirs.send(str(error))

    pid = born(act)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    return pid


def heard(pid: int) -> str:
    """What the one who is late is told."""
    awake(pid)
    said: str = _late[0].recv()
    return said
