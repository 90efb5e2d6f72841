"""Applies the definitions of an earlier features.py, beside those that are there.

In a process of its own, as Python keeps the modules that it has read:

python -m penstock.features.restoring < question.json
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from penstock.errors import ProjectError
from penstock.processes.question import answer, ask
from penstock.project import Project, open_project


def restore(project: Project, source: Path) -> list[str]:
    """Makes Feast's registry say what the features.py in `source` declares; says what changed.

    What was declared later stays, as others may use it; so do the online values.
    """
    question = {"root": str(project.root), "environment": project.environment}
    changed = ask(
        "penstock.features.restoring",
        {**question, "source": str(source)},
        "the definitions could not be applied",
        kind=ProjectError,
        timeout=None,
    )
    return [str(change) for change in changed]


def apply_earlier(question: dict[str, Any]) -> list[str]:
    """The same, in this process."""
    from penstock.features.catalogue import declared, registered
    from penstock.features.changes import changes
    from penstock.features.feast_objects import compiled
    from penstock.features.store import apply, prepared_store

    sys.dont_write_bytecode = True  # beside an earlier features.py
    project = open_project(Path(question["root"]), question["environment"])
    earlier = open_project(Path(question["source"]), project.environment)
    found = compiled(earlier.module("features"), project.root)
    store = prepared_store(project)
    there, wanted = registered(store), declared(found)
    changed = changes({name: one for name, one in there.items() if name in wanted}, wanted, {})
    apply(store, project, found, keep_others=True)
    return [str(change) for change in changed]


if __name__ == "__main__":
    answer(apply_earlier)
