"""Putting a revision of the data into the workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from penstock.data.history import out_path, pointers_for
from penstock.data.objects import (
    Progress,
    objects_behind,
    require_sound,
    selected,
)
from penstock.data.repository import open_repository
from penstock.data.revisions import Pointer, cache_of
from penstock.data.transfers import fetch_version
from penstock.data.workspace import Changes, put_in_place, require_clean
from penstock.errors import DataError, ProjectError
from penstock.project import Project


@dataclass(frozen=True)
class Moved:
    """A tracked path that is at another version now."""

    path: str
    before: str  # MD5; empty: it had none
    after: str
    noted: bool  # False: a stage's output, of which dvc.lock notes the version before


@dataclass(frozen=True)
class CheckedOut:
    files: Changes
    moved: tuple[Moved, ...] = ()


def checkout(
    project: Project,
    database: Engine,
    progress: Progress,
    revision: str | None = None,
    paths: Sequence[str] = (),
    *,
    force: bool = False,
) -> CheckedOut:
    """Puts tracked data in place: as DVC's notes say, or as it was at a revision.

    At a revision the `.dvc` notes go with the data; `dvc.lock` stays, as it is the pipeline's word.
    What the cache lacks is fetched from the remote. Raises `DataError` where the workspace has
    content that no version holds, `IntegrityError` for a damaged object; nothing is changed then.
    """
    with open_repository(project.root) as repo:
        outs = selected(repo, project.root, paths)
        if revision is None:
            if not force:
                require_clean(repo, project.root, outs)
            return CheckedOut(put_in_place(repo, project.root, outs, progress))
        wanted, _ = pointers_for(repo, project, database, revision)
        present = {out_path(project.root, out): out for out in selected(repo, project.root)}
        chosen = _chosen(wanted, present, outs, revision, narrowed=bool(paths))
        moving = {path: p for path, p in chosen.items() if _elsewhere(present[path], p)}
        if not force:
            require_clean(repo, project.root, [present[path] for path in moving])
        for pointer in moving.values():
            _require_bytes(repo, project, pointer, progress)
        moved = tuple(
            Moved(path, _noted(present[path]), pointer.md5, not pointer.from_stage)
            for path, pointer in moving.items()
        )
        for path, pointer in moving.items():
            _point(repo, present[path], pointer)
        repo._reset()
        resting = [o for o in selected(repo, project.root) if out_path(project.root, o) in chosen]
        files = put_in_place(
            repo, project.root, [o for o in resting if o.stage.is_data_source], progress
        )
    return CheckedOut(files, moved)


def _chosen(
    wanted: Mapping[str, Pointer],
    present: Mapping[str, Any],
    outs: Sequence[Any],
    revision: str,
    *,
    narrowed: bool,
) -> dict[str, Pointer]:
    """The versions to put in place. Raises `DataError` where the revision has none."""
    asked = {out.fs_path for out in outs}
    chosen = {
        path: pointer
        for path, pointer in wanted.items()
        if path in present and (not narrowed or present[path].fs_path in asked)
    }
    if not chosen:
        old = ", ".join(sorted(wanted)) or "nothing"
        raise DataError(
            f"{revision} has no data for the paths that are tracked now; it has {old}",
            hint="`git checkout` brings that commit's .dvc files, `penstock data pull` the data",
        )
    return chosen


def _elsewhere(out: Any, pointer: Pointer) -> bool:
    return _noted(out) != pointer.md5 or bool(out.workspace_status())


def _noted(out: Any) -> str:
    return str(out.hash_info.value) if out.hash_info else ""


def _require_bytes(repo: Any, project: Project, pointer: Pointer, progress: Progress) -> None:
    """Everything behind a pointer in the cache, and sound; fetched first where it is missing."""
    cache, info = cache_of(repo, pointer)
    objects = objects_behind(cache, info, pointer.path)
    lists = [obj for obj in objects if obj.name.endswith(".dir")]
    hint = "delete the object; `penstock data checkout` then fetches it from the remote"
    require_sound(lists, progress, hint)
    if not all(obj.place.is_file() for obj in objects):
        fetch_version(repo, project, cache, info, pointer.path, progress)
        objects = objects_behind(cache, info, pointer.path)
    require_sound(objects, progress, hint)


def _point(repo: Any, out: Any, pointer: Pointer) -> None:
    """Notes another version for a path; for a stage's output, only puts the data in place."""
    from dvc_data.hashfile.meta import Meta

    if out.stage.is_import:
        raise ProjectError(
            f"{out} is imported by `dvc import`, which notes its source's revision too",
            hint=f"`dvc update --rev REV {out.stage.relpath}` brings another one",
        )
    cache, info = cache_of(repo, pointer)
    objects = [o for o in objects_behind(cache, info, pointer.path) if not o.name.endswith(".dir")]
    size = sum(obj.place.stat().st_size for obj in objects)
    out.hash_info, out.hash_name = info, pointer.hash_name
    out.meta = Meta(size=size, nfiles=len(objects) if info.isdir else None, isdir=info.isdir)
    if out.stage.is_data_source:
        out.stage.dump()
    else:
        out.checkout(force=True)
