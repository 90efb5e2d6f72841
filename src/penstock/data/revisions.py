"""What a revision of the data is: which files, of which digests, and where their bytes are.

A revision is a commit, branch or tag of git; or a dataset revision as `penstock data list` shows
it, which is the MD5 that DVC knows a tracked path's content by, or a beginning of it; or the
workspace as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.data.objects import selected, tree_of
from penstock.data.repository import shown
from penstock.data.workspace import files_in_workspace
from penstock.errors import DataError

WORKSPACE = "workspace"
SHORTEST = 4  # digits of a dataset revision


class UnknownRevision(DataError):
    """Neither git nor the history of the data knows it."""

    def __init__(self, revision: str, *, hint: str = "") -> None:
        super().__init__(
            f"no revision {revision!r}: neither a commit, branch or tag, nor a dataset's version",
            hint=hint or "`penstock data list` shows the versions, `git log` the commits",
        )


@dataclass(frozen=True)
class Pointer:
    """What DVC's notes say of a tracked path at some revision."""

    path: str  # relative to the project
    md5: str
    hash_name: str
    size: int | None
    files: int | None
    from_stage: bool  # made by a stage of dvc.yaml


@dataclass(frozen=True)
class FileVersion:
    """One file at one revision."""

    path: str
    md5: str
    place: Path | None  # where its bytes are on this machine; None: nowhere


def pointers_at(repo: Any, root: Path, revision: str | None) -> dict[str, Pointer]:
    """The tracked paths by name, at a git revision; None: as the notes are in the workspace.

    Raises `UnknownRevision` for one that git does not know.
    """
    inside = os.path.relpath(root, repo.root_dir)
    if revision is None:
        return _pointers(repo, inside)
    from dvc.scm import RevError
    from scmrepo.exceptions import SCMError

    try:
        with repo.switch(revision):
            return _pointers(repo, inside)
    except (RevError, SCMError) as error:
        raise UnknownRevision(revision) from error


def files_at(repo: Any, pointers: Iterable[Pointer]) -> dict[str, FileVersion]:
    """All files behind some pointers, folders opened up; of a folder that the cache lacks, none."""
    found: dict[str, FileVersion] = {}
    for pointer in pointers:
        cache, info = cache_of(repo, pointer)
        if not info.isdir:
            found[pointer.path] = _version(cache, pointer.path, pointer.md5)
            continue
        tree = tree_of(cache, info)
        if tree is None:
            raise DataError(
                f"the cache lacks the list of {pointer.path} at {pointer.md5[:8]}",
                hint=f"`penstock data checkout {pointer.md5[:8]}` fetches it",
            )
        for key, _, oid in tree:
            path = "/".join((pointer.path, *key))
            found[path] = _version(cache, path, oid.value)
    return found


def workspace_files(repo: Any, root: Path, paths: Sequence[str]) -> dict[str, FileVersion]:
    """All tracked files as they are now."""
    found: dict[str, FileVersion] = {}
    for out in selected(repo, root, paths):
        if not out.exists:
            continue
        for key, info in files_in_workspace(repo, out):
            place = Path(out.fs_path, *key)
            found[shown(root, place)] = FileVersion(shown(root, place), info.value, place)
    return found


def cache_of(repo: Any, pointer: Pointer) -> tuple[Any, Any]:
    """The cache that keeps a pointer's objects, and DVC's own name for the pointer."""
    from dvc_data.hashfile.hash_info import HashInfo

    cache = repo.cache.legacy if pointer.hash_name == "md5-dos2unix" else repo.cache.local
    return cache, HashInfo(pointer.hash_name, pointer.md5)


def matching(revision: str, known: Mapping[str, str]) -> str | None:
    """The one dataset revision that begins so; `known` maps revisions to their paths.

    None where none does. Raises `DataError` where several do.
    """
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST},32}}(\.dir)?", revision):
        return None
    found = sorted(md5 for md5 in known if md5.startswith(revision))
    if len(found) > 1:
        raise DataError(
            f"{revision!r} may be {', '.join(md5[:12] for md5 in found[:5])}",
            hint="write more of its digits",
        )
    return found[0] if found else None


def _pointers(repo: Any, inside: str) -> dict[str, Pointer]:
    """Of the tracked paths below a folder of the repository, by their path below that folder."""
    found: dict[str, Pointer] = {}
    for out in repo.index.outs:
        if not (out.use_cache and out.protocol == "local" and out.is_in_repo and out.hash_info):
            continue
        path = _below(inside, out.fs.relpath(out.fs_path, repo.root_dir))
        if path is not None:
            found[path] = Pointer(
                path,
                str(out.hash_info.value),
                str(out.hash_info.name),
                out.meta.size,
                out.meta.nfiles,
                not out.stage.is_data_source,
            )
    return found


def _below(folder: str, path: str) -> str | None:
    if folder == ".":
        return path
    return path.removeprefix(f"{folder}/") if path.startswith(f"{folder}/") else None


def _version(cache: Any, path: str, md5: str) -> FileVersion:
    place = Path(cache.oid_to_path(md5))
    return FileVersion(path, md5, place if place.is_file() else None)
