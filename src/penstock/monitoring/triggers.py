"""Whether what was seen starts a run: a decision and its reason. Pure.

What the world does (drift, lost performance, stale features, new data, a webhook) is held back by
a cool-down and a budget; what people decided on (a schedule, a run by hand) is not. One run goes on
at a time. A cause counts once, by its key.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from typing import Any

from penstock.monitoring.report import DRIFTED_SHARE, Measure, Report
from penstock.monitoring_settings import TriggerSettings
from penstock.setting_types import duration_text

DAY = timedelta(days=1)
MOST_DOUBLED = 4  # times that a cool-down is doubled
NAMED = 3  # findings in the reason of a run, the others are counted


class Kind(StrEnum):
    """What starts a run."""

    SCHEDULE = "schedule"
    DRIFT = "drift"  # of features, predictions, or the data's quality
    PERFORMANCE = "performance"
    FRESHNESS = "freshness"
    DATA = "data"  # there is a new dataset to extract
    MANUAL = "manual"
    WEBHOOK = "webhook"


PACED = frozenset({Kind.SCHEDULE, Kind.MANUAL})  # by people: no cool-down, no budget
ASKED = frozenset({Kind.MANUAL, Kind.WEBHOOK})  # there are only where somebody asks
# What a report is about, and of what kind a run because of it is.
REPORTED = {
    "data": Kind.DRIFT,
    "features": Kind.DRIFT,
    "predictions": Kind.DRIFT,
    "performance": Kind.PERFORMANCE,
    "freshness": Kind.FRESHNESS,
}

# Measures, by how their names begin, that a run may mend. Labels that do not come and clocks that
# are wrong want people.
MENDED = {
    Kind.PERFORMANCE: (
        *("estimated_", "realised_", "worst_slice", "calibration_error"),
        *("estimation_error", "retraining_gain"),
    ),
    Kind.FRESHNESS: ("event_age_s",),
}


class Hold(StrEnum):
    """Why no run is started."""

    NOTHING = "nothing new"
    OFF = "off"  # no setting lets such a cause start a run
    JOINED = "joined"  # a run goes on that something started: the cause is its cause too
    RUNNING = "running"  # another run goes on
    COOL_DOWN = "cool-down"
    BUDGET = "budget"


class Outcome(StrEnum):
    """What became of a run that something started."""

    REGISTERED = "registered"  # there is a new version, and it passed every gate
    NO_BETTER = "no better"  # than the champion, which stays
    NOTHING_NEW = "nothing new"  # every step was cached
    REFUSED = "refused"  # by another gate
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # killed on its way
    NOT_STARTED = "not started"  # the orchestrator could not be reached


FRUITLESS = frozenset({Outcome.NO_BETTER, Outcome.NOTHING_NEW})
UNDONE = frozenset({Outcome.INTERRUPTED, Outcome.NOT_STARTED})  # its causes may start another


@dataclass(frozen=True)
class Cause:
    """Something that speaks for a run."""

    kind: Kind
    key: str  # what was seen where: the same one counts once
    reason: str  # for people, with the numbers
    at: datetime  # UTC; when it was seen
    numbers: Mapping[str, Any] = field(default_factory=dict)  # plain JSON
    request: int = 0  # number of the ledger's entry that asks for a run; 0: none does
    asked: bool = False  # for, by a person, a program or an alert's rule: `on` does not matter


@dataclass(frozen=True)
class Fired:
    """A run that something started."""

    at: datetime  # UTC
    run: str
    kinds: frozenset[Kind]
    keys: frozenset[str]  # of its causes, and of those that joined it
    outcome: Outcome | None = None  # None: it goes on

    @property
    def counts(self) -> bool:
        """Whether its causes are done with."""
        return self.outcome not in UNDONE


@dataclass(frozen=True)
class History:
    """What is known of triggers so far."""

    fired: tuple[Fired, ...] = ()  # oldest first
    held: frozenset[tuple[str, Hold]] = frozenset()  # keys, and why they were held already
    running: str = ""  # the id of a run that goes on, whoever started it

    @property
    def keys(self) -> frozenset[str]:
        """Of the causes that counted."""
        return frozenset[str]().union(*(one.keys for one in self.fired if one.counts))

    def spent(self, now: datetime) -> list[datetime]:
        """When runs were started by the world within the last 24 hours."""
        return [one.at for one in self.fired if one.kinds - PACED and abs(now - one.at) < DAY]


@dataclass(frozen=True)
class Decision:
    fire: bool
    reason: str
    causes: tuple[Cause, ...] = ()  # that it is about
    hold: Hold | None = None  # None: fire
    until: datetime | None = None  # when it is decided otherwise at the earliest, if that is known


def decide(
    history: History, causes: Iterable[Cause], settings: TriggerSettings, now: datetime
) -> Decision:
    """Fires for all causes together, or holds all that speak for a run, for the first reason."""
    known = history.keys
    fresh = {cause.key: cause for cause in causes if cause.key not in known}
    live = tuple(one for one in fresh.values() if one.asked or str(one.kind) in settings.on)
    if fresh and not live:
        kinds = ", ".join(sorted({one.kind for one in fresh.values()}))
        return Decision(False, f"[triggers] on has no {kinds}", tuple(fresh.values()), Hold.OFF)
    if not live:
        return Decision(False, "nothing new speaks for a run", hold=Hold.NOTHING)
    if history.running:
        return _beside(history, live)
    if not any(one.kind in PACED for one in live):
        if (until := rests_until(history, settings, now)) > now:
            last = next(one.run for one in reversed(history.fired) if one.counts)
            reason = f"{duration_text(cool_down(history, settings))} of cool-down after {last}"
            return Decision(False, reason, live, Hold.COOL_DOWN, until)
        spent = history.spent(now)
        if len(spent) >= settings.per_day:
            reason = f"{len(spent)} of {settings.per_day} runs within 24 hours are spent"
            # The oldest of those that are too many leaves the day.
            free = spent[len(spent) - settings.per_day] + DAY if settings.per_day else None
            return Decision(False, reason, live, Hold.BUDGET, free)
    return Decision(True, said(live), live)


def _beside(history: History, live: tuple[Cause, ...]) -> Decision:
    """What is seen while a run goes on is its cause too; but it may not have the newest data."""
    ours = any(one.run == history.running and one.outcome is None for one in history.fired)
    joining = tuple(one for one in live if one.kind is not Kind.DATA)
    if ours and joining:
        reason = f"{history.running} goes on, and is because of this too"
        return Decision(False, reason, joining, Hold.JOINED)
    return Decision(False, f"{history.running} goes on", live, Hold.RUNNING)


def rests_until(history: History, settings: TriggerSettings, now: datetime) -> datetime:
    """When the cool-down ends; the present where there is none.

    A clock that was put back by more than that ends it.
    """
    rest, done = cool_down(history, settings), [one.at for one in history.fired if one.counts]
    if not done or done[-1] - now > rest:
        return now
    return max(now, min(done[-1], now) + rest)


def cool_down(history: History, settings: TriggerSettings) -> timedelta:
    """Twice as long after each run in a row that changed nothing: what is seen does not end it."""
    fruitful = (one.outcome not in FRUITLESS for one in reversed(history.fired) if one.counts)
    in_a_row = sum(1 for _ in takewhile(operator.not_, fruitful))
    doubled: int = 2 ** min(in_a_row, MOST_DOUBLED)
    return settings.cool_down * doubled


def said(causes: Iterable[Cause]) -> str:
    """The causes in one line."""
    return "; ".join(f"{one.kind}: {one.reason}" for one in causes)


def causes_of(report: Report) -> Iterable[Cause]:
    """What of a report speaks for a run: one cause for all that was found in its window.

    Of features, some always move that matter little: they speak only where the model rests on them.
    """
    kind = REPORTED.get(report.kind)
    if kind is None:
        return
    found = [one for one in report.found if one.name.startswith(MENDED.get(kind, ""))]
    if not found or (report.kind == "features" and all(m.name != DRIFTED_SHARE for m in found)):
        return
    window = (report.until or report.made_at).isoformat()
    shown = "; ".join(map(_finding, found[:NAMED]))
    more = len(found) - NAMED
    yield Cause(
        kind=kind,
        key=f"{report.kind}/{window}/{report.model}",
        reason=f"{report.model}: {shown}{f'; and {more} more' if more > 0 else ''}",
        at=report.made_at,
        numbers={"rows": report.rows, "found": {_name(one): one.value for one in found}},
    )


def kind_of_measure(metric: str) -> Kind:
    """Of a run because of a measure, by the names of `MEASURES`."""
    return next((kind for kind, names in MENDED.items() if metric.startswith(names)), Kind.DRIFT)


def _finding(one: Measure) -> str:
    return f"{_name(one)}: {one.reason}"


def _name(one: Measure) -> str:
    return f"{one.name} of {one.subject}" if one.subject else one.name
