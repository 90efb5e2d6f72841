"""What differs between two revisions of the data: files, and the rows and columns within them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from penstock.data.history import pointers_for
from penstock.data.objects import Progress, selected
from penstock.data.repository import open_repository, shown
from penstock.data.revisions import (
    WORKSPACE,
    FileVersion,
    Pointer,
    UnknownRevision,
    files_at,
    pointers_at,
    workspace_files,
)
from penstock.data.tables import TableDifference, difference
from penstock.project import Project


@dataclass(frozen=True)
class FileDifference:
    path: str
    change: str  # added, removed, modified
    before: str  # MD5; empty: it was not there
    after: str
    table: TableDifference | None = None  # None: not tabular, or not on this machine
    absent: bool = False  # one side's bytes are not on this machine


@dataclass(frozen=True)
class Difference:
    before: str  # the revisions, as they are called
    after: str
    files: tuple[FileDifference, ...]


def diff(
    project: Project,
    database: Engine,
    progress: Progress,
    before: str | None = None,
    after: str | None = None,
    paths: Sequence[str] = (),
) -> Difference:
    """From one revision to another; by default from what is committed to the workspace.

    Without git, or before its first commit, from what DVC's notes say.
    """
    wanted = [shown(project.root, Path(path).resolve()) for path in paths]
    with open_repository(project.root) as repo:
        selected(repo, project.root, paths)  # refuses what is not tracked
        opened = _Sides(repo, project, database, wanted)
        old = opened.committed() if before is None else opened.at(before)
        new = opened.at(after or WORKSPACE)
        scope = [*(old.scope or ()), *(new.scope or ())] or wanted
        one, other = ({p: f for p, f in s.files.items() if _in(p, scope)} for s in (old, new))
        found = compare(one, other, project.settings.data.key, progress)
    return Difference(old.name, new.name, tuple(found))


def compare(
    old: Mapping[str, FileVersion],
    new: Mapping[str, FileVersion],
    key: Sequence[str],
    progress: Progress,
) -> list[FileDifference]:
    """File by file, by path; unchanged ones are left out."""
    found = []
    paths = [p for p in sorted({*old, *new}) if _md5(old, p) != _md5(new, p)]
    for done, path in enumerate(paths, 1):
        progress(f"comparing {len(paths):,} files", done / len(paths))
        found.append(_compared(path, old.get(path), new.get(path), key))
    return found


@dataclass(frozen=True)
class _Side:
    name: str
    files: dict[str, FileVersion]
    scope: tuple[str, ...] | None = None  # the only paths it speaks of; None: all


@dataclass(frozen=True)
class _Sides:
    repo: Any
    project: Project
    database: Engine
    wanted: Sequence[str]

    def at(self, revision: str) -> _Side:
        if revision == WORKSPACE:
            return _Side(revision, workspace_files(self.repo, self.project.root, ()))
        found, all_of_it = pointers_for(self.repo, self.project, self.database, revision)
        return self._side(revision, found, None if all_of_it else tuple(found))

    def committed(self) -> _Side:
        """What the last commit says; what DVC's notes say where there is none."""
        try:
            return self._side("HEAD", pointers_at(self.repo, self.project.root, "HEAD"), None)
        except UnknownRevision:
            notes = pointers_at(self.repo, self.project.root, None)
            return self._side("DVC's notes", notes, None)

    def _side(
        self, name: str, pointers: Mapping[str, Pointer], scope: tuple[str, ...] | None
    ) -> _Side:
        chosen = [p for path, p in pointers.items() if _in(path, self.wanted)]
        return _Side(name, files_at(self.repo, chosen), scope)


def _in(path: str, scope: Sequence[str]) -> bool:
    return not scope or any(path == s or path.startswith(f"{s}/") for s in scope)


def _md5(side: Mapping[str, FileVersion], path: str) -> str:
    return side[path].md5 if path in side else ""


def _compared(
    path: str, old: FileVersion | None, new: FileVersion | None, key: Sequence[str]
) -> FileDifference:
    before, after = (one.md5 if one else "" for one in (old, new))
    if old is None or new is None:
        return FileDifference(path, "added" if old is None else "removed", before, after)
    if old.place is None or new.place is None:
        return FileDifference(path, "modified", before, after, absent=True)
    table = difference(path, old.place, new.place, key)
    return FileDifference(path, "modified", before, after, table)
