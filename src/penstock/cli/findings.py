"""What `penstock doctor` finds."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from penstock.errors import PenstockError
from penstock.project import Project


@dataclass(frozen=True)
class Finding:
    what: str
    ok: bool
    seen: str
    remedy: str = ""


Look = Callable[[Project], Finding]


def guarded(look: Look, project: Project) -> Finding:
    """What cannot be looked at is a finding too."""
    try:
        return look(project)
    except PenstockError as error:
        return Finding(look.__name__.strip("_"), False, error.message, error.hint)


def taken(host: str, port: int) -> str:
    """Why nobody can listen there; empty where one can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return f"{host}:{port}: {error.strerror}"
    return ""
