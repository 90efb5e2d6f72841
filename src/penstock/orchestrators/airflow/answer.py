"""What a look says to a task that waits: a value, so light that a DAG file may import it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

What = Literal["wait", "go", "stop"]
PROMOTED = "promoted"  # the outcome of a rollout whose candidate is the champion now


@dataclass(frozen=True)
class Answer:
    what: What
    reason: str
    facts: Mapping[str, Any] = field(default_factory=dict)  # JSON: what the task hands on

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
