"""The DVC repository of a project, opened; its remotes; its errors as ours.

A repository and remotes that are there are used as they stand. Only where there are none does
Penstock make them, with DVC's analytics off.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from penstock.data.failures import translated
from penstock.errors import ProjectError
from penstock.project import Project

REMOTE = "penstock"  # the name of a remote that Penstock makes


@dataclass(frozen=True)
class Remote:
    name: str
    url: str


@contextlib.contextmanager
def open_repository(root: Path, *, make: bool = False) -> Iterator[Any]:
    """The `dvc.repo.Repo` that a project's folder belongs to; one process at a time.

    Raises `ProjectError` where there is none, unless it may `make` one.
    """
    locks = root / ".penstock"
    locks.mkdir(exist_ok=True)
    with FileLock(locks / "dvc.lock"), translated(), _opened(root, make) as repo:
        yield repo


def repository_folder(root: Path) -> Path | None:
    """The folder with the `.dvc` that DVC would use here: the project's, or above it in its git."""
    if (root / ".dvc").is_dir():
        return root
    top = git_top(root)
    above = () if top is None or top == root else root.parents
    for folder in above:
        if (folder / ".dvc").is_dir():
            return folder
        if folder == top:
            break
    return None


def git_top(root: Path) -> Path | None:
    """The top of the git repository that would track this folder; None if none does."""
    if not shutil.which("git"):
        return None
    top = subprocess.run(
        ["git", "rev-parse", "--show-toplevel"], cwd=root, capture_output=True, text=True
    )
    if top.returncode != 0:
        return None
    # A folder that the repository above ignores needs one of its own.
    ignored = subprocess.run(["git", "check-ignore", "--quiet", "."], cwd=root)
    return None if ignored.returncode == 0 else Path(top.stdout.strip())


def remote_named(repo: Any, name: str | None, project: Project) -> Remote:
    """The remote that somebody named, else the one that the project's settings mean."""
    known = repo.config.get("remote", {})
    if name is None:
        return remote_of(repo, project.root, *remote_setting(project))
    if name not in known:
        raise ProjectError(
            f"no DVC remote is called {name!r}",
            hint=f"the remotes are: {', '.join(sorted(known)) or 'none'}; "
            f"`dvc remote add {name} URL` makes one",
        )
    return Remote(name, str(known[name].get("url", "")))


def remote_setting(project: Project) -> tuple[str, bool]:
    """[data] remote, and whether the project says it itself."""
    data = project.settings.data
    return data.remote, "remote" in data.model_fields_set


def remote_of(repo: Any, root: Path, setting: str, explicit: bool) -> Remote:
    """The remote that a setting means: a name or address DVC knows, else one made for it.

    A setting that nobody wrote gives way to the repository's own default remote.
    """
    known: Mapping[str, Any] = repo.config.get("remote", {})
    default = repo.config["core"].get("remote")
    if not explicit and default in known and default != REMOTE:
        return Remote(default, str(known[default].get("url", "")))
    if setting in known:
        return Remote(setting, str(known[setting].get("url", "")))
    url = setting if "://" in setting else str((root / setting).resolve())
    for name, remote in known.items():
        if str(remote.get("url", "")).rstrip("/") == url.rstrip("/"):
            return Remote(name, url)
    with repo.config.edit("repo") as config:
        config["remote"][REMOTE] = {"url": url}
        if default in (None, REMOTE):
            config["core"]["remote"] = REMOTE
    repo.config.load()
    return Remote(REMOTE, url)


def shown(root: Path, path: str | Path) -> str:
    """A path as the project's people write it: relative to the project, where it lies in it."""
    relative = os.path.relpath(path, root)
    return str(path) if relative.startswith("..") else Path(relative).as_posix()


@contextlib.contextmanager
def _opened(root: Path, make: bool) -> Iterator[Any]:
    os.environ.setdefault("DVC_NO_ANALYTICS", "true")
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    folder = repository_folder(root)
    if folder is None and not make:
        raise ProjectError(
            f"{root} is in no DVC repository",
            hint="`penstock data add PATH` makes one, and so does `penstock run`",
        )
    repo = Repo(str(folder)) if folder else _initialised(root)
    try:
        yield repo
    finally:
        repo.close()


def _initialised(root: Path) -> Any:
    from dvc.repo import Repo

    top = git_top(root)
    if top is None and shutil.which("git"):
        subprocess.run(["git", "init", "--quiet"], cwd=root, check=True, capture_output=True)
        top = root
    repo = Repo.init(str(root), no_scm=top is None, subdir=top is not None and top != root)
    with repo.config.edit("repo") as config:
        config["core"]["analytics"] = False
        config["core"]["autostage"] = False
    # DVC looks for its notes in all folders; Penstock's own has many and none of them.
    with (root / ".dvcignore").open("a", encoding="utf-8") as ignored:
        ignored.write("/.penstock/\n")
    return repo
