"""What happens to a rollout: each event is an entry of the ledger. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from penstock.errors import IntegrityError
from penstock.records import Record
from penstock.rollout.judge.ab import AbLook, AbOutcome
from penstock.rollout.judge.verdicts import Verdict
from penstock.rollout.spec import RolloutSpec

PREFIX = "rollout."


class Outcome(StrEnum):
    """How a rollout ended."""

    PROMOTED = "promoted"  # the candidate is the champion
    BASELINE_KEPT = "baseline kept"  # an A/B test found no gain
    REPORTED = "reported"  # a shadow showed no fault; it promotes nothing
    ROLLED_BACK = "rolled back"  # the candidate was at fault, or not shown to be without
    ABORTED = "aborted"  # by a person, or because nobody decided
    DRY_RUN = "dry run"  # nothing was routed


class Event(Record):
    """Something that happened."""

    at: datetime
    actor: str  # a person, or the controller


class Created(Event):
    id: str
    endpoint: str
    spec: RolloutSpec


class Validated(Event):
    """Nothing speaks against the spec."""


class ApprovalAwaited(Event):
    point: str  # start, stage:INDEX, promote


class Approved(Event):
    point: str
    digest: str  # of the model that was agreed to
    reason: str = ""


class Preparing(Event):
    """The candidate is loaded beside the baseline, without a share."""


class StageStarted(Event):
    stage: int  # from 0


class Ramped(Event):
    """Every gateway routes as the stage says."""


class Judged(Event):
    """The judgements changed."""

    verdicts: tuple[Verdict, ...]


class LookTaken(Event):
    """A look of an A/B test: it uses up some of the error that was allowed."""

    look: AbLook
    outcome: AbOutcome
    reason: str


class Alerted(Event):
    """Somebody's monitoring says that something is wrong."""

    alert: str  # which: its fingerprint and start
    reason: str


class BakeEnded(Event):
    """The stage has had its time; the evidence does not suffice yet."""


class StagePassed(Event):
    stage: int
    reason: str


class Held(Event):
    """Nothing goes forward until a person decides. The routing stays."""

    reason: str
    metric: str = ""  # whose verdict held it
    hands_off: bool = False  # somebody else wrote the routing table: leave it alone


class Paused(Event):
    reason: str = ""


class Resumed(Event):
    reason: str = ""


class PromoteRequested(Event):
    full: bool = False  # skip what remains, whatever the evidence
    reason: str = ""


class RollingBack(Event):
    """The candidate's share is taken away."""

    reason: str
    quarantine: bool  # no rollout may take these bytes again


class Returning(Event):
    """The candidate's share is taken away, and it is not to blame."""

    reason: str
    outcome: Literal[Outcome.BASELINE_KEPT, Outcome.REPORTED, Outcome.ABORTED]


class RollbackFailed(Event):
    """Some gateway still routes to the candidate. It is tried on, and people are told."""

    reason: str


class Returned(Event):
    """Every gateway routes to the baseline alone."""


class Promoting(Event):
    """The candidate becomes the champion; the baseline is kept running."""

    reason: str


class Promoted(Event):
    """Every gateway serves the candidate as the champion."""


class Watched(Event):
    """The new champion kept well."""


class Retiring(Event):
    """The old version is stopped."""


class Done(Event):
    outcome: Outcome
    reason: str


KINDS: dict[str, type[Event]] = {
    PREFIX + re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower(): kind
    for kind in Event.__subclasses__()
}
ACTIONS = {kind: action for action, kind in KINDS.items()}


def action_of(event: Event) -> str:
    """The name of an event in the ledger.

    >>> action_of(StageStarted(at=datetime(2026, 1, 1), actor="ann", stage=0))
    'rollout.stage_started'
    """
    return ACTIONS[type(event)]


def event_of(action: str, details: dict[str, Any]) -> Event:
    """The event behind an entry: the inverse of `action_of` and `model_dump(mode="json")`.

    Raises `IntegrityError` for one that this version does not know.
    """
    try:
        return KINDS[action].model_validate(details)
    except (KeyError, ValueError) as error:
        raise IntegrityError(
            f"the ledger has an entry {action!r} that cannot be read: {error}",
            hint="a newer Penstock may have written it; install that one",
        ) from error
