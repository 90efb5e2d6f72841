"""The outline of a project as the last parse left it, for as long as nothing has changed since.

Airflow parses a DAG file again and again, each time in a process of its own. To read the settings
and to weave the plan takes it several times as long as the DAG itself; so the outline is kept in
`.penstock/airflow/`, with the digest of all that it was made of. It is only a memory: where the
folder cannot be written, or the file is not what it should be, the outline is made anew.

No value of a secret goes into the digest, which would let one test guesses at it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from penstock import __version__
from penstock.digests import written_whole
from penstock.orchestrators.airflow.outline import Outline, outline_of
from penstock.project import SETTINGS_FILE, open_project

READ = (SETTINGS_FILE, "params.yaml", "pipeline.py")  # the files that settings and plan come of


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    made_of: str  # digest
    private: tuple[str, ...]  # variables of which the digest holds no more than the name
    outline: Outline


def outline_at(root: Path, environment: str) -> Outline:
    """Raises `PenstockError`, at each parse, as long as no DAG can be drawn."""
    file = root / ".penstock" / "airflow" / f"{environment}.json"
    kept = _read(file)
    if kept is not None and kept.made_of == _digest(root, environment, kept.private):
        return kept.outline
    return _made(root, environment, file)


def _read(file: Path) -> Kept | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError):
        return None


def _made(root: Path, environment: str, file: Path) -> Outline:
    from penstock.settings_source import private_variables

    private = tuple(private_variables(os.environ))
    made_of = _digest(root, environment, private)  # before the reading: a change meanwhile is seen
    outline = outline_of(open_project(root, environment))
    with contextlib.suppress(OSError), written_whole(file) as part:
        part.write_bytes(msgspec.json.encode(Kept(made_of, private, outline)))
    return outline


def _digest(root: Path, environment: str, private: Collection[str]) -> str:
    """SHA-256 (hex) over Penstock's version, the environment, its variables, and the files."""
    said = {
        name: "" if name in private else value
        for name, value in sorted(os.environ.items())
        if name.startswith("PENSTOCK_")
    }
    files = [hashlib.sha256(_bytes(root / name)).hexdigest() for name in READ]
    whole = json.dumps([__version__, environment, said, files])
    return hashlib.sha256(whole.encode()).hexdigest()


def _bytes(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""
