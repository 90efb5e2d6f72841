"""Which commit of which repository a project's code is at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from subprocess import TimeoutExpired
from urllib.parse import urlsplit, urlunsplit

from penstock import git


@dataclass(frozen=True)
class CodeLocation:
    url: str  # of the repository, without a password
    version: str  # the commit
    branch: str  # empty: none is checked out
    path: str  # of the project in the repository, with slashes; empty: its top


def code_location(root: Path) -> CodeLocation | None:
    """None outside of git, before the first commit, and where git takes too long."""
    try:
        return _location(root)
    except TimeoutExpired:
        return None


def _location(root: Path) -> CodeLocation | None:
    version = git.said(root, "rev-parse", "HEAD")
    place = git.said(root, "rev-parse", "--show-toplevel", "--show-prefix")
    if version is None or place is None:
        return None
    top, _, path = place.partition("\n")
    remote = git.said(root, "remote", "get-url", "origin")
    branch = git.said(root, "symbolic-ref", "--short", "HEAD")
    url = public_url(remote) if remote else Path(top).as_uri()
    return CodeLocation(url, version, branch or "", path.rstrip("/"))


def public_url(remote: str) -> str:
    """A remote of git as a URL that others may see: `git@host:org/name` is ssh://, no password."""
    if "://" not in remote:
        short = re.fullmatch(r"(?:[^@/:]+@)?([^/:]+):(.+)", remote)
        return f"ssh://{short[1]}/{short[2].lstrip('/')}" if short else Path(remote).as_uri()
    parts = urlsplit(remote)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
