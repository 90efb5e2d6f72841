"""Immutable files and folders named by the digest of their content, in `.penstock/artifacts`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from penstock.digests import digest_at
from penstock.project import Project


@dataclass(frozen=True)
class Artifact:
    path: str  # relative to the project
    digest: str


def keep(
    project: Project, kind: str, write: Callable[[Path], None], *, suffix: str = ""
) -> Artifact:
    """Calls `write` with a path to fill (a file or a folder), and files the result by its digest.

    Nothing half-written is ever seen under its final name; the same content is kept once.
    """
    shelf = _shelf(project, kind)
    shelf.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=shelf, prefix=".new-") as desk:
        draft = Path(desk) / "content"
        write(draft)
        digest = digest_at(draft)
        final = place_of(project, kind, digest, suffix)
        if final.exists() and digest_at(final) != digest:
            shutil.rmtree(final) if final.is_dir() else final.unlink()
        if not final.exists():
            draft.rename(final)
    return Artifact(project.relative(final), digest)


def place_of(project: Project, kind: str, digest: str, suffix: str = "") -> Path:
    """Where what was kept under a digest lies, if it is on this machine."""
    return _shelf(project, kind) / f"{digest[:32]}{suffix}"


def _shelf(project: Project, kind: str) -> Path:
    return project.folder / "artifacts" / kind
