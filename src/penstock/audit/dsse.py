"""DSSE, the envelope of signed statements: https://github.com/secure-systems-lab/dsse (v1.0).

What is signed is `pae(type, payload)`, so that a signature over one kind of document can never be
taken for one over another. The kind of key is its owner's affair: signing and verifying are given.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.errors import IntegrityError

IN_TOTO = "application/vnd.in-toto+json"  # the payload type of in-toto statements

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes], bool]  # (message, signature)


@dataclass(frozen=True)
class Signature:
    keyid: str  # a hint, which is not signed
    value: bytes


@dataclass(frozen=True)
class Envelope:
    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: the bytes that are signed.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, signer: Sign, keyid: str = "") -> Envelope:
    """An envelope with one signature."""
    value = signer(pae(payload_type, payload))
    return Envelope(payload_type, payload, (Signature(keyid, value),))


def signers(envelope: Envelope, known: Mapping[str, Verify]) -> frozenset[str]:
    """The names of those among `known` who signed; whoever asks decides how many it takes."""
    message = pae(envelope.payload_type, envelope.payload)
    return frozenset(
        name
        for name, verify in known.items()
        if any(verify(message, signature.value) for signature in envelope.signatures)
    )


def to_document(envelope: Envelope) -> dict[str, Any]:
    """The JSON form."""
    return {
        "payloadType": envelope.payload_type,
        "payload": _text(envelope.payload),
        "signatures": [
            {"keyid": signature.keyid, "sig": _text(signature.value)}
            for signature in envelope.signatures
        ],
    }


def from_document(document: Any) -> Envelope:
    """The inverse of `to_document`. Raises `IntegrityError` for anything else."""
    try:
        return Envelope(
            str(document["payloadType"]),
            _bytes(document["payload"]),
            tuple(
                Signature(str(one.get("keyid") or ""), _bytes(one["sig"]))
                for one in document["signatures"]
            ),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise IntegrityError(f"this is no DSSE envelope: {error!r}") from error


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: str) -> bytes:
    """Both alphabets of base64 are allowed in an envelope."""
    try:
        plain = text.replace("-", "+").replace("_", "/")
        return base64.b64decode(plain, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
