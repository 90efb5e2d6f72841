"""Which slot of the schedule is done next: a decision on what is remembered and the clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from penstock.services.cron import Schedule

ATTEMPTS = 3  # at a slot that breaks off, before the next one has its turn
LOOKING_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=366))


class Stage(StrEnum):
    """How far the slot that was dealt with last has come."""

    BEGUN = "begun"  # no slot yet: the schedule counts from this moment
    CLAIMED = "claimed"  # somebody set out to do it
    ENDED = "ended"  # its run came to an end, good or bad


@dataclass(frozen=True)
class Standing:
    """What is remembered of a schedule."""

    stage: Stage
    slot: datetime
    attempt: int = 0
    position: int = 0  # of its entry in the ledger's stream


class Action(StrEnum):
    WAIT = "wait"
    START = "start"
    GIVE_UP = "give up"  # the slot is over, and was not done


@dataclass(frozen=True)
class Decision:
    """What the scheduler does now. `slot`: the one that is waited for, done, or given up."""

    action: Action
    slot: datetime
    attempt: int
    reason: str


def decide(schedule: Schedule, standing: Standing, now: datetime, *, catchup: bool) -> Decision:
    """With `catchup` every slot is done, in order; without it a newer one stands for those missed.

    A slot that broke off is done again, at most `ATTEMPTS` times.
    """
    broken_off = standing.stage is Stage.CLAIMED
    if broken_off and catchup:
        return _again(standing)
    find = _oldest if catchup else _latest
    due = find(schedule, standing.slot, now)
    if due is not None:
        return Decision(Action.START, due, 1, _why(schedule, standing, due, catchup=catchup))
    if broken_off:
        return _again(standing)
    following = schedule.next_after(max(standing.slot, now))
    return Decision(Action.WAIT, following, 0, f"the next slot is {written(following)}")


def _again(standing: Standing) -> Decision:
    if standing.attempt >= ATTEMPTS:
        reason = f"it broke off {standing.attempt} times"
        return Decision(Action.GIVE_UP, standing.slot, standing.attempt, reason)
    attempt = standing.attempt + 1
    reason = f"it broke off; attempt {attempt} of {ATTEMPTS}"
    return Decision(Action.START, standing.slot, attempt, reason)


def _why(schedule: Schedule, standing: Standing, due: datetime, *, catchup: bool) -> str:
    first = schedule.next_after(standing.slot)
    if first < due and not catchup:
        return f"due, and it stands for those missed since {written(first)}"
    return "due"


def _oldest(schedule: Schedule, after: datetime, now: datetime) -> datetime | None:
    return next(schedule.between(after, now), None)


def _latest(schedule: Schedule, after: datetime, now: datetime) -> datetime | None:
    """Looks back from now, further and further: there may be a year of minutes in between."""
    for span in LOOKING_BACK:
        if now - span <= after:
            break
        if found := list(schedule.between(now - span, now)):
            return found[-1]
    return max(schedule.between(after, now), default=None)


def written(moment: datetime) -> str:
    """For people."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
