"""What a person signs: an in-toto statement over exact bytes and a target, in a DSSE envelope.

It says all that it means by itself, so that it cannot be taken for another: which model, where,
what it was made from, in whose words, by whom, when, under which policy.
Specification: https://github.com/in-toto/attestation (v1). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from penstock.audit.canonical import canonical
from penstock.audit.dsse import IN_TOTO, Envelope, sign, signers, to_document
from penstock.audit.entries import moment_text
from penstock.audit.notes import SigningKey, VerifyingKey
from penstock.errors import IntegrityError

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:penstock:approval:v1"


class Verdict(StrEnum):
    """What is said of a model."""

    APPROVED = "approved"
    REJECTED = "rejected"
    BROKE_GLASS = "broke glass"  # let in for a while, without those who should agree


@dataclass(frozen=True)
class Statement:
    """What was signed."""

    verdict: Verdict
    model: str  # name@version
    digest: str  # of the model's files
    target: str  # an endpoint
    meaning: str  # what it says, in the person's words
    person: str  # their id
    at: datetime  # UTC
    policy: str  # version of the policy that they saw
    digests: Mapping[str, str] = field(default_factory=dict)  # of what it was made from


class _Subject(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    digest: dict[str, str]


class _Predicate(msgspec.Struct, forbid_unknown_fields=True):
    verdict: Verdict
    target: str
    meaning: str
    person: str
    at: datetime
    policy: str
    digests: dict[str, str]


class _Document(msgspec.Struct, forbid_unknown_fields=True, rename={"type": "_type"}):
    type: str
    predicateType: str  # noqa: N815 -- in-toto's name
    subject: tuple[_Subject]
    predicate: _Predicate


def signed(statement: Statement, key: SigningKey) -> dict[str, Any]:
    """The envelope, as it is kept in the ledger."""
    payload = canonical(document_of(statement))
    return to_document(sign(IN_TOTO, payload, key.sign, key.verifying.id.hex()))


def document_of(statement: Statement) -> dict[str, Any]:
    """What is signed, as JSON."""
    return {
        "_type": STATEMENT,
        "predicateType": PREDICATE,
        "subject": [{"name": statement.model, "digest": {"penstockFolder": statement.digest}}],
        "predicate": {
            "verdict": statement.verdict.value,
            "target": statement.target,
            "meaning": statement.meaning,
            "person": statement.person,
            "at": moment_text(statement.at),
            "policy": statement.policy,
            "digests": dict(statement.digests),
        },
    }


def verified(envelope: Envelope, keys: Iterable[str]) -> Statement:
    """What an envelope says, when one of the public keys signed it. Raises `IntegrityError`."""
    known = {text: _verifier(VerifyingKey.parse(text)) for text in keys}
    if envelope.payload_type != IN_TOTO or not signers(envelope, known):
        raise IntegrityError("no key that was known then has signed this approval")
    return _read(envelope.payload)


def _verifier(key: VerifyingKey) -> Any:
    return lambda message, signature: key.signed(signature, message)


def _read(payload: bytes) -> Statement:
    try:
        said = msgspec.json.decode(payload, type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IntegrityError(f"what was signed is no approval: {error}") from error
    subject, predicate = said.subject[0], said.predicate
    if (said.type, said.predicateType) != (STATEMENT, PREDICATE) or predicate.at.tzinfo is None:
        raise IntegrityError(f"what was signed is no approval, but {said.predicateType}")
    return Statement(
        predicate.verdict,
        subject.name,
        subject.digest.get("penstockFolder", ""),
        predicate.target,
        predicate.meaning,
        predicate.person,
        predicate.at,
        predicate.policy,
        predicate.digests,
    )
