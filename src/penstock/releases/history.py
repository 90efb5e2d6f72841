"""The releases that were made: a fold of the ledger."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError
from sqlalchemy import Engine

from penstock.audit.ledger import Entry, Ledger
from penstock.errors import IntegrityError, UsageError
from penstock.releases.manifest import Manifest

MADE = "release.made"
SHORTEST = 4  # digits of a release's digest


@dataclass(frozen=True)
class Made:
    """A release, and the entry that tells of it."""

    manifest: Manifest
    digest: str
    sequence: int
    at: datetime
    actor: str

    @property
    def label(self) -> str:
        return self.manifest.model


def releases(engine: Engine) -> list[Made]:
    """All that were made, the latest first."""
    return [_made(entry) for entry in reversed(Ledger(engine).entries(MADE))]


def release_named(engine: Engine, name: str) -> Made:
    """A release by its digest or a beginning of it, NAME@VERSION, a number, or `last`.

    Raises `UsageError` where there is none, or several.
    """
    known = releases(engine)
    if name == "last" and known:
        return known[0]
    found = [one for one in known if one.label == name or one.label.endswith(f"@{name}")]
    if not found and re.fullmatch(rf"[0-9a-f]{{{SHORTEST},64}}", name):
        found = [one for one in known if one.digest.startswith(name)]
        if len({one.digest for one in found}) > 1:
            raise UsageError(f"several releases begin with {name}", hint="write more digits")
    if not found:
        named = ", ".join(one.label for one in known[:5]) or "none"
        raise UsageError(
            f"there is no release {name!r}",
            hint=f"write NAME@VERSION or its digest; the latest: {named}; `penstock run` makes one",
        )
    return found[0]


def of_version(engine: Engine, label: str, digest: str) -> Made | None:
    """The release of a registered version, by its name and its bytes."""
    found = (one for one in releases(engine) if one.manifest.digest_of_model == digest)
    return next((one for one in found if one.label == label), None)


def _made(entry: Entry) -> Made:
    try:
        manifest = Manifest.model_validate(entry.details["manifest"])
    except (KeyError, ValidationError) as error:
        raise IntegrityError(
            f"entry {entry.sequence} tells of a release that cannot be read: {error}",
            hint="a newer Penstock may know it; `penstock audit verify` says what was changed",
        ) from error
    return Made(manifest, entry.digest, entry.sequence, entry.at, entry.actor)
