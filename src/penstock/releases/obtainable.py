"""What of all that a release names can still be had, and where."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from penstock import git
from penstock.digests import digest_at
from penstock.errors import PenstockError
from penstock.project import Project
from penstock.registry.versions import find
from penstock.releases.manifest import Manifest
from penstock.releases.source_bundle import bundle_file
from penstock.state.artifacts import place_of


@dataclass(frozen=True)
class Part:
    """One thing that a release rests on."""

    name: str
    there: bool | None  # None: the release does not name it
    said: str


def parts_of(project: Project, manifest: Manifest) -> tuple[Part, ...]:
    """Each part, looked for where it is kept. Nothing is fetched."""
    return tuple(_part(name, look) for name, look in _looks(project, manifest))


def _part(name: str, look: Callable[[], tuple[bool | None, str]]) -> Part:
    try:
        return Part(name, *look())
    except (PenstockError, OSError) as error:
        return Part(name, False, str(error))


def _looks(
    project: Project, one: Manifest
) -> Iterator[tuple[str, Callable[[], tuple[bool | None, str]]]]:
    yield "model", lambda: _model(project, one)
    yield "dataset", lambda: _dataset(project, one)
    yield "training set", lambda: _training_set(project, one)
    yield "code", lambda: _source(project, one)
    yield "commit", lambda: _commit(project, one)
    yield "environment", lambda: _environment(one)


def _model(project: Project, one: Manifest) -> tuple[bool, str]:
    found = find(project, int(one.model.rpartition("@")[2]))
    if found.digest != one.digest_of_model:
        return False, f"MLflow has other files as {found.label}: {found.digest[:12]}"
    return True, f"{found.label} in MLflow, run {found.run_id[:8]}"


def _dataset(project: Project, one: Manifest) -> tuple[bool | None, str]:
    if not one.data.dvc:
        return None, "not known"
    from penstock.data.recall import at_hand

    where = at_hand(project, one.data.path, one.data.dvc)
    return bool(where), f"in DVC's {where}" if where else "neither in DVC's cache nor its remote"


def _training_set(project: Project, one: Manifest) -> tuple[bool | None, str]:
    if not one.data.training_set:
        return None, "not known"
    file = place_of(project, "training_set", one.data.training_set, ".parquet")
    if not file.is_file():
        return False, "not on this machine; it can be computed again from the dataset"
    whole = digest_at(file) == one.data.training_set
    return whole, project.relative(file) if whole else f"{file} is not what was kept"


def _source(project: Project, one: Manifest) -> tuple[bool | None, str]:
    if not one.code.bundle:
        return None, "not known"
    file = bundle_file(project, one.code.bundle)
    left = f", without {', '.join(one.code.left_out)}" if one.code.left_out else ""
    if file is None:
        return False, "the archive is not on this machine; it is beside the model in MLflow"
    return True, project.relative(file) + left


def _commit(project: Project, one: Manifest) -> tuple[bool | None, str]:
    if not one.code.commit:
        return None, "nothing was committed"
    found = git.said(project.root, "cat-file", "-e", f"{one.code.commit}^{{commit}}") is not None
    changed = "; files were changed beside it" if one.code.dirty else ""
    return found, ("in git" if found else "not in this repository") + changed


def _environment(one: Manifest) -> tuple[bool | None, str]:
    if not one.training.environment:
        return None, "not known"
    from penstock.training.tracking import environment

    here = hashlib.sha256(environment().encode()).hexdigest()
    same = here == one.training.environment
    return same, "the same packages as here" if same else "other packages are installed here"
