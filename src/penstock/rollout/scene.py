"""What a decision is made on, and the questions that every strategy asks of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from penstock.rollout import events as e
from penstock.rollout.evidence import GatewayView, Observed
from penstock.rollout.judge.guardrails import judge_stage
from penstock.rollout.judge.verdicts import Judgement, Verdict
from penstock.rollout.plans import stages_of
from penstock.rollout.states import Rollout
from penstock.rollout_settings import RolloutSettings, StageSettings

ACTOR = "controller"
# A gateway that says nothing for so long has lost the database, or is gone.
SILENCE = timedelta(seconds=30)
WORD = timedelta(seconds=5)  # within which each gateway says that it lives


@dataclass(frozen=True)
class Decision:
    """What to write down, and why; and when something happens by itself."""

    events: tuple[e.Event, ...] = ()  # to be appended in this order
    reason: str = ""
    next_at: datetime | None = None  # None: as soon as what is waited for is seen
    next_what: str = ""  # what happens then
    verdicts: tuple[Verdict, ...] = ()  # as of now, for people
    wants_smoke: bool = False  # the candidate is to be asked some requests


@dataclass(frozen=True)
class Look:
    """What a strategy sees in the evidence of a stage."""

    verdicts: tuple[Verdict, ...] = ()
    ends: e.RollingBack | e.Returning | e.Held | None = None
    passes: str = ""  # why the stage may pass; empty: it may not yet
    early: bool = False  # it may before its time is over
    notes: tuple[e.Event, ...] = ()  # to be written down first
    patience: timedelta = field(default=timedelta(0))  # how long ERROR is borne


@dataclass(frozen=True)
class Scene:
    """The state, what is observed, and the time."""

    state: Rollout
    seen: Observed
    now: datetime

    @property
    def settings(self) -> RolloutSettings:
        return self.state.spec.settings

    @property
    def stage(self) -> StageSettings:
        """The present one, of the plan."""
        return stages_of(self.settings)[self.state.stage]

    def elapsed(self, since: datetime | None) -> timedelta:
        """Nothing where the clock went back."""
        return max(timedelta(0), self.now - since) if since else timedelta(0)

    def endured(self, since: datetime | None) -> timedelta:
        """As `elapsed`, as far as gateways were heard of: what a clock jumps over, nobody saw."""
        heard = max((one.seen_at for one in self.seen.gateways), default=self.now)
        return Scene(self.state, self.seen, min(self.now, heard + WORD)).elapsed(since)

    def lacking(self, point: str) -> int:
        """How many people must still agree before a point, by the plan.

        Before the start, one at least where the endpoint's own policy lacks somebody.
        """
        by_policy = int(point == "start" and not self.seen.agreement.met)
        if point not in self.settings.approval_points:
            return by_policy
        digest = self.state.spec.candidate.digest
        given = (*self.state.approvals, *self.seen.approvals)
        people = {one.actor for one in given if one.digest == digest and one.point == point}
        return max(by_policy, self.settings.approvals.required - len(people))

    @property
    def alive(self) -> tuple[GatewayView, ...]:
        """Gateways that serve. One cut off from the database falls back by its lease."""
        silence = max(SILENCE, self.settings.lease)
        return tuple(
            one
            for one in self.seen.gateways
            if one.revision > 0 and one.state != "stopped" and self.now - one.seen_at <= silence
        )

    @property
    def lagging(self) -> str:
        """Who does not route as the state wants; empty: all do, or there is nobody."""
        if not self.seen.table_revision:
            return "the routing table is not published"
        late = [one for one in self.alive if one.revision < self.seen.table_revision]
        return "; ".join(
            f"{one.name} serves revision {one.revision} instead of {self.seen.table_revision}"
            + (f": {one.error}" if one.error else "")
            for one in late
        )

    def guardrails(self) -> tuple[Verdict, ...]:
        """Nothing is judged by a source that is known to be broken."""
        if self.seen.metrics_error or not self.seen.stages:
            return ()
        return judge_stage(self.settings, self.seen.stages, now=self.now)

    # Events of the controller.

    def roll_back(self, reason: str, *, quarantine: bool) -> e.RollingBack:
        return e.RollingBack(at=self.now, actor=ACTOR, reason=reason, quarantine=quarantine)

    def keep_baseline(self, reason: str) -> e.Returning:
        return e.Returning(at=self.now, actor=ACTOR, reason=reason, outcome=e.Outcome.BASELINE_KEPT)

    def abandon(self, reason: str) -> e.Returning:
        return e.Returning(at=self.now, actor=ACTOR, reason=reason, outcome=e.Outcome.ABORTED)

    def hold(self, reason: str, metric: str = "") -> e.Held:
        return e.Held(at=self.now, actor=ACTOR, reason=reason, metric=metric)


def told(verdict: Verdict) -> str:
    return f"{verdict.metric}: {verdict.reason}"


def condemned(scene: Scene, verdicts: tuple[Verdict, ...]) -> e.RollingBack | None:
    """The rollback that a guardrail demands."""
    for verdict in verdicts:
        if verdict.judgement is Judgement.FAIL and verdict.action == "rollback":
            return scene.roll_back(told(verdict), quarantine=True)
    return None


def questioned(scene: Scene, verdicts: tuple[Verdict, ...]) -> e.Held | None:
    """The hold that a verdict demands, unless a person saw it and went on.

    A candidate above a limit that the baseline beside it does not clearly keep is not to blame;
    but people should know.
    """
    for verdict in verdicts:
        above = (
            verdict.judgement is Judgement.INSUFFICIENT and verdict.numbers.get("above_limit") == 1
        )
        failed = verdict.judgement is Judgement.FAIL and verdict.action == "hold"
        if (above or failed) and verdict.metric not in scene.state.accepted:
            return scene.hold(told(verdict), verdict.metric)
    return None


def all_pass(verdicts: tuple[Verdict, ...]) -> str:
    """Why a stage passes by its guardrails; empty: it does not. No verdict is no PASS."""
    if verdicts and all(verdict.judgement is Judgement.PASS for verdict in verdicts):
        return "; ".join(map(told, verdicts))
    return ""
