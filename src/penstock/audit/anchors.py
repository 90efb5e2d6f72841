"""Checkpoints outside the database, where whoever rules the database cannot change them.

An anchor is a place that keeps every note it is given and never replaces one: a ref of the
project's git repository, a folder (of another machine, or one that can be written only once), or a
prefix of an object store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from penstock.audit.git_anchor import GitAnchor
from penstock.audit.notes import Checkpoint
from penstock.audit.verification import Told
from penstock.digests import written_once
from penstock.errors import IntegrityError, PenstockError, ResourceError, SettingsError
from penstock.object_store import open_s3
from penstock.project import Project

LONGEST = 64 * 1024  # bytes of a note


class Anchor(Protocol):
    @property
    def place(self) -> str:
        """As it is written in the settings."""

    def keep(self, checkpoint: Checkpoint, note: str) -> bool:
        """False where it was there already. Raises `ResourceError`; `IntegrityError` for another
        note in its place."""

    def notes(self) -> list[Told]:
        """All that it keeps. Raises `ResourceError`."""


@dataclass(frozen=True)
class Reached:
    """What anchors told."""

    notes: tuple[Told, ...]
    away: tuple[tuple[str, str], ...]  # anchors that could not be asked, and why


def anchor_at(project: Project, place: str) -> Anchor:
    """Raises `SettingsError` for what is no place."""
    kind, _, rest = place.partition(":")
    if kind == "git":
        return GitAnchor(project.root, rest)
    if kind == "s3":
        return ObjectStoreAnchor(place)
    if "://" in place:
        raise SettingsError(
            f"{place!r} is no anchor of the ledger",
            hint="write git, git:REMOTE, a folder, or s3://bucket/prefix into [audit] anchors",
        )
    return FolderAnchor(place, project.place(place))


def anchors_of(project: Project) -> list[Anchor]:
    return [anchor_at(project, place) for place in project.settings.audit.anchors]


def told_by(anchors: Iterable[Anchor]) -> Reached:
    """The notes of all that can be reached."""
    notes, away = list[Told](), list[tuple[str, str]]()
    for anchor in anchors:
        try:
            notes += anchor.notes()
        except PenstockError as error:
            away.append((anchor.place, error.message))
    return Reached(tuple(notes), tuple(away))


def file_name(checkpoint: Checkpoint) -> str:
    """Sorts by size; of two logs in one place, neither is in the way of the other."""
    log = re.sub(r"[^A-Za-z0-9._-]+", "-", checkpoint.origin)
    return f"{log}.{checkpoint.size:012d}.note"


@dataclass(frozen=True)
class FolderAnchor:
    place: str
    folder: Path

    def keep(self, checkpoint: Checkpoint, note: str) -> bool:
        """As `Anchor.keep`."""
        file = self.folder / file_name(checkpoint)
        try:
            # Never over one that another process has just put there.
            if written_once(file, note.encode()):
                return True
            there = file.read_text(encoding="utf-8")
        except OSError as error:
            raise ResourceError(f"the anchor {self.place} cannot be written: {error}") from error
        return _same(there, note, self.place)

    def notes(self) -> list[Told]:
        """As `Anchor.notes`."""
        try:
            if not self.folder.is_dir():
                raise ResourceError(f"{self.folder} is not there")
            return [
                Told(f"anchor {file}", file.read_bytes()[:LONGEST].decode(errors="replace"))
                for file in sorted(self.folder.glob("*.note"))
            ]
        except OSError as error:
            raise ResourceError(f"the anchor {self.place} cannot be read: {error}") from error


@dataclass(frozen=True)
class ObjectStoreAnchor:
    """S3, or what speaks its protocol. The bucket should lock or version its objects."""

    place: str  # s3://bucket/prefix

    def keep(self, checkpoint: Checkpoint, note: str) -> bool:
        """As `Anchor.keep`."""
        from pyarrow import fs

        base = self._base()
        target = f"{base}/{file_name(checkpoint)}"
        try:
            store = open_s3()
            if store.get_file_info(target).type == fs.FileType.File:
                return _same(_content(store, target), note, self.place)
            with store.open_output_stream(target) as sink:
                sink.write(note.encode())
        except OSError as error:
            raise ResourceError(
                f"the anchor {self.place} cannot be written: {error}",
                hint="check the bucket, its region and the credentials",
            ) from error
        return True

    def notes(self) -> list[Told]:
        """As `Anchor.notes`."""
        from pyarrow import fs

        try:
            store = open_s3()
            found = store.get_file_info(fs.FileSelector(self._base(), allow_not_found=True))
            names = sorted(one.path for one in found if one.path.endswith(".note"))
            return [Told(f"anchor s3://{name}", _content(store, name)) for name in names]
        except OSError as error:
            raise ResourceError(f"the anchor {self.place} cannot be read: {error}") from error

    def _base(self) -> str:
        parts = urlsplit(self.place)
        if not parts.netloc:
            raise SettingsError(
                f"{self.place!r} is no anchor of the ledger", hint="write s3://bucket/prefix"
            )
        return "/".join(part for part in (parts.netloc, parts.path.strip("/")) if part)


def _content(store: Any, name: str) -> str:
    with store.open_input_stream(name) as source:
        return bytes(source.read(LONGEST)).decode(errors="replace")


def _same(there: str, note: str, place: str) -> bool:
    if there.split("\n\n")[0] != note.split("\n\n")[0]:  # another key may have signed it again
        raise IntegrityError(
            f"the anchor {place} keeps another checkpoint of this size: the ledger was rewritten, "
            "or the anchor is another ledger's",
            hint="`penstock audit verify` compares them",
        )
    return False
