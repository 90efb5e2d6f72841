"""The versions that a project's data has had: in git's commits, in the runs, and at present."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from penstock.data.notes_in_git import noted_versions
from penstock.data.objects import objects_behind, selected
from penstock.data.repository import open_repository
from penstock.data.revisions import Pointer, cache_of, matching, pointers_at
from penstock.data.tables import count_rows
from penstock.project import Project
from penstock.state.datasets import dataset_uses


@dataclass(frozen=True)
class DataVersion:
    """One version of one tracked path."""

    path: str
    revision: str  # MD5, with .dir for a folder
    rows: int | None  # None: not tabular, or not on this machine
    bytes: int | None
    files: int | None
    at: datetime | None  # first seen, UTC; None: not committed, and of no run
    commits: tuple[str, ...]  # that brought it, newest first
    runs: tuple[str, ...]  # that used it, newest first
    present: bool  # what DVC's notes in the workspace say
    cached: bool  # its bytes are on this machine

    @property
    def short(self) -> str:
        return self.revision[:8]


def versions(project: Project, database: Engine, paths: Sequence[str] = ()) -> list[DataVersion]:
    """By path, the newest first. Data is read only to count the rows of CSV files."""
    with open_repository(project.root) as repo:
        wanted = {out_path(project.root, out) for out in selected(repo, project.root, paths)}
        found = known_versions(repo, project, database)
        return [_measured(repo, one) for one in found if not paths or one.path in wanted]


def known_versions(repo: Any, project: Project, database: Engine) -> list[DataVersion]:
    """All of them, without a look at their bytes."""
    found: dict[tuple[str, str], DataVersion] = {}
    for note in reversed(noted_versions(project.root)):
        one = found.get((note.path, note.md5)) or _bare(note.path, note.md5)
        found[note.path, note.md5] = replace(
            one,
            bytes=one.bytes if note.size is None else note.size,
            files=note.files or one.files,
            at=one.at or note.at,
            commits=(note.commit, *one.commits),
        )
    for use in dataset_uses(database):
        one = found.get((use.path, use.md5)) or _bare(use.path, use.md5)
        found[use.path, use.md5] = replace(
            one,
            rows=use.rows,
            at=min(filter(None, (one.at, use.first_used))),
            runs=use.runs,
        )
    for pointer in pointers_at(repo, project.root, None).values():
        key = (pointer.path, pointer.md5)
        one = found.get(key) or _bare(*key)
        size = one.bytes if pointer.size is None else pointer.size
        found[key] = replace(one, bytes=size, files=pointer.files or one.files, present=True)
    return sorted(found.values(), key=_order)


def pointers_for(
    repo: Any, project: Project, database: Engine, revision: str
) -> tuple[dict[str, Pointer], bool]:
    """The tracked paths at a revision, and whether these are all: git knows all, a dataset one.

    Raises `UnknownRevision` when the revision is neither's.
    """
    found = known_versions(repo, project, database)
    md5 = matching(revision, {one.revision: one.path for one in found})
    if md5 is None:
        return pointers_at(repo, project.root, revision), True
    present = pointers_at(repo, project.root, None)
    chosen = [one for one in found if one.revision == md5]
    return {
        one.path: Pointer(
            one.path,
            md5,
            present[one.path].hash_name if one.path in present else "md5",
            one.bytes,
            one.files,
            one.path in present and present[one.path].from_stage,
        )
        for one in chosen
    }, False


def out_path(root: Path, out: Any) -> str:
    return Path(out.fs_path).relative_to(root).as_posix()


def _order(one: DataVersion) -> tuple[str, float]:
    newest = float("inf") if one.at is None else one.at.timestamp()
    return one.path, -newest


def _bare(path: str, md5: str) -> DataVersion:
    return DataVersion(path, md5, None, None, None, None, (), (), present=False, cached=False)


def _measured(repo: Any, one: DataVersion) -> DataVersion:
    """With what the cache tells of it."""
    pointer = Pointer(one.path, one.revision, "md5", None, None, False)
    cache, info = cache_of(repo, pointer)
    objects = objects_behind(cache, info, one.path)
    places = [obj.place for obj in objects if obj.place.is_file()]
    if len(places) < len(objects) or not objects:
        return one
    data = [obj for obj in objects if not obj.name.endswith(".dir")]
    rows = one.rows if one.rows is not None else _rows((obj.of, obj.place) for obj in data)
    size = one.bytes if one.bytes is not None else sum(o.place.stat().st_size for o in data)
    return replace(one, rows=rows, bytes=size, files=len(data), cached=True)


def _rows(files: Iterable[tuple[str, Path]]) -> int | None:
    counts = [count_rows(name, place) for name, place in files]
    return sum(c for c in counts if c is not None) if any(c is not None for c in counts) else None
