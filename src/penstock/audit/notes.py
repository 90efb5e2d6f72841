"""Signed notes about a ledger's tree, as other tools of transparency logs read and write them.

A checkpoint is a text of three lines, the log's origin, the size of its tree and the root in
base64, signed with Ed25519: C2SP signed-note and tlog-checkpoint (https://c2sp.org). Keys are
written in one line, as Go's golang.org/x/mod/sumdb/note does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from penstock.audit.merkle import HASH_BYTES
from penstock.errors import IntegrityError

ED25519 = b"\x01"
MARK = "— "  # an em dash begins a signature line
LONGEST = 64 * 1024  # characters of a note
NAME = re.compile(r"[^\s+]+")
NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteError(IntegrityError):
    """A note, or a key, is not what it must be, or nobody who is trusted has signed it."""


@dataclass(frozen=True)
class VerifyingKey:
    """The public half: who has it can verify, and nothing else."""

    name: str  # of the log; also the origin of its checkpoints
    public: bytes  # 32 bytes, RFC 8032

    @property
    def id(self) -> bytes:
        """Four bytes that tell the key from others of its name."""
        named = self.name.encode() + b"\n" + ED25519 + self.public
        return hashlib.sha256(named).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_base64(ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> VerifyingKey:
        """The inverse of `str`. Raises `NoteError`."""
        key = cls(*_parts(text))
        if text.split("+", 2)[1] != key.id.hex():
            raise NoteError(f"{text!r}: its id is not that of the key: it is damaged")
        return key

    def signed(self, signature: bytes, data: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    """The private half."""

    name: str
    seed: bytes = field(repr=False)  # 32 bytes, RFC 8032

    @classmethod
    def generate(cls, name: str) -> SigningKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def verifying(self) -> VerifyingKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        return VerifyingKey(self.name, private.public_key().public_bytes_raw())

    def secret_text(self) -> str:
        """For the key's file, and nowhere else."""
        public = self.verifying
        return f"{PRIVATE}{self.name}+{public.id.hex()}+{_base64(ED25519 + self.seed)}"

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """The inverse of `secret_text`. Raises `NoteError`, which does not show the key."""
        try:
            if not text.startswith(PRIVATE):
                raise NoteError("it does not begin as one")
            key = cls(*_parts(text.removeprefix(PRIVATE)))
        except NoteError:
            raise NoteError("this is no private key of a ledger") from None
        if text.removeprefix(PRIVATE).split("+", 2)[1] != key.verifying.id.hex():
            raise NoteError("the private key's id is not its own: it is damaged")
        return key

    def sign(self, data: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(data)


PRIVATE = "PRIVATE+KEY+"


@dataclass(frozen=True)
class Checkpoint:
    """The tree of a log at one size."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"


def signed_note(checkpoint: Checkpoint, key: SigningKey) -> str:
    text = str(checkpoint)
    signature = key.verifying.id + key.sign(text.encode())
    return f"{text}\n{MARK}{key.name} {_base64(signature)}\n"


def read_checkpoint(note: str, keys: Iterable[VerifyingKey]) -> Checkpoint:
    """What a note says, when one of the keys has signed it. Raises `NoteError`.

    Signatures of other keys, such as a witness's, are passed over; a wrong one of a key that is
    known spoils the note.
    """
    text, signatures = _parsed(note)
    known = {(key.name, key.id): key for key in keys}
    verified = False
    for name, signature in signatures:
        key = known.get((name, signature[:4]))
        if key is None:
            continue
        if not key.signed(signature[4:], text.encode()):
            raise NoteError(f"the signature of {name} is not of this text")
        verified = True
    if not verified:
        signers = ", ".join(f"{name} ({one[:4].hex()})" for name, one in signatures)
        raise NoteError(f"no key that is trusted has signed this note; {signers} did")
    return _checkpoint(text)


def unverified_checkpoint(note: str) -> Checkpoint:
    """What a note says, whoever wrote it: nothing may rest on it. Raises `NoteError`."""
    return _checkpoint(_parsed(note)[0])


def _parsed(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    if len(note) > LONGEST or re.search(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]", note):
        raise NoteError("this is no signed note: it is too long, or no text of UTF-8")
    text, parted, lines = note.rpartition("\n\n")
    if not parted or not lines.endswith("\n"):
        raise NoteError("this is no signed note: a text, an empty line and signatures are expected")
    return text + "\n", [_signature(line) for line in lines[:-1].split("\n")]


def _signature(line: str) -> tuple[str, bytes]:
    name, parted, encoded = line.removeprefix(MARK).partition(" ")
    if not line.startswith(MARK) or not parted or not NAME.fullmatch(name):
        raise NoteError(f"{line!r} is no signature line")
    signature = _bytes(encoded)
    if len(signature) < 5:
        raise NoteError(f"{line!r}: the signature is too short")
    return name, signature


def _checkpoint(text: str) -> Checkpoint:
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not all(lines) or not NUMBER.fullmatch(lines[1]):
        raise NoteError("this note is no checkpoint: origin, size and root are expected")
    root = _bytes(lines[2])
    if len(root) != HASH_BYTES:
        raise NoteError("this note is no checkpoint: its root is no SHA-256 hash")
    return Checkpoint(lines[0], int(lines[1]), root)


def _parts(text: str) -> tuple[str, bytes]:
    name, _, encoded = text.partition("+")[0], *text.partition("+")[2].partition("+")[1:]
    key = _bytes(encoded)
    if not NAME.fullmatch(name) or key[:1] != ED25519 or len(key) != 33:
        raise NoteError(f"{text!r} is no Ed25519 key of a note: NAME+ID+BASE64 is expected")
    return name, key[1:]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or _base64(data) != text:  # one spelling only: no other bytes pass for these
        raise NoteError(f"{text[:60]!r} is not base64")
    return data
