"""What was observed of a rollout: the sums that the judge and the state machine decide on. Pure."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from penstock.records import Record
from penstock.rollout.judge.ab import AbEvidence
from penstock.rollout.judge.shadow import ShadowEvidence


class ArmEvidence(Record):
    """Of one arm in one stage: sums that add over gateways and seconds."""

    requests: int = 0  # answered, be it with an error; but for those refused
    refused: int = 0  # beside them: the client's own fault
    errors: int = 0  # of them: the model's or the gateway's fault
    slow: int = 0  # answers that took longer than the table's `slow_us`
    # Units whose first error (slow answer) of the rollout fell into this stage. Where the unit is
    # the request itself, they equal `errors` and `slow`.
    error_units: int = 0
    slow_units: int = 0
    events: dict[str, int] = Field(default_factory=dict)  # business event -> units, first ones
    latency: dict[int, int] = Field(default_factory=dict)  # µs, in the bins of stats.histograms
    predictions: dict[int, int] = Field(default_factory=dict)  # bin -> predictions
    cpu_us: int = 0  # that the release's processes used, in µs
    memory_bytes: int = 0  # of its processes together, at most
    units: int = 0  # that were exposed; counted only where the table asks for it (A/B)


class StageEvidence(Record):
    """Both arms over the same stretch of time."""

    stage: int  # index, from 0
    weight: float  # the candidate's share of the units, 0 to 1
    seconds: float  # since the stage began to serve
    candidate: ArmEvidence = ArmEvidence()
    baseline: ArmEvidence = ArmEvidence()
    last_seen: datetime | None = None  # when an arm last reported; None: never


class GatewayView(Record):
    """A gateway as it last spoke."""

    name: str
    url: str = ""
    revision: int = 0  # of the routing table it serves; 0: none yet
    state: str = "live"
    seen_at: datetime
    error: str = ""


class SmokeResult(Record):
    """What a release without traffic answered to requests of our own."""

    requests: int
    failures: int
    reason: str = ""  # of the first failure


class Approval(Record):
    """Somebody agreed to exactly these bytes."""

    actor: str
    digest: str  # of the model
    point: str = "start"  # before what: start, stage:INDEX, promote
    at: datetime


class Agreement(Record):
    """Whether the candidate may serve the endpoint, by the policy of its approvals."""

    met: bool = True
    missing: tuple[str, ...] = ()  # a sentence each
    until: datetime | None = None  # when it will not be met any more, if nobody does anything


class Observed(Record):
    """Everything that a decision looks at, beside the state and the time."""

    stages: tuple[StageEvidence, ...] = ()  # all so far, the present one last
    gateways: tuple[GatewayView, ...] = ()
    # Of the routing table that is as the state wants it; 0: that one is not published yet.
    table_revision: int = 0
    foreign_table: str = ""  # who wrote another table in between, and what; empty: nobody
    metrics_error: str = ""  # why nothing could be read; empty: the source is fine
    approvals: tuple[Approval, ...] = ()  # of the candidate's digest, from outside the rollout
    agreement: Agreement = Agreement()
    ab: AbEvidence | None = None  # its `looks` are those of the state
    shadow: ShadowEvidence | None = None
    smoke: SmokeResult | None = None
    quarantined: bool = False  # the candidate's digest is
