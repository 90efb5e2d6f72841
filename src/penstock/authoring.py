"""What a project's own code sees of Penstock: the context it is given, and the mark of a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pandas

Function = TypeVar("Function", bound=Callable[..., Any])


def _silent(message: str, done: float | None = None) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Context:
    """What a project's function may know about the run it is part of.

    `params` is the section of `params.yaml` that bears the step's name (`extract`, `features`,
    `train`, or the custom step's own): a step is cached on exactly what it can see.
    """

    project: Path  # the project's folder
    environment: str  # dev, staging or production
    run_id: str
    as_of: datetime  # the moment the run is about, UTC: nothing later is known yet
    params: Mapping[str, Any]
    seed: int  # the only source of randomness a step should use
    scratch: Path  # an empty folder, removed when the step ends
    progress: Callable[..., None] = _silent  # progress("reading 1997", 0.25)
    item: str | int | None = None  # of a step with `map=`: the one that this call is for


@dataclass(frozen=True)
class TrainingSet:
    """The rows that train() learns from, or those that evaluate() judges by."""

    X: pandas.DataFrame  # features, one column each, in the model's order
    y: pandas.Series[Any]  # int8, 0 or 1
    event_timestamps: pandas.Series[Any]  # label times: datetime64, UTC
    seed: int

    def __len__(self) -> int:
        return len(self.X)


def step(
    *,
    after: str = "",
    before: str = "",
    map: str = "",  # noqa: A002 (what every orchestrator calls it)
) -> Callable[[Function], Function]:
    """Marks a function of `pipeline.py` as a step of the plan.

    The function takes `context` and, by the annotation of its parameters, the nearest records made
    upstream; it returns a record or nothing. The names are read from the source, without running
    it, so they must be plain strings.

    With `map` it runs once for each item of that list in its section of params.yaml, side by side,
    sees the item as `context.item`, and returns nothing.

    >>> @step(after="validate_data")
    ... def profile(context, dataset: DatasetVersion): ...
    """

    def mark(function: Function) -> Function:
        function.__penstock_step__ = {"after": after, "before": before, "map": map}  # type: ignore[attr-defined]
        return function

    return mark
