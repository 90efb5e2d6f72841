"""The bytes of a version that DVC has kept, whatever the workspace holds now."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from penstock.data.objects import Progress, objects_behind, require_sound
from penstock.data.repository import open_repository, remote_named
from penstock.data.revisions import Pointer, cache_of
from penstock.data.transfers import fetch_version
from penstock.digests import written_whole
from penstock.errors import PenstockError
from penstock.project import Project

HINT = "delete the object; it is then fetched from the remote"


def at_hand(project: Project, path: str, md5: str) -> str:
    """Where the bytes of a version can be had: "cache", "remote NAME", or "" for nowhere."""
    pointer = _pointer(path, md5)
    try:
        with open_repository(project.root) as repo:
            cache, info = cache_of(repo, pointer)
            objects = objects_behind(cache, info, path)
            if objects and all(one.place.is_file() for one in objects):
                return "cache"
            target = remote_named(repo, None, project)
            status = repo.cloud.status([info], remote=target.name)
            return f"remote {target.name}" if info in status.ok else ""
    except PenstockError:
        return ""


def recall(project: Project, path: str, md5: str, target: Path, progress: Progress) -> None:
    """Writes a version of a tracked path to `target`; fetched first where the cache lacks it.

    Raises `DataError` where nobody has it, `IntegrityError` for a damaged object.
    """
    pointer = _pointer(path, md5)
    with open_repository(project.root) as repo:
        cache, info = cache_of(repo, pointer)
        if not all(one.place.is_file() for one in objects_behind(cache, info, path)):
            fetch_version(repo, project, cache, info, path, progress)
        objects = objects_behind(cache, info, path)
        require_sound(objects, progress, HINT)
        for one in objects:
            if not one.name.endswith(".dir"):
                _copy(one.place, target / Path(one.of).relative_to(path))


def noted_paths(root: Path) -> dict[str, str]:
    """What the `.dvc` notes below a folder name: MD5 by path, relative to the folder."""
    found: dict[str, str] = {}
    for file in sorted(root.rglob("*.dvc")):
        if not file.is_file() or ".dvc" in file.relative_to(root).parts:
            continue
        note: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        for out in (note or {}).get("outs", ()):
            if "md5" in out and "path" in out:
                place = (file.parent / out["path"]).relative_to(root)
                found[place.as_posix()] = str(out["md5"])
    return found


def _pointer(path: str, md5: str) -> Pointer:
    return Pointer(path, md5, "md5", None, None, from_stage=False)


def _copy(place: Path, target: Path) -> None:
    with written_whole(target) as part:
        shutil.copyfile(place, part)
