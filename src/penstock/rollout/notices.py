"""What people are told of a rollout, and the command to type. Pure."""

from __future__ import annotations

from typing import NamedTuple

from penstock.rollout import events as e
from penstock.rollout.plans import stages_of
from penstock.rollout.states import Rollout


class Notice(NamedTuple):
    title: str
    body: str
    failure: bool  # somebody should look at once


def notice_of(state: Rollout, event: e.Event) -> Notice | None:
    """What is said of an event; None: nothing."""
    said = _said(state, event)
    if said is None:
        return None
    what, why, command, failure = said
    spec = state.spec
    lines = [
        f"Rollout: {state.id} ({spec.settings.strategy}) on {state.endpoint}",
        f"Candidate: {spec.candidate.model}, digest {spec.candidate.digest[:12]}",
        f"Baseline: {spec.baseline.model}, digest {spec.baseline.digest[:12]}",
        f"At: {event.at:%Y-%m-%d %H:%M:%S} UTC, by {event.actor}",
        f"What happened: {why}" if why else "",
        f"To do: {command}" if command else "",
    ]
    title = f"[{state.endpoint}] {spec.candidate.model} {what}"
    return Notice(title, "\n".join(filter(None, lines)), failure)


def _said(state: Rollout, event: e.Event) -> tuple[str, str, str, bool] | None:
    show = f"penstock rollout show {state.id}"
    match event:
        case e.ApprovalAwaited(point=point):
            model = state.spec.candidate.model
            command = f"penstock rollout approve {state.id} --reason '…'"
            if point == "start":
                command = f"penstock models approve {model} --for {state.endpoint} --meaning '…'"
            return f"waits for approval before {point}", "", command, False
        case e.StageStarted(stage=stage):
            weight = stages_of(state.spec.settings)[stage].weight
            return f"gets {weight:.0%} of the units", "", show, False
        case e.Held(reason=reason):
            command = f"penstock rollout resume {state.id}, or abort {state.id}"
            return "is held", reason, command, True
        case e.RollingBack(reason=reason):
            return "is rolled back", reason, show, True
        case e.RollbackFailed(reason=reason):
            command = f"end the gateways that do not follow; {show}"
            return "cannot be rolled back everywhere", reason, command, True
        case e.Returning(reason=reason):
            return "is taken back", reason, show, False
        case e.Alerted(reason=reason):
            return "is complained about", reason, f"penstock rollout rollback {state.id}", True
        case e.Promoted():
            return "is the champion", state.reason, show, False
        case e.Done(outcome=outcome, reason=reason):
            return f"is done: {outcome}", reason, "", False
    return None
