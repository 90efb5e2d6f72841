"""Dataset versions, kept by DVC in the project's git repository and pushed to its remote."""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from penstock.errors import ProjectError, ResourceError

REMOTE = "penstock"


@dataclass(frozen=True)
class Version:
    md5: str
    remote: str


def track(root: Path, file: Path, remote: str) -> Version:
    """Puts a file under DVC and pushes it. Initialises git and DVC where the project has none."""
    with FileLock(root / ".penstock" / "dvc.lock"), _translated(remote), _open(root) as repo:
        url = remote if "://" in remote else str((root / remote).resolve())
        _set_remote(repo, url)
        stages = repo.add(str(file), no_commit=False)
        md5 = str(stages[0].outs[0].hash_info.value)
        repo.push(targets=[f"{file}.dvc"], remote=REMOTE)
    return Version(md5, remote)


@contextlib.contextmanager
def _open(root: Path) -> Iterator[Any]:
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    repo = Repo(str(root)) if (root / ".dvc").is_dir() else _initialised(root)
    try:
        yield repo
    finally:
        repo.close()


def _initialised(root: Path) -> Any:
    from dvc.repo import Repo

    top = _git_top(root)
    if top is None and shutil.which("git"):
        subprocess.run(["git", "init", "--quiet"], cwd=root, check=True, capture_output=True)
        top = root
    repo = Repo.init(str(root), no_scm=top is None, subdir=top is not None and top != root)
    with repo.config.edit("repo") as config:
        config["core"]["analytics"] = False
        config["core"]["autostage"] = False
    return repo


def _git_top(root: Path) -> Path | None:
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


def _set_remote(repo: Any, url: str) -> None:
    known = repo.config.get("remote", {}).get(REMOTE, {}).get("url")
    if known == url:
        return
    with repo.config.edit("repo") as config:
        config["remote"][REMOTE] = {"url": url}
        config["core"]["remote"] = REMOTE
    repo.config.load()


@contextlib.contextmanager
def _translated(remote: str) -> Iterator[None]:
    from dvc.exceptions import DvcException, UploadError

    try:
        yield
    except UploadError as error:
        raise ResourceError(
            f"DVC could not push to {remote}: {error}",
            hint="check [data] remote, and its credentials in the environment",
        ) from error
    except DvcException as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise ProjectError(f"DVC: {error}{cause}", hint="`penstock doctor` looks closer") from error
