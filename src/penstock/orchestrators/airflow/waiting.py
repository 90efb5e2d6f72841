"""Whether a task that waits may go on: what was seen in, an answer and its reason out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from penstock.approvals.decision import Decision
from penstock.monitoring.report import Report, Verdict
from penstock.orchestrators.airflow.answer import Answer
from penstock.rollout.events import Outcome
from penstock.rollout.states import Rollout

# Ends in which nothing was at fault; all but the first leave the baseline where it was.
SOUND = {Outcome.PROMOTED, Outcome.BASELINE_KEPT, Outcome.REPORTED, Outcome.DRY_RUN}


def on_approval(standing: Decision, newer: str) -> Answer:
    """`newer`: a later version (name@version) that has passed staging since; empty: none."""
    if standing.met and standing.glass is not None:
        return Answer("go", f"{standing.glass.person} broke the glass: {standing.glass.meaning}")
    if standing.met:
        people = ", ".join(sorted(one.person for one in standing.approvals))
        return Answer("go", f"approved by {people}" if people else "no approval is required")
    if newer:
        return Answer("stop", f"{newer} has passed staging since, and waits in its place")
    return Answer("wait", "; ".join(standing.missing))


def on_rollout(state: Rollout) -> Answer:
    """A rollout that is held goes on as soon as somebody decides: it is waited for."""
    if state.ended:
        told = f"{state.id}: {state.outcome or state.status}"
        said = f"{told}: {state.reason}" if state.reason else told
        candidate = state.spec.candidate
        facts = {"outcome": str(state.outcome or ""), "model": candidate.model}
        facts["digest"] = candidate.digest
        return Answer("go" if state.outcome in SOUND else "stop", said, facts)
    why = state.held.reason if state.held else state.reason
    return Answer("wait", f"{state.id}: {state.status}{f' ({why})' if why else ''}")


def on_reports(newest: Sequence[Report], since: datetime) -> Answer:
    """The newest report of each kind; those made before `since` are too old to go by."""
    fresh = [one for one in newest if one.made_at >= since]
    found = [(one, measure) for one in fresh for measure in one.found]
    if found:
        told = [f"{m.name} {m.subject}".strip() + f": {m.reason}" for _, m in found]
        names = sorted({one.model for one, _ in found})
        return Answer("go", "; ".join(told), {"models": names, "found": told})
    if not fresh:
        return Answer("wait", f"nobody has looked since {since:%Y-%m-%d %H:%M} UTC")
    return Answer("wait", "; ".join(_quiet(one) for one in fresh))


def _quiet(report: Report) -> str:
    """What one without a finding says: a look that could not tell is no good news."""
    untold = [m for m in report.measures if m.verdict is not Verdict.FINE]
    if untold:
        return f"{report.kind} of {report.model}: {untold[0].verdict}, {untold[0].reason}"
    return f"{report.kind} of {report.model}: nothing found in {report.rows:,} rows"


def on_turn(live: Sequence[Rollout], champion: str, digest: str) -> Answer:
    """Whether the rollout of a digest may start on an endpoint, or is there already.

    `champion`: the digest that the endpoint serves; empty: none.
    """
    for state in live:
        if state.spec.candidate.digest == digest:
            return Answer("go", f"{state.id} goes on with it already", {"rollout": state.id})
    if champion == digest:
        return Answer("go", "it is the champion already", {"rollout": ""})
    if live:
        busy = ", ".join(f"{one.id} ({one.spec.candidate.model})" for one in live)
        return Answer("wait", f"another rollout goes on: {busy}")
    return Answer("go", "no other rollout goes on")
