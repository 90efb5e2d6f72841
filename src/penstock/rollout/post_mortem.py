"""The record of how a rollout went: timeline, evidence, and the last answers of its candidate."""

from __future__ import annotations

import json
from typing import Any

from penstock.digests import written_whole
from penstock.project import Project
from penstock.rollout import events as e
from penstock.rollout.memory import Remembered
from penstock.serving.prediction_log.reading import Selection, predictions, records
from penstock.serving.release import EndpointFolder

LAST = 20  # answers of the candidate, the failed ones first


def write_post_mortem(project: Project, one: Remembered) -> None:
    """Writes `.penstock/rollouts/ID/post-mortem.json` and `.md`, in place of what is there."""
    folder = project.folder / "rollouts" / one.state.id
    folder.mkdir(parents=True, exist_ok=True)
    found = post_mortem(project, one)
    with written_whole(folder / "post-mortem.json") as part:
        part.write_text(json.dumps(found, indent=1, default=str, ensure_ascii=False))
    with written_whole(folder / "post-mortem.md") as part:
        part.write_text(as_markdown(found), encoding="utf-8")


def post_mortem(project: Project, one: Remembered) -> dict[str, Any]:
    """All that is known of what happened, as JSON."""
    state = one.state
    return {
        "rollout": state.id,
        "endpoint": state.endpoint,
        "strategy": state.spec.settings.strategy,
        "candidate": state.spec.candidate.model_dump(mode="json"),
        "baseline": state.spec.baseline.model_dump(mode="json"),
        "status": state.status,
        "reason": state.reason,
        "timeline": [_told(event) for event in one.events],
        "evidence": [verdict.model_dump(mode="json") for verdict in state.verdicts],
        "last_predictions": _last_predictions(project, one),
    }


def _told(event: e.Event) -> dict[str, Any]:
    said = event.model_dump(mode="json", exclude={"spec", "verdicts", "id", "endpoint"})
    at, actor = said.pop("at"), said.pop("actor")
    return {"at": at, "what": e.action_of(event), "by": actor, **said}


def _last_predictions(project: Project, one: Remembered) -> list[dict[str, Any]]:
    folder = EndpointFolder(project.endpoint(one.state.endpoint))
    asked = Selection(release=one.state.spec.candidate.release)
    found = predictions([folder.predictions], asked)
    columns = "arrived_at, prediction_id, arm, unit, status, error, features, output, total_us"
    latest = found.order("(status >= 500) DESC, arrived_at DESC").limit(LAST).project(columns)
    return records(latest)


def as_markdown(found: dict[str, Any]) -> str:
    """The same for people."""
    lines = [
        f"# {found['rollout']}: {found['candidate']['model']} on {found['endpoint']}",
        "",
        f"{found['strategy']}, {found['status']}: {found['reason']}",
        "",
        "## Timeline",
        "",
        *(
            f"- {one['at']} {one['what']} by {one['by']}{_because(one)}"
            for one in found["timeline"]
        ),
        "",
        "## Evidence",
        "",
        *(f"- {v['metric']}: **{v['judgement']}** – {v['reason']}" for v in found["evidence"]),
        "",
        "## Last answers of the candidate",
        "",
        "| at | prediction | status | error | output |",
        "|---|---|---|---|---|",
        *(
            f"| {p['arrived_at']} | {p['prediction_id']} | {p['status']} | {p['error']} "
            f"| {p['output']} |"
            for p in found["last_predictions"]
        ),
    ]
    return "\n".join(lines) + "\n"


def _because(one: dict[str, Any]) -> str:
    return f": {one['reason']}" if one.get("reason") else ""
