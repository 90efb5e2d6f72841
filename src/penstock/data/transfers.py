"""Pushing data to a remote and pulling it from there, every object read before it counts.

An interrupted transfer goes on where it was: what the other side has is not sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.data.failures import translated, unreachable
from penstock.data.objects import (
    Object,
    Progress,
    damaged,
    objects_behind,
    objects_of,
    require_present,
    require_sound,
    said,
    selected,
)
from penstock.data.repository import Remote, open_repository, remote_named
from penstock.data.workspace import Changes, behind, put_in_place, require_clean
from penstock.errors import DataError, IntegrityError
from penstock.project import Project

UNSOUND = (
    "nothing was sent; delete the object and `penstock data add` its file, if that is good in the "
    "workspace; else `penstock data pull` heals it from a remote that has it"
)


@dataclass(frozen=True)
class Pushed:
    remote: str
    pushed: int  # objects
    bytes: int
    there: int  # objects that the remote had


@dataclass(frozen=True)
class Pulled:
    remote: str
    fetched: int  # objects
    bytes: int
    healed: tuple[str, ...]  # damaged in the cache, and fetched anew
    files: Changes


def push(
    project: Project,
    paths: Sequence[str],
    progress: Progress,
    *,
    remote: str | None = None,
    jobs: int | None = None,
) -> Pushed:
    """Sends what the remote lacks.

    Raises `IntegrityError` before anything is sent when an object to be sent is damaged.
    """
    with open_repository(project.root) as repo:
        target = remote_named(repo, remote, project)
        outs = [o for o in selected(repo, project.root, paths) if _goes_to(o, target)]
        objects = objects_of(outs, project.root)
        require_sound([o for o in objects if o.name.endswith(".dir")], progress, UNSOUND)
        with translated(target.url):
            progress(f"asking {target.url} what it lacks")
            lacking, nowhere = _lacking(repo, objects, target)
            require_present(nowhere, "`penstock data add` the files again, or pull from elsewhere")
            require_sound(lacking, progress, UNSOUND)
            size = sum(obj.place.stat().st_size for obj in lacking)
            if lacking:
                progress(f"pushing {len(lacking):,} objects ({size:,} bytes) to {target.url}")
                repo.push(targets=[out.fs_path for out in outs], remote=target.name, jobs=jobs)
    return Pushed(target.url, len(lacking), size, len(objects) - len(lacking))


def pull(
    project: Project,
    paths: Sequence[str],
    progress: Progress,
    *,
    remote: str | None = None,
    jobs: int | None = None,
    force: bool = False,
) -> Pulled:
    """Brings the tracked data into cache and workspace.

    What is damaged in the cache is fetched anew. Raises `IntegrityError` when the remote's bytes
    are not what their names say; those never reach the workspace.
    """
    with open_repository(project.root) as repo:
        target = remote_named(repo, remote, project)
        outs = selected(repo, project.root, paths)
        if not force:
            require_clean(repo, project.root, outs)
        broken = damaged(objects_of(behind(outs), project.root), progress)
        for obj in broken:
            obj.place.unlink()
        before = {obj.place for obj in objects_of(outs, project.root) if obj.place.is_file()}
        progress(f"fetching from {target.url}")
        _fetch(repo, project, outs, target, jobs)
        objects = objects_of(outs, project.root)
        fetched = [o for o in objects if o.place not in before and o.place.is_file()]
        _require_sound_remote(fetched, target, progress)
        size = sum(obj.place.stat().st_size for obj in fetched)
        files = put_in_place(repo, project.root, outs, progress)
    return Pulled(target.url, len(fetched), size, tuple(str(obj) for obj in broken), files)


def fetch_version(
    repo: Any, project: Project, cache: Any, hash_info: Any, path: str, progress: Progress
) -> None:
    """What the cache lacks of one version of a path, from the project's remote.

    Raises `DataError` where the remote lacks it too, `IntegrityError` where it gives other bytes.
    """
    target = remote_named(repo, None, project)
    before = {o.place for o in objects_behind(cache, hash_info, path) if o.place.is_file()}
    progress(f"fetching {path} at {hash_info.value[:8]} from {target.url}")
    with translated(target.url):
        repo.cloud.pull([hash_info], remote=target.name)
    objects = objects_behind(cache, hash_info, path)
    require_present(objects, f"{target.url} lacks it too: whoever has it must push it")
    _require_sound_remote([o for o in objects if o.place not in before], target, progress)


def _goes_to(out: Any, target: Remote) -> bool:
    return bool(out.can_push) and out.remote in (None, target.name)


def _lacking(
    repo: Any, objects: Sequence[Object], target: Remote
) -> tuple[list[Object], list[Object]]:
    """What the remote lacks and the cache has; and what neither of them has."""
    from dvc_data.hashfile.hash_info import HashInfo

    remote = repo.cloud.get_remote(target.name)
    if remote.fs.version_aware or remote.worktree:  # holds files by path, not by digest
        return [o for o in objects if o.place.is_file()], []
    status = repo.cloud.status([HashInfo(o.hash_name, o.name) for o in objects], remote=target.name)
    new, missing = ({info.value for info in part} for part in (status.new, status.missing))
    return [o for o in objects if o.name in new], [o for o in objects if o.name in missing]


def _fetch(
    repo: Any, project: Project, outs: Sequence[Any], target: Remote, jobs: int | None
) -> None:
    from dvc.exceptions import DownloadError

    with translated(target.url):
        try:
            repo.fetch(targets=[out.fs_path for out in outs], remote=target.name, jobs=jobs)
        except DownloadError as error:
            missing = [o for o in objects_of(outs, project.root) if not o.place.is_file()]
            causes = getattr(error, "__context__", None)
            if causes is None and missing and _reachable(repo, target):
                raise DataError(
                    f"{target.url} lacks {said(missing)}",
                    hint="whoever has the data must `penstock data push` it",
                ) from error
            raise


def _reachable(repo: Any, target: Remote) -> bool:
    """Whether the remote answers at all, so that what it did not give is what it has not."""
    try:
        remote = repo.cloud.get_remote(target.name)
        remote.fs.exists(remote.path)
    except Exception as error:
        raise unreachable(target.url, error) from error
    return True


def _require_sound_remote(fetched: Sequence[Object], target: Remote, progress: Progress) -> None:
    broken = damaged(fetched, progress)
    for obj in broken:
        obj.place.unlink()
    if broken:
        raise IntegrityError(
            f"{target.url} gave other bytes than were stored for {said(broken)}",
            hint="delete those objects there, and push them again from where they are sound",
        )
