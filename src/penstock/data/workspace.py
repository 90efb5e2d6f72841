"""Tracked files in the workspace: added, found changed, put in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.data.objects import Progress, objects_of, require_present, require_sound
from penstock.data.repository import open_repository, shown
from penstock.errors import DataError, ProjectError, UsageError
from penstock.project import Project


@dataclass(frozen=True)
class Added:
    path: str
    revision: str  # the MD5 that DVC knows it by
    bytes: int
    files: int
    changed: bool


@dataclass(frozen=True)
class Changes:
    """Files of the workspace, by what became of them."""

    added: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


def add(project: Project, paths: Sequence[str], progress: Progress) -> list[Added]:
    """Puts files and folders under DVC, or notes their present content as the next version.

    Makes a DVC repository where there is none. Raises `DataError` where nothing is, `ProjectError`
    for what lies outside, is tracked by git, or is made by a stage of `dvc.yaml`.
    """
    root, found = project.root, []
    for path in paths:
        place = Path(path).resolve()
        if not place.exists():
            raise DataError(f"{path} does not exist", hint="name a file or a folder that is there")
        if root not in place.parents:
            raise UsageError(f"{path} lies outside of the project {root}", hint="move it inside")
    with open_repository(root, make=True) as repo:
        for path in paths:
            place = Path(path).resolve()
            before = _revision_at(repo, place)
            progress(f"adding {shown(root, place)}")
            (stage,) = repo.add(str(place))
            (out,) = stage.outs
            repo._reset()
            found.append(
                Added(
                    shown(root, place),
                    out.hash_info.value,
                    int(out.meta.size or 0),
                    int(out.meta.nfiles or 1),
                    before != out.hash_info.value,
                )
            )
    return found


def require_clean(repo: Any, root: Path, outs: Sequence[Any]) -> None:
    """Raises `DataError` for bytes in the workspace that no version has: they would be lost."""
    unsaved = [path for out in outs for path in _unsaved(repo, root, out)]
    if unsaved:
        named = ", ".join(unsaved[:5]) + (f" and {len(unsaved) - 5} more" if unsaved[5:] else "")
        raise DataError(
            f"not in any version, and would be lost: {named}",
            hint="`penstock data add` keeps them as a version; --force gives them up",
        )


def behind(outs: Sequence[Any]) -> list[Any]:
    """Those whose files are not what DVC's notes say. Looks at the workspace only: `status()` of
    DVC would look at the cache too, and delete a damaged object without a word."""
    return [out for out in outs if out.hash_info and out.workspace_status()]


def put_in_place(repo: Any, root: Path, outs: Sequence[Any], progress: Progress) -> Changes:
    """Makes the workspace what DVC's notes say, after reading every object that this takes.

    Raises `IntegrityError` that names a damaged object, `DataError` that names a missing one.
    """
    waiting = behind(outs)
    if not waiting:
        return Changes()
    objects = objects_of(waiting, root)
    require_sound(objects, progress, "`penstock data pull` fetches it anew from the remote")
    require_present(objects, "`penstock data pull` fetches it from the remote")
    progress(f"putting {len(waiting)} tracked paths in place")
    result = repo.checkout(targets=[out.fs_path for out in waiting], force=True)
    seen = {
        kind: tuple(shown(root, Path.cwd() / path) for path in result[kind])
        for kind in ("added", "modified", "deleted")
    }
    return Changes(**seen)


def _revision_at(repo: Any, place: Path) -> str | None:
    """The version that DVC's notes say is there. Raises for an output of `dvc.yaml`."""
    for out in repo.index.outs:
        if out.fs_path != str(place):
            continue
        if not out.stage.is_data_source:
            raise ProjectError(
                f"{place} is made by the stage {out.stage.name!r} of dvc.yaml",
                hint="`dvc repro` makes it, `dvc commit` notes it as it is",
            )
        return str(out.hash_info.value) if out.hash_info else None
    return None


def _unsaved(repo: Any, root: Path, out: Any) -> Iterator[str]:
    """The files of an output as it is in the workspace that are not in the cache."""
    if not out.exists:
        return
    name = shown(root, out.fs_path)
    for relative, hash_info in files_in_workspace(repo, out):
        if not out.cache.exists(hash_info.value):
            yield "/".join((name, *relative))


def files_in_workspace(repo: Any, out: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The path below the output, and the digest, of each of its files as it is now."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.tree import Tree

    name = out.hash_name if out.hash_info else "md5"
    _, _, obj = build(out.cache, out.fs_path, out.fs, name, dry_run=True, ignore=out.dvcignore)
    if isinstance(obj, Tree):
        for key, _, hash_info in obj:
            yield key, hash_info
    else:
        yield (), obj.hash_info
