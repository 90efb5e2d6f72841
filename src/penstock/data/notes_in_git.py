"""What DVC's notes said at every commit: the dataset versions that git remembers.

Reads `*.dvc` and `dvc.lock` of the commits that changed them, with two git processes in all,
however many commits there are.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from penstock.data.repository import git_top

NOTES = ("*.dvc", "dvc.lock", "**/dvc.lock")
FIELD = "\x1f"


@dataclass(frozen=True)
class Noted:
    """A tracked path's version in one commit."""

    path: str  # relative to the project
    md5: str
    size: int | None
    files: int | None
    commit: str
    at: datetime  # UTC, of the commit
    subject: str


@dataclass(frozen=True)
class _Change:
    commit: str
    at: datetime
    subject: str
    note: str  # path of the note from git's top


def noted_versions(root: Path) -> list[Noted]:
    """All versions in any branch or tag, newest first; empty without git or commits."""
    top = git_top(root)
    if top is None:
        return []
    inside = root.resolve().relative_to(top.resolve()).as_posix()
    changes = list(_changes(root))
    found = []
    for change, text in zip(changes, _texts(root, changes), strict=True):
        for path, out in _outputs(text, change.note):
            below = path if inside == "." else path.removeprefix(f"{inside}/")
            if inside != "." and below == path:
                continue
            found.append(
                Noted(
                    below,
                    str(out["md5"]),
                    out.get("size"),
                    out.get("nfiles"),
                    change.commit,
                    change.at,
                    change.subject,
                )
            )
    return found


def _changes(root: Path) -> Iterator[_Change]:
    """The notes that each commit wrote, newest first."""
    form = f"--format={FIELD}%H{FIELD}%ct{FIELD}%s"
    shown = subprocess.run(
        ["git", "-c", "core.quotepath=off", "log", "--all", form, "--name-only",
         "--diff-filter=AM", "--", *(f":(top,glob)**/{note}" for note in NOTES)],
        cwd=root, capture_output=True, text=True,
    )  # fmt: skip
    commit, at, subject = "", datetime.fromtimestamp(0, UTC), ""
    for line in shown.stdout.splitlines() if shown.returncode == 0 else ():
        if line.startswith(FIELD):
            _, commit, seconds, subject = line.split(FIELD, 3)
            at = datetime.fromtimestamp(int(seconds), UTC)
        elif line:
            yield _Change(commit, at, subject, line)


def _texts(root: Path, changes: list[_Change]) -> list[bytes]:
    asked = "".join(f"{change.commit}:{change.note}\n" for change in changes)
    answer = subprocess.run(
        ["git", "cat-file", "--batch"], cwd=root, input=asked.encode(), capture_output=True
    ).stdout
    texts, at = [], 0
    for _ in changes:
        end = answer.index(b"\n", at)
        head = answer[at:end].split()
        size = int(head[2]) if len(head) == 3 else 0  # "… missing" has no content
        texts.append(answer[end + 1 : end + 1 + size])
        at = end + 1 + (size + 1 if len(head) == 3 else 0)
    return texts


def _outputs(text: bytes, note: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The outputs that a note names, with their paths from git's top."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return  # such as a merge conflict that somebody committed
    if not isinstance(content, dict):
        return
    folder = PurePosixPath(note).parent
    stages = content.get("stages")
    lists = [content, *(stages.values() if isinstance(stages, dict) else ())]
    for outs in (part.get("outs") for part in lists if isinstance(part, dict)):
        for out in outs if isinstance(outs, list) else ():
            if isinstance(out, dict) and out.get("md5") and out.get("path"):
                yield (folder / str(content.get("wdir", ".")) / out["path"]).as_posix(), out
