"""A step of the project's own, by the frame of every other."""

from __future__ import annotations

from penstock.errors import ProjectError
from penstock.pipeline.context import StepContext
from penstock.records import Record, StepDone


def custom_step(context: StepContext, *records: Record) -> Record:
    name = context.step.family
    function = context.user_function("pipeline", name)
    if function is None:
        raise ProjectError(f"pipeline.py has no function {name!r}")
    result = function(context.for_user(name), *records)
    return StepDone(step=context.step.name) if result is None else result
