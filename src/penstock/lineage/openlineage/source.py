"""Which commit of which repository a project's code is at."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

PATIENCE = 10  # seconds, for git


@dataclass(frozen=True)
class CodeLocation:
    url: str  # of the repository, without a password
    version: str  # the commit
    branch: str  # empty: none is checked out
    path: str  # of the project in the repository, with slashes; empty: its top


def code_location(root: Path) -> CodeLocation | None:
    """None outside of git, and before the first commit."""
    try:
        version = _git(root, "rev-parse", "HEAD")
        top, path = _git(root, "rev-parse", "--show-toplevel", "--show-prefix").split("\n")
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    remote = _maybe(root, "remote", "get-url", "origin")
    branch = _maybe(root, "symbolic-ref", "--short", "HEAD")
    url = public_url(remote) if remote else Path(top).as_uri()
    return CodeLocation(url, version, branch, path.rstrip("/"))


def public_url(remote: str) -> str:
    """A remote of git as a URL that others may see: `git@host:org/name` is ssh://, no password."""
    if "://" not in remote:
        short = re.fullmatch(r"(?:[^@/:]+@)?([^/:]+):(.+)", remote)
        return f"ssh://{short[1]}/{short[2].lstrip('/')}" if short else Path(remote).as_uri()
    parts = urlsplit(remote)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _maybe(root: Path, *arguments: str) -> str:
    try:
        return _git(root, *arguments)
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=root, check=True, capture_output=True, text=True, timeout=PATIENCE
    )
    return done.stdout.removesuffix("\n")
