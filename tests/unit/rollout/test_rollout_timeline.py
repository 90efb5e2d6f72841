"""What happened to a rollout, in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock.rollout import events as e
from penstock.rollout.judge.ab import AbLook, AbOutcome
from penstock.rollout.judge.verdicts import Judgement, Verdict
from penstock.rollout.post_mortem import as_markdown
from penstock.rollout.spec import RolloutSpec, Version
from penstock.rollout.timeline import plan, sentence
from penstock.rollout_settings import RolloutSettings

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPEC = RolloutSpec(
    settings=RolloutSettings(),
    candidate=Version(release="churn-2-a", model="churn@2", digest="2" * 64),
    baseline=Version(release="churn-1-a", model="churn@1", digest="1" * 64),
    created_at=AT,
    created_by="ann",
)
SLOW = Verdict(metric="latency_p95", judgement=Judgement.INSUFFICIENT, reason="too few")
GIVEN: dict[type[e.Event], dict[str, Any]] = {
    e.Created: {"id": "ro-1", "endpoint": "production", "spec": SPEC},
    e.ApprovalAwaited: {"point": "start"},
    e.Approved: {"point": "start", "digest": "2" * 64},
    e.StageStarted: {"stage": 0},
    e.Judged: {"verdicts": (SLOW,)},
    e.LookTaken: {
        "look": AbLook(fraction=0.2, control_units=900, treatment_units=1100),
        "outcome": AbOutcome.RUNNING,
        "reason": "no difference shown",
    },
    e.Alerted: {"alert": "abc", "reason": "p95 is high"},
    e.StagePassed: {"stage": 3, "reason": "error_rate: fine"},
    e.Held: {"reason": "the source is down"},
    e.RollingBack: {"reason": "error_rate: worse", "quarantine": True},
    e.Returning: {"reason": "nobody decided", "outcome": e.Outcome.ABORTED},
    e.RollbackFailed: {"reason": "gateway b is late"},
    e.Promoting: {"reason": "every stage passed"},
    e.Done: {"outcome": e.Outcome.PROMOTED, "reason": "churn@2 is the champion"},
}


@pytest.mark.parametrize("kind", e.KINDS.values(), ids=e.KINDS)
def test_every_event_is_told_in_words(kind: type[e.Event]) -> None:
    told = sentence(kind(at=AT, actor="ann", **GIVEN.get(kind, {})), SPEC)
    assert told
    assert "_" not in told.replace("latency_p95", "").replace("error_rate", "")
    assert "rollout." not in told


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (
            e.StageStarted(at=AT, actor="controller", stage=0),
            "stage 1 of 4 begins: 10 % for churn@2",
        ),
        (e.StagePassed(at=AT, actor="controller", stage=3, reason="…"), "stage 4 of 4 passed"),
        (e.Judged(at=AT, actor="controller", verdicts=(SLOW,)), "judged: latency_p95 insufficient"),
        (
            e.RollingBack(at=AT, actor="controller", reason="error_rate: worse", quarantine=True),
            "rolling back: everything to churn@1, churn@2 into quarantine: error_rate: worse",
        ),
        (
            e.RollingBack(at=AT, actor="ann", reason="on a hunch", quarantine=False),
            "rolling back: everything to churn@1: on a hunch",
        ),
    ],
)
def test_the_sentence(event: e.Event, told: str) -> None:
    assert sentence(event, SPEC) == told


def test_the_plan_in_a_line() -> None:
    assert plan(RolloutSettings()) == (
        "canary: 10 % for 2h, 25 % for 4h, 50 % for 8h, 100 % for 1d; "
        "guarded by error_rate, latency_p95, prediction_drift (hold)"
    )


def test_a_post_mortem_says_when_what_and_who() -> None:
    timeline = [
        {"at": AT, "by": "ann", "sentence": "asked for"},
        {"at": AT + timedelta(seconds=7.25), "by": "controller", "sentence": "stage 1 begins"},
        {"at": AT + timedelta(hours=50), "by": "controller", "sentence": "done"},
    ]
    answer = {
        "arrived_at": AT, "status": 503, "error": "features", "output": None,
        "prediction_id": "9a-1",
    }  # fmt: skip
    written = as_markdown(
        {
            "rollout": "ro-1", "candidate": {"model": "churn@2"}, "endpoint": "production",
            "status": "rolled back", "reason": "error_rate: worse", "plan": "canary",
            "timeline": timeline, "evidence": [SLOW.model_dump(mode="json")],
            "last_predictions": [answer, answer | {"status": 200, "error": "", "output": [0.25]}],
        }
    )  # fmt: skip
    lines = written.splitlines()
    assert "**rolled back**: error_rate: worse" in lines
    assert "-    0.0 s  asked for (by ann)" in lines
    assert "-    7.2 s  stage 1 begins" in lines
    assert "- 50:00:00  done" in lines
    assert "| 12:00:00.000 | 503    | features |        | 9a-1       |" in lines
    assert "| 12:00:00.000 | 200    |          | 0.25   | 9a-1       |" in lines
