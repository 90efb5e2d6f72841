"""How the project's code went from one release to another: commits, and files."""

from __future__ import annotations

import zipfile
from pathlib import Path

from penstock import git
from penstock.project import Project
from penstock.releases.source_bundle import bundle_file

MOST = 20  # commits that are told


def commits_between(project: Project, before: str, after: str) -> list[str]:
    """One line each, the newest first; empty where git knows no way from one to the other."""
    if not before or not after or before == after:
        return []
    asked = ("log", "--oneline", f"--max-count={MOST}", f"{before}..{after}")
    return (git.said(project.root, *asked) or "").splitlines()


def files_changed(project: Project, before: str, after: str) -> list[str]:
    """ "+ name", "- name" and "~ name" of the project's own files, where both archives are here."""
    archives = [bundle_file(project, digest) for digest in (before, after)]
    if before == after or None in archives:
        return []
    old, new = (_checksums(file) for file in archives if file)
    return [
        f"{'+' if name not in old else '-' if name not in new else '~'} {name}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _checksums(file: Path) -> dict[str, tuple[int, int]]:
    with zipfile.ZipFile(file) as archive:
        return {info.filename: (info.CRC, info.file_size) for info in archive.infolist()}
