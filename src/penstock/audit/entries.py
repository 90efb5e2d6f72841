"""What an entry of the ledger says, and the bytes of it that are hashed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.audit.canonical import canonical
from penstock.errors import DataError, IntegrityError
from penstock.records import plain

VERSIONED = re.compile(r".+@(\d+)")
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")  # PostgreSQL has no text with one
LONGEST = 512  # characters of what is looked up: an index of PostgreSQL holds 2,700 bytes


class Actor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who acts."""

    id: str  # unique among those who act: a user's name, user@host, controller
    name: str = ""  # for people to read
    authenticated: str = ""  # how it is known: "os", "token"; empty: it is only said
    on_behalf_of: str = ""  # the id of who asked, where another one carries it out


class Draft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"by": "actor"}):
    """What is to be written. Empty is what there is nothing to say about; it is left out."""

    by: Actor
    action: str  # model.registered, model.approved, release.deployed
    subject: str  # the object: churn@3, staging
    version: str = ""  # of the object; taken from NAME@VERSION where it is not given
    reason: str = ""
    digest: str = ""  # of the artefact that is acted on, SHA-256, hex
    before: str = ""  # digest of what the action replaces
    after: str = ""  # digest of what it leaves
    digests: dict[str, str] = {}  # data, code, artefacts, settings it rests on, by name
    environment: str = ""  # dev, staging, production; or the digest of a lock
    approvals: tuple[str, ...] = ()  # ids of the entries that let it happen
    policy: str = ""  # version of the policy that was applied
    decision: str = ""  # what the policy or the judge said
    outcome: str = ""  # what became of it: done, refused, failed
    request_id: str = ""  # of the HTTP request or command
    run_id: str | None = None
    details: dict[str, Any] = {}  # nothing about a person: see `Personal`
    commitment: str = ""  # to a payload that is kept beside, and can be destroyed
    stream: str = ""  # the thing whose story it goes on with, such as a rollout
    position: int | None = None  # its place there, from 1


class Entry(Draft, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What was written."""

    sequence: int  # from 1, without a gap; one more than its index in the tree
    id: str  # a UUID, which does not change when entries are exported
    at: datetime  # UTC

    @property
    def actor(self) -> str:
        """The id of who acted."""
        return self.by.id


class Personal(msgspec.Struct, frozen=True):
    """Something about a person that goes with an entry: never hashed itself, and erasable."""

    person: str  # the id that the person is erased by
    payload: dict[str, Any]

    def __post_init__(self) -> None:
        if not self.person:
            raise DataError("whoever a payload is about needs an id: else it cannot be erased")


_ENTRY = msgspec.json.Decoder(Entry)


def written(draft: Draft, *, sequence: int, id: str, at: datetime) -> bytes:  # noqa: A002
    """The canonical bytes of the entry that a draft becomes. Raises `DataError`."""
    fields = msgspec.to_builtins(draft, enc_hook=_refuse)
    fields |= {"sequence": sequence, "id": id, "at": moment_text(at)}
    if draft.details:
        fields["details"] = plain(draft.details)
    if not draft.version and (match := VERSIONED.fullmatch(draft.subject)):
        fields["version"] = match[1]
    for name in ("action", "subject", "stream", "digest"):
        if len(value := getattr(draft, name)) > LONGEST:
            raise DataError(
                f"{name} of an entry is {len(value):,} characters long, at most {LONGEST} are kept",
                hint="put it into the details",
            )
    data = canonical(fields)
    if NUL.search(data):
        raise DataError("an entry of the ledger cannot hold a NUL character", hint="leave it out")
    return data


def read(data: bytes | str) -> Entry:
    """The inverse of `written`. Raises `IntegrityError` for bytes that are no entry."""
    try:
        return _ENTRY.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"this is no entry of a ledger: {error}",
            hint="`penstock audit verify` says what was changed; a newer Penstock may know it",
        ) from error


def moment_text(at: datetime) -> str:
    """RFC 3339, UTC, always with microseconds: such texts sort as their times do."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def _refuse(value: Any) -> Any:
    raise DataError(
        f"{type(value).__name__} cannot be written to the ledger",
        hint="write numbers, text, lists and tables",
    )
