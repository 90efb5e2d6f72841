"""Decides whether a run is started, starts it, and says what became of it.

Every decision is taken while nobody else can write to the ledger, and is in it before anything
follows: of two who decide at once, the second sees the first one's order. What a killed process did
not come to, telling the orchestrator or writing down an end, is done by the next check.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from msgspec import structs
from sqlalchemy import Engine

from penstock.audit.ledger import Ledger, present_actor
from penstock.errors import ConflictError, PenstockError, ResourceError
from penstock.monitoring.report import Report
from penstock.monitoring.trigger_book import (
    ACTIONS,
    ENDED,
    STARTED,
    Order,
    book_of,
    entry_about,
    read_book,
    written,
)
from penstock.monitoring.triggers import Cause, Decision, Hold, Outcome, decide
from penstock.notifications.outbox import tell
from penstock.orchestrators import starting
from penstock.orchestrators.abandoned import close_abandoned
from penstock.orchestrators.causes import causes_now
from penstock.orchestrators.following import Followed, follow
from penstock.orchestrators.run_ends import End, end_of
from penstock.project import Project
from penstock.setting_types import duration_text
from penstock.state.runs import Runs

FIRST_PATIENCE = timedelta(minutes=1)  # with whoever wrote an order down, and will start it
PATIENCE = timedelta(minutes=10)  # between telling the orchestrator, and telling it again
GIVEN_UP = timedelta(hours=1)  # after which an order that nothing came of has ended
WAITS = frozenset({Hold.RUNNING, Hold.JOINED})  # for a run to end


@dataclass(frozen=True)
class Checked:
    """What a check did."""

    decision: Decision
    order: Order | None  # the run that was ordered
    ended: tuple[Order, ...]  # runs whose end was written down
    troubles: tuple[str, ...] = ()  # of telling the orchestrator, and of asking it
    followed: tuple[Followed, ...] = ()  # what became of versions that were made


def check(project: Project, engine: Engine, reports: Sequence[Report] = ()) -> Checked:
    """Settles what has ended, tells the orchestrator again where it must be, decides, and carries
    on what was made. `reports`: of the last look.
    """
    unknown, ended = close_abandoned(project, engine), _settled(project, engine)
    troubles = _start_again(project, engine)
    causes = list(causes_now(project, engine, read_book(engine), reports))
    decision, order = decided(project, engine, causes)
    if order is not None:
        troubles += _tell(project, engine, order)
    if decision.hold in WAITS:
        troubles += unknown
    followed = tuple(follow(project, engine))
    return Checked(decision, order, tuple(ended), tuple(troubles), followed)


def fire(project: Project, engine: Engine, cause: Cause) -> Checked:
    """Decides on one cause, which somebody or something has at hand, with all that waits.

    Raises `ResourceError` where the orchestrator cannot be reached; a later check tries again.
    """
    unknown, ended = close_abandoned(project, engine), _settled(project, engine)
    waiting = read_book(engine).requests
    decision, order = decided(project, engine, [cause, *waiting])
    if order is not None:
        start(project, engine, order)
    troubles = unknown if decision.hold in WAITS else []
    return Checked(decision, order, tuple(ended), tuple(troubles))


def decided(
    project: Project, engine: Engine, causes: Iterable[Cause]
) -> tuple[Decision, Order | None]:
    """The decision, which is written down, and the run that it orders."""
    settings, now = project.settings, datetime.now(UTC)
    run = starting.new_run(project, now)
    running = next((one.id for one in Runs(engine).running()), "")
    with Ledger(engine).page() as page:
        book = book_of(page.entries(ACTIONS))
        # A run that was ordered a moment ago has no row yet.
        history = book.history(book.open[-1].run if book.open else running)
        decision = decide(history, causes, settings.triggers, now)
        draft = written(decision, history, settings.model_name, run, present_actor())
        entry = page.write(draft) if draft else None
    if entry is None or not decision.fire:
        return decision, None
    return decision, book_of([entry]).orders[0]


def ordered(project: Project, engine: Engine, cause: Cause) -> tuple[Decision, Order | None]:
    """The same for who carries the run out: theirs is an order of this cause that nobody began."""
    settle(project, engine)
    for order in read_book(engine).open:
        if cause.key in order.fired.keys and Runs(engine).get(order.run) is None:
            return Decision(True, order.reason, order.causes), order
    return decided(project, engine, [cause])


def start(project: Project, engine: Engine, order: Order) -> str:
    """Tells the orchestrator, and writes that down.

    Raises `ResourceError` or `ConflictError` where it may be tried again; another `PenstockError`
    ends the order.
    """
    try:
        where = starting.start(project, order)
    except PenstockError as error:
        if not (error.transient or isinstance(error, ConflictError)):
            _give_up(project, engine, order, error.message)
        raise
    Ledger(engine).write(entry_about(order, STARTED, project.settings.model_name, where))
    return where


def settle(project: Project, engine: Engine) -> list[Order]:
    """Writes down what became of the runs that have ended since; returns their orders."""
    close_abandoned(project, engine)
    return _settled(project, engine)


def _settled(project: Project, engine: Engine) -> list[Order]:
    done = set[int]()
    for order in read_book(engine).open:
        run = Runs(engine).get(order.run)
        if run is None or run.status == "running":
            continue
        if _end(project, engine, order, end_of(run)):
            done.add(order.number)
    return [one for one in read_book(engine).orders if one.number in done] if done else []


def _start_again(project: Project, engine: Engine) -> list[str]:
    """Orders that nothing came of: whoever wrote them was killed, or the orchestrator was away."""
    troubles, now = list[str](), datetime.now(UTC)
    for order in read_book(engine).open:
        last = order.started[-1] if order.started else order.at
        wait = PATIENCE if order.started else FIRST_PATIENCE
        if Runs(engine).get(order.run) is not None or now - last < wait:
            continue
        if now - order.at < GIVEN_UP:
            troubles += _tell(project, engine, order)
            continue
        where, after = project.settings.pipeline.orchestrator, duration_text(GIVEN_UP)
        said = f"no such run has begun ({where}) {after} after it was ordered"
        _give_up(project, engine, order, said)
        troubles.append(f"{order.run}: {said}")
    return troubles


def _tell(project: Project, engine: Engine, order: Order) -> list[str]:
    try:
        start(project, engine, order)
    except PenstockError as error:
        return [f"{order.run} is ordered, and not started yet: {error.message}"]
    return []


def _give_up(project: Project, engine: Engine, order: Order, said: str) -> None:
    """Ends an order that nothing came of, and tells people; its causes may order another."""
    if not _end(project, engine, order, End(Outcome.NOT_STARTED, said)):
        return
    name = project.settings.project.name
    lines = (f"Pipeline: {name}", f"Run: {order.run}", f"Because of: {order.reason}")
    body = "\n".join((*lines, f"What happened: {said}"))
    with contextlib.suppress(ResourceError, OSError):  # it is queued, and in the log
        tell(project, f"[{name}] a run could not be started", body, key=order.run, failure=True)


def _end(project: Project, engine: Engine, order: Order, end: End) -> bool:
    """Writes the end down, once."""
    name = project.settings.model_name
    draft = entry_about(order, ENDED, name, end.said, model=end.version)
    with Ledger(engine).page() as page:
        if all(one.number != order.number for one in book_of(page.entries(ACTIONS)).open):
            return False
        page.write(structs.replace(draft, outcome=str(end.outcome), digest=end.digest))
    return True
