"""What the ledger knows of triggers: requests, runs that were started, what was held, and why.

retraining.requested   somebody, or an alert's rule, asks for a run
trigger.fired          a run is to be started: its id is fixed here, before there is one
trigger.held           what spoke for a run, and why none was started; a cause and hold once
trigger.started        the orchestrator was told; again where nothing came of it
trigger.ended          what became of the run
trigger.followed       a rollout of the version that it made was started
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from penstock.audit.entries import Actor, Draft, Entry
from penstock.audit.ledger import Ledger, present_actor
from penstock.monitoring.triggers import (
    Cause,
    Decision,
    Fired,
    History,
    Hold,
    Kind,
    Outcome,
    kind_of_measure,
    said,
)

REQUESTED = "retraining.requested"
FIRED, HELD, STARTED = "trigger.fired", "trigger.held", "trigger.started"
ENDED, FOLLOWED = "trigger.ended", "trigger.followed"
ACTIONS = (REQUESTED, FIRED, HELD, STARTED, ENDED, FOLLOWED)
ALERT = "alert"  # the cause of a request by an alert's rule
LONGEST = 500  # characters of a reason, in the run, its tags and the model card


@dataclass(frozen=True)
class Order:
    """A run that was ordered, and what is known of it since."""

    number: int  # of its entry
    at: datetime  # UTC
    actor: str
    run: str
    reason: str
    causes: tuple[Cause, ...]
    joined: tuple[str, ...] = ()  # keys of causes that came while it went on
    started: tuple[datetime, ...] = ()  # each time the orchestrator was told
    outcome: Outcome | None = None
    ended: datetime | None = None
    said: str = ""  # of the end
    version: str = ""  # name@version that it made
    digest: str = ""  # of its files
    followed: tuple[tuple[str, str], ...] = ()  # (strategy, rollout), oldest first

    @property
    def kind(self) -> Kind:
        """The first cause's; a person's before any other."""
        kinds = [one.kind for one in self.causes]
        return Kind.MANUAL if Kind.MANUAL in kinds else kinds[0]

    @property
    def because(self) -> str:
        """The reason of the run, which has the kind beside it."""
        first, *more = sorted(self.causes, key=lambda one: one.kind is not self.kind)
        return "; ".join(filter(None, (first.reason, said(more))))[:LONGEST]

    @property
    def fired(self) -> Fired:
        keys = frozenset(one.key for one in self.causes) | frozenset(self.joined)
        kinds = frozenset(one.kind for one in self.causes)
        return Fired(self.at, self.run, kinds, keys, self.outcome)


@dataclass(frozen=True)
class Held:
    """Causes that started nothing."""

    number: int
    at: datetime
    hold: Hold
    reason: str
    causes: tuple[Cause, ...]
    run: str = ""  # that goes on
    until: datetime | None = None


@dataclass(frozen=True)
class Book:
    """All of it."""

    orders: tuple[Order, ...]  # oldest first
    held: tuple[Held, ...]
    requests: tuple[Cause, ...]

    def history(self, running: str) -> History:
        """As a decision needs it; `running` is the id of a run that goes on."""
        held = frozenset(
            (cause.key, one.hold)
            for one in self.held
            if one.hold is not Hold.JOINED or one.run == running  # to join another run is news
            for cause in one.causes
        )
        return History(tuple(one.fired for one in self.orders), held, running)

    @property
    def open(self) -> tuple[Order, ...]:
        """Runs that were ordered, and have not ended."""
        return tuple(one for one in self.orders if one.outcome is None)

    def of_run(self, run: str) -> Order | None:
        return next((one for one in reversed(self.orders) if one.run == run), None)


def read_book(engine: Engine) -> Book:
    """The book as it is now."""
    return book_of(Ledger(engine).entries_of(ACTIONS))


def book_of(entries: Iterable[Entry]) -> Book:
    """The fold of entries of `ACTIONS`, oldest first."""
    orders: dict[int, Order] = {}
    held, requests = list[Held](), list[Cause]()
    for entry in entries:
        if entry.action == REQUESTED:
            requests.append(_request(entry))
        elif entry.action == FIRED:
            orders[entry.sequence] = _order(entry)
        elif entry.action == HELD:
            held.append(_held(entry))
            _join(orders, held[-1])
        elif (order := orders.get(entry.details.get("trigger", 0))) is not None:
            orders[order.number] = _after(order, entry)
    return Book(tuple(orders.values()), tuple(held), tuple(requests))


def request(
    model: str, kind: Kind, reason: str, *, by: Actor, key: str = "", **details: Any
) -> Draft:
    """The entry by which somebody asks for a run; with the same key again, it is heard once."""
    told = {"cause": str(kind), **({"key": key} if key else {}), **details}
    return Draft(by=by, action=REQUESTED, subject=model, reason=reason[:LONGEST], details=told)


def entry_about(order: Order, action: str, subject: str, reason: str, **details: str) -> Draft:
    """An entry that goes on with an order."""
    return Draft(
        by=present_actor(),
        action=action,
        subject=subject,
        run_id=order.run,
        reason=reason[:LONGEST],
        details={"trigger": order.number, **{k: v for k, v in details.items() if v}},
    )


def written(decision: Decision, history: History, model: str, run: str, by: Actor) -> Draft | None:
    """The entry of a decision; None where it says nothing that is not written yet."""
    causes, hold = decision.causes, decision.hold
    if hold is not None:
        causes = tuple(one for one in causes if (one.key, hold) not in history.held)
        if hold in {Hold.NOTHING, Hold.OFF} or not causes:
            return None
    details: dict[str, Any] = {"causes": [_stored(one) for one in causes]}
    if hold is not None:
        details |= {"hold": str(hold), "run": history.running}
        if decision.until:
            details["until"] = decision.until.isoformat()
    return Draft(
        by=by,
        action=HELD if hold else FIRED,
        subject=model,
        reason=decision.reason[:LONGEST],
        run_id=None if hold else run,
        decision="hold" if hold else "fire",
        details=details,
    )


def _request(entry: Entry) -> Cause:
    told = entry.details
    return Cause(
        kind=_kind(told),
        key=str(told.get("key") or f"request/{entry.sequence}"),
        reason=entry.reason or str(told.get("alert") or "asked for"),
        at=entry.at,
        numbers={name: told[name] for name in ("alert", "measures") if name in told},
        request=entry.sequence,
        asked=True,
    )


def _kind(told: Mapping[str, Any]) -> Kind:
    """An alert's is that of the first measure that it is about."""
    measures = told.get("measures") or [{}]
    if told.get("cause") == ALERT:
        return kind_of_measure(str(measures[0].get("metric", "")))
    return Kind(told["cause"]) if told.get("cause") in set(Kind) else Kind.WEBHOOK


def _order(entry: Entry) -> Order:
    return Order(
        number=entry.sequence,
        at=entry.at,
        actor=entry.actor,
        run=entry.run_id or "",
        reason=entry.reason,
        causes=tuple(_causes(entry)),
    )


def _held(entry: Entry) -> Held:
    until = entry.details.get("until")
    return Held(
        number=entry.sequence,
        at=entry.at,
        hold=Hold(entry.details["hold"]),
        reason=entry.reason,
        causes=tuple(_causes(entry)),
        run=entry.details.get("run", ""),
        until=datetime.fromisoformat(until) if until else None,
    )


def _join(orders: dict[int, Order], held: Held) -> None:
    """What joined a run counts with it."""
    for order in orders.values():
        if held.hold is Hold.JOINED and order.run == held.run:
            keys = (*order.joined, *(one.key for one in held.causes))
            orders[order.number] = replace(order, joined=keys)


def _after(order: Order, entry: Entry) -> Order:
    told = entry.details
    if entry.action == STARTED:
        return replace(order, started=(*order.started, entry.at))
    if entry.action == FOLLOWED:
        rollout = (str(told["strategy"]), str(told["rollout"]))
        return replace(order, followed=(*order.followed, rollout))
    return replace(
        order,
        outcome=Outcome(entry.outcome),
        ended=entry.at,
        said=entry.reason,
        version=str(told.get("model", "")),
        digest=entry.digest,
    )


def _stored(one: Cause) -> dict[str, Any]:
    stored = {"kind": str(one.kind), "key": one.key, "reason": one.reason[:LONGEST]}
    stored["at"] = one.at.isoformat()
    more = {"numbers": dict(one.numbers), "request": one.request, "asked": one.asked}
    return stored | {name: value for name, value in more.items() if value}


def _causes(entry: Entry) -> Iterator[Cause]:
    for stored in entry.details.get("causes", ()):
        given = {**stored, "kind": Kind(stored["kind"])}
        yield Cause(**given | {"at": datetime.fromisoformat(stored["at"])})
