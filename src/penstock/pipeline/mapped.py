"""Steps that run once an item: `@step(map="regions")` over a list in params.yaml.

A mapped step is as many steps of the plan, NAME.ITEM, each cached, retried and told of by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from penstock.errors import ProjectError
from penstock.project import Project

if TYPE_CHECKING:
    from penstock.pipeline.plan import Step

LONGEST = 64  # the name of a step, in the tables of runs
ITEM = re.compile(r"[A-Za-z0-9_-]+")  # what may stand in the name of a task and of a file


def spread(steps: Sequence[Step], project: Project) -> tuple[Step, ...]:
    """One step for each item; what stood behind a mapped step stands behind all of them."""
    parts = {step.name: tuple(_parts(step, project)) for step in steps}
    names = {name: tuple(part.name for part in found) for name, found in parts.items()}

    def behind(step: Step) -> Step:
        return replace(step, after=tuple(one for name in step.after for one in names[name]))

    return tuple(behind(part) for step in steps for part in parts[step.name])


def _parts(step: Step, project: Project) -> Iterable[Step]:
    if not step.over:
        return [step]
    items: Any = project.section(step.name).get(step.over)
    _require_items(step, items, project)
    return [replace(step, name=f"{step.name}.{item}", item=item) for item in items]


def _require_items(step: Step, items: Any, project: Project) -> None:
    """Raises `ProjectError` for what is not a list of different words or whole numbers."""
    where = f"{project.root / 'params.yaml'}: {step.name}.{step.over}"
    if not isinstance(items, list) or not items:
        raise ProjectError(
            f"{where} is {items!r}, and @step(map={step.over!r}) needs a list of items",
            hint=f"write '{step.over}: [one, two]' below '{step.name}:'",
        )
    for item in items:
        fit = isinstance(item, str) or (isinstance(item, int) and not isinstance(item, bool))
        if not fit or not ITEM.fullmatch(str(item)) or len(f"{step.name}.{item}") > LONGEST:
            raise ProjectError(
                f"{where} holds {item!r}, which cannot be part of a step's name",
                hint="write words of letters, digits, - and _, or whole numbers; a name and its "
                f"item have {LONGEST} signs at most",
            )
    said = [str(item) for item in items]
    if twice := sorted({item for item in said if said.count(item) > 1}):
        raise ProjectError(f"{where} names {', '.join(twice)} twice", hint="each item runs once")
