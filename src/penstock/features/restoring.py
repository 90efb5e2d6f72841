"""Applies the definitions of an earlier features.py, beside those that are there.

In a process of its own, as Python keeps the modules that it has read:

python -m penstock.features.restoring ROOT ENVIRONMENT SOURCE
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from penstock.errors import PenstockError, ProjectError, from_dict
from penstock.project import Project, open_project


def restore(project: Project, source: Path) -> list[str]:
    """Makes Feast's registry say what the features.py in `source` declares; says what changed.

    What was declared later stays, as others may use it; so do the online values.
    """
    arguments = (str(project.root), project.environment, str(source))
    done = subprocess.run(
        [sys.executable, "-m", "penstock.features.restoring", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    said = done.stdout.strip().splitlines()[-1:] or [""]
    if done.returncode == 0:
        return [str(line) for line in json.loads(said[0])]
    if done.returncode == PenstockError.exit_status and said[0].startswith("{"):
        raise from_dict(json.loads(said[0]))
    raise ProjectError(f"the definitions could not be applied: {done.stderr[-500:]}")


def main(root: str, environment: str, source: str) -> int:
    """The last line of the output is the answer: what changed, or an error."""
    try:
        print(json.dumps(_applied(open_project(Path(root), environment), Path(source))))
    except PenstockError as error:
        print(json.dumps(error.as_dict()))
        return PenstockError.exit_status
    return 0


def _applied(project: Project, source: Path) -> list[str]:
    from penstock.features.catalogue import declared, registered
    from penstock.features.changes import changes
    from penstock.features.feast_objects import compiled
    from penstock.features.store import apply, prepared_store

    earlier = open_project(source, project.environment)
    found = compiled(earlier.module("features"), project.root)
    store = prepared_store(project)
    there, wanted = registered(store), declared(found)
    changed = changes({name: one for name, one in there.items() if name in wanted}, wanted, {})
    apply(store, project, found, keep_others=True)
    return [str(change) for change in changed]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
