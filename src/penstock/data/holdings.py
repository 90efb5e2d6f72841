"""Which files, and which versions of the data, hold rows of one entity. They are only named.

A version is what models and records rest on: it is never rewritten. A new extract without the rows
takes its place, and `data gc` deletes it when nothing rests on it any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from penstock.data.history import known_versions
from penstock.data.objects import objects_behind
from penstock.data.repository import open_repository, repository_folder
from penstock.data.revisions import Pointer, cache_of
from penstock.data.tables import TABULAR, count_rows_of
from penstock.project import Project


@dataclass(frozen=True)
class Holding:
    """A version or a file, and how many of the entity's rows it holds."""

    path: str
    revision: str  # MD5 of a version; empty: a file as it lies in the project's folder
    rows: int | None  # None: its bytes are not on this machine, so that nobody knows
    present: bool  # the version that DVC's notes name now; or a file


def holdings(project: Project, database: Engine, key: str, value: str) -> list[Holding]:
    """Versions first, then files, by path. Reads all that have a column of the key's name."""
    found: list[Holding] = []
    if repository_folder(project.root) is not None:
        found += _in_versions(project, database, key, value)
    named = {one.path for one in found if one.present}
    for file in _files(project):
        rows = count_rows_of(file.name, file, key, value)
        if rows and project.relative(file) not in named:
            found.append(Holding(project.relative(file), "", rows, present=True))
    return found


def _in_versions(project: Project, database: Engine, key: str, value: str) -> Iterator[Holding]:
    with open_repository(project.root) as repo:
        for one in known_versions(repo, project, database):
            cache, info = cache_of(repo, Pointer(one.path, one.revision, "md5", None, None, False))
            objects = [o for o in objects_behind(cache, info, one.path) if o.of.endswith(TABULAR)]
            missing = any(not o.place.is_file() for o in objects) or not objects
            there = [o for o in objects if o.place.is_file()]
            counts = [count_rows_of(o.of, o.place, key, value) for o in there]
            rows = None if missing and not any(counts) else sum(c or 0 for c in counts)
            if rows or (rows is None and one.path.endswith(TABULAR)):
                yield Holding(one.path, one.revision, rows, one.present)


def _files(project: Project) -> Iterator[Path]:
    """Tables in the project's folder, without DVC's own and the prediction logs."""
    logs = project.folder / "endpoints"
    for path in sorted(project.root.rglob("*")):
        own = {".dvc", ".git"}.isdisjoint(path.relative_to(project.root).parts)
        if own and logs not in path.parents and path.suffix in TABULAR and path.is_file():
            yield path
