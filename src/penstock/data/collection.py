"""Deleting objects that nothing rests on any more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from penstock.audit.announced import announced
from penstock.data.failures import translated
from penstock.data.objects import Progress, tree_of
from penstock.data.repository import Remote, open_repository, remote_named, repository_folder
from penstock.errors import DataError, ProjectError
from penstock.project import Project
from penstock.registry.versions import versions as model_versions
from penstock.state.datasets import dataset_uses

COLLECTING, COLLECTED = "data.collecting", "data.collected"
DATASET_TAG = "penstock.digest.dataset_dvc_md5"


@dataclass(frozen=True)
class Collected:
    """What was deleted, or would be."""

    objects: int
    bytes: int
    kept: int
    remote: str  # empty: the remote was left alone
    remote_objects: int
    deleted: bool  # False: only counted


def collect(
    project: Project,
    database: Engine,
    progress: Progress,
    *,
    runs: int,
    cloud: bool = False,
    remote: str | None = None,
    delete: bool = False,
    shared: bool = False,
) -> Collected:
    """Deletes the objects of the cache, and with `cloud` of the remote, that are used by nothing.

    Used are: the workspace's notes, every commit, every registered model's dataset, and the
    datasets of the latest `runs`. The ledger is told before and after. Raises `ProjectError` for a
    cache outside of the repository, which others may share, unless told that it is not `shared`
    with anybody who would miss it.
    """
    with open_repository(project.root) as repo:
        cache = repo.cache.local
        _require_own(Path(cache.path), project.root, shared)
        progress("looking through all commits")
        used = {info.value for infos in repo.used_objs(all_commits=True).values() for info in infos}
        used |= _opened_up(cache, _datasets(project, database, runs))
        unused = [Path(cache.oid_to_path(oid)) for oid in cache.all() if oid not in used]
        size = sum(place.stat().st_size for place in unused)
        target = remote_named(repo, remote, project) if cloud else None
        beyond = _unused_there(repo, target, used, progress) if target else []
        url = target.url if target else ""
        found = Collected(len(unused), size, len(used), url, len(beyond), delete)
        if delete and (unused or beyond):
            progress(f"deleting {len(unused) + len(beyond):,} objects")
            with announced(database, COLLECTING, COLLECTED, "cache", _told(found)):
                _delete(repo, unused, target, beyond)
    return found


def _told(found: Collected) -> dict[str, Any]:
    counts = {"objects": found.objects, "bytes": found.bytes}
    beyond = {"remote": found.remote, "remote_objects": found.remote_objects}
    return counts | (beyond if found.remote else {})


def _datasets(project: Project, database: Engine, runs: int) -> Iterable[str]:
    """The datasets that must stay: of registered models, and of the latest runs."""
    for model in model_versions(project) if _has_registry(project) else ():
        if md5 := model.tags.get(DATASET_TAG):
            yield md5
    seen: dict[str, None] = {}
    uses = dataset_uses(database)
    for run in sorted({run for use in uses for run in use.runs}, reverse=True)[:runs]:
        seen |= {use.md5: None for use in uses if run in use.runs}
    yield from seen


def _has_registry(project: Project) -> bool:
    """Whether there is one to ask: the embedded one is made by the first run that trains."""
    named = project.settings.registry.tracking_uri.get_secret_value()
    return bool(named) or (project.folder / "mlflow" / "mlflow.db").is_file()


def _opened_up(cache: Any, names: Iterable[str]) -> set[str]:
    """The objects by these names, and what lies in those that are folders."""
    from dvc_data.hashfile.hash_info import HashInfo

    found: set[str] = set()
    for name in names:
        found.add(name)
        info = HashInfo("md5", name)
        if info.isdir and (tree := tree_of(cache, info)) is not None:
            found |= {oid.value for _, _, oid in tree}
    return found


def _require_own(cache: Path, root: Path, shared: bool) -> None:
    folder = repository_folder(root)
    if not shared and folder is not None and folder not in cache.resolve().parents:
        raise ProjectError(
            f"the cache {cache} lies outside of the repository: other projects may share it",
            hint="`dvc gc --projects` knows of several; --shared says that none would miss it",
        )


def _unused_there(repo: Any, target: Remote, used: set[str], progress: Progress) -> list[str]:
    with translated(target.url):
        progress(f"listing {target.url}")
        odb = repo.cloud.get_remote_odb(target.name, "gc")
        stored = set(odb.all())
    if not stored & used and stored:
        raise DataError(
            f"nothing of the {len(stored):,} objects at {target.url} is of this project",
            hint="it is probably another project's remote: check [data] remote",
        )
    return sorted(stored - used)


def _delete(repo: Any, unused: list[Path], target: Remote | None, beyond: list[str]) -> None:
    """Folders' lists go first: a list whose files are gone would pass for a whole folder."""
    for place in sorted(unused, key=lambda p: p.suffix != ".dir"):
        place.unlink(missing_ok=True)
    if target is None or not beyond:
        return
    from dvc_data.hashfile.db import get_index

    with translated(target.url):
        odb = repo.cloud.get_remote_odb(target.name, "gc")
        for lists in (True, False):
            if names := [n for n in beyond if n.endswith(".dir") == lists]:
                odb.fs.remove([odb.oid_to_path(name) for name in names])
        get_index(odb).clear()
