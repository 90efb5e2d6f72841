"""Dataset versions, kept by DVC in the project's git repository and pushed to its remote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.data.failures import translated, unreachable
from penstock.data.repository import REMOTE, Remote, open_repository, remote_of


@dataclass(frozen=True)
class Version:
    md5: str
    remote: str


def track(root: Path, file: Path, remote: str, *, explicit: bool = True) -> Version:
    """Puts a file under DVC and pushes it. Initialises git and DVC where the project has none.

    `explicit` is False for a `remote` that nobody chose: the repository's own default goes first.
    A file that a stage of `dvc.yaml` makes stays that stage's: its bytes are kept and pushed all
    the same, and DVC notes them in `dvc.lock` at the stage's end.
    """
    with open_repository(root, make=True) as repo:
        target = remote_of(repo, root, remote, explicit)
        maker = _pipeline_output(repo, file)
        with translated(target.url):
            md5 = _kept(repo, maker, target) if maker else _added(repo, file, target)
    return Version(md5, remote if target.name == REMOTE else target.url)


def _added(repo: Any, file: Path, target: Remote) -> str:
    stages = repo.add(str(file), no_commit=False)
    repo.push(targets=[f"{file}.dvc"], remote=target.name)
    return str(stages[0].outs[0].hash_info.value)


def _kept(repo: Any, out: Any, target: Remote) -> str:
    out.save()
    out.commit()
    failed = repo.cloud.push([out.hash_info], remote=target.name).failed
    if failed:
        raise unreachable(target.url, OSError(f"{len(failed)} objects were not taken"))
    return str(out.hash_info.value)


def _pipeline_output(repo: Any, file: Path) -> Any:
    """The output of a stage of `dvc.yaml` that this file is; None for any other file."""
    from dvc.exceptions import OutputNotFoundError

    try:
        (out,) = repo.find_outs_by_path(str(file))
    except OutputNotFoundError:
        return None
    return None if out.stage.is_data_source else out
