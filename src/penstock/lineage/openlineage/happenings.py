"""What is told of a run and its steps, free of OpenLineage's classes, whose import costs 0.6 s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from penstock.errors import PenstockError
from penstock.records import Record

State = Literal["START", "COMPLETE", "FAIL", "ABORT"]


@dataclass(frozen=True)
class RunOf:
    """A run, and whose it is."""

    id: str
    project: str
    environment: str
    orchestrator: str
    as_of: datetime  # UTC


@dataclass(frozen=True)
class Happening:
    """A run, or one attempt at a step of it, began or ended."""

    state: State
    at: datetime  # UTC
    run: RunOf
    step: str = ""  # empty: the run itself
    attempt: int = 1
    inputs: Mapping[str, Record] = field(default_factory=dict)  # by kind
    sources: Mapping[str, str] = field(default_factory=dict)  # files: absolute path -> SHA-256
    output: Record | None = None
    error: PenstockError | None = None
    cached: bool = False  # an earlier run's result was taken
