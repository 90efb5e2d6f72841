"""The record of how a rollout went: timeline, evidence, and the last answers of its candidate."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import duckdb

from penstock.digests import written_whole
from penstock.errors import PenstockError
from penstock.project import Project
from penstock.rollout import events as e
from penstock.rollout.memory import Remembered
from penstock.rollout.scene import ACTOR
from penstock.rollout.spec import RolloutSpec
from penstock.rollout.timeline import plan, sentence
from penstock.serving.prediction_log.reading import Selection, answer, records
from penstock.serving.release import EndpointFolder

log = logging.getLogger(__name__)

LAST = 20  # answers of the candidate, the failed ones first
LATEST = "(status >= 500) DESC, arrived_at DESC"


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
    return {**story(one), "last_predictions": _last_predictions(project, one)}


def story(one: Remembered) -> dict[str, Any]:
    """The same as the ledger alone tells it, without any answer that was given."""
    state = one.state
    return {
        "rollout": state.id,
        "endpoint": state.endpoint,
        "strategy": state.spec.settings.strategy,
        "candidate": state.spec.candidate.model_dump(mode="json"),
        "baseline": state.spec.baseline.model_dump(mode="json"),
        "plan": plan(state.spec.settings),
        "status": state.status,
        "reason": state.reason,
        "timeline": [_told(event, state.spec) for event in one.events],
        "evidence": [verdict.model_dump(mode="json") for verdict in state.verdicts],
    }


def _told(event: e.Event, spec: RolloutSpec) -> dict[str, Any]:
    more = event.model_dump(mode="json", exclude={"at", "actor", "spec", "id", "endpoint"})
    return {
        "at": event.at,
        "what": e.action_of(event),
        "by": event.actor,
        "sentence": sentence(event, spec),
        **more,
    }


def _last_predictions(project: Project, one: Remembered) -> list[dict[str, Any]]:
    folder = EndpointFolder(project.endpoint(one.state.endpoint))
    asked = Selection(release=one.state.spec.candidate.release)
    columns = "arrived_at, prediction_id, arm, unit, status, error, features, output, total_us"
    try:
        return answer(
            [folder.predictions],
            asked,
            lambda rows: records(rows.order(LATEST).limit(LAST).project(columns)),
        )
    except (duckdb.Error, PenstockError) as error:  # the rest is worth telling all the same
        log.error("%s: the prediction log cannot be read: %s", one.state.id, error)
        return []


def as_markdown(found: dict[str, Any]) -> str:
    """The same for people; tables are aligned, since it is read as text too."""
    began = found["timeline"][0]["at"]
    answers = (
        (f"{p['arrived_at']:%H:%M:%S.%f}"[:-3], p["status"], p["error"], _in_short(p["output"]),
         p["prediction_id"])
        for p in found["last_predictions"]
    )  # fmt: skip
    lines = [
        f"# {found['rollout']}: {found['candidate']['model']} on {found['endpoint']}",
        "",
        ": ".join(filter(None, (f"**{found['status']}**", found["reason"]))),
        "",
        found["plan"],
        "",
        f"## Timeline, from {began:%Y-%m-%d %H:%M:%S} UTC",
        "",
        *(f"- {_clock(one['at'], began):>8}  {_with_actor(one)}" for one in found["timeline"]),
        "",
        "## Evidence",
        "",
        *(f"- {v['metric']}: **{v['judgement']}** – {v['reason']}" for v in found["evidence"]),
        "",
        f"## Last answers of {found['candidate']['model']}, failed ones first",
        "",
        *_table(("at (UTC)", "status", "error", "output", "prediction"), answers),
    ]
    return "\n".join(lines) + "\n"


def _with_actor(one: dict[str, Any]) -> str:
    by = "" if one["by"] == ACTOR else f" (by {one['by']})"
    return f"{one['sentence']}{by}"


def _clock(at: datetime, began: datetime) -> str:
    """Time since the beginning.

    >>> start = datetime(2026, 1, 1)
    >>> _clock(datetime(2026, 1, 1, 0, 0, 7, 250_000), start), _clock(datetime(2026, 1, 3), start)
    ('7.2 s', '48:00:00')
    """
    seconds = (at - began).total_seconds()
    if seconds < 600:
        return f"{seconds:.1f} s"
    return f"{seconds // 3600:02.0f}:{seconds // 60 % 60:02.0f}:{seconds % 60:02.0f}"


def _in_short(output: Any) -> str:
    """Numbers with as many digits as people compare."""
    if not isinstance(output, list):
        return "" if output is None else str(output)
    return ", ".join(f"{one:.4g}" if isinstance(one, float) else str(one) for one in output)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    cells = [heads, *(tuple(str(cell) for cell in row) for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(heads))]
    cells.insert(1, tuple("-" * width for width in widths))
    for row in cells:
        yield f"| {' | '.join(c.ljust(w) for c, w in zip(row, widths, strict=True))} |"
