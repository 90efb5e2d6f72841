"""What somebody asks of a run by hand: the params of the DAG, shown and checked by Airflow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Param


@dataclass(frozen=True)
class Asked:
    until: str = ""  # the last step to run; empty: all
    rerun: str = ""  # the step that runs anew, whatever is cached
    as_of: datetime | None = None  # UTC; None: the moment of the run itself
    reason: str = ""  # told in the run

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Asked:
        """Of a DAG that has none of these, nothing is asked."""
        text = params.get("as_of")
        return cls(
            until=params.get("until") or "",
            rerun=params.get("rerun") or "",
            as_of=_moment(text) if text else None,
            reason=params.get("reason") or "",
        )

    def leaves_out(self, step: str, before: Collection[str]) -> bool:
        """Whether the run ends before this step, which stands before those."""
        return bool(self.until) and self.until != step and self.until not in before


def params_of(steps: Sequence[str]) -> dict[str, Param]:
    """`steps`: the names that `until` and `rerun` may take."""
    one_of = {"type": ["null", "string"], "enum": [None, *steps]}
    return {
        "until": Param(None, "The last step to run", **one_of),
        "rerun": Param(None, "The step that runs anew, whatever is cached", **one_of),
        "as_of": Param(
            None,
            "The moment the run is about, such as 2026-11-01T02:00:00Z; nothing later is known",
            type=["null", "string"],
            format="date-time",
        ),
        "reason": Param("", "Why the run was started", type="string", maxLength=500),
    }


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
