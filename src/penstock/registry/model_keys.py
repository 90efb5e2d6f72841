"""The key pair that signs models: EC P-256, made on this machine, used without any network.

The private key stays outside of git; the public ones lie beside `penstock.toml`, to be committed.
That file may hold several, one after the other: what an older key signed stays verified after a new
one has taken its place.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.digests import written_once
from penstock.errors import IntegrityError, ResourceError, SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

    from penstock.project import Project

HINT = "`penstock models key --new` makes a pair of the right kind"
PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----\n?", re.DOTALL)


@dataclass(frozen=True)
class PublicKey:
    """Verifies what its private half signed."""

    fingerprint: str  # SHA-256 (hex) of the PEM text, as OpenSSF model-signing names keys
    pem: bytes
    key: EllipticCurvePublicKey

    def verify(self, message: bytes, signature: bytes) -> bool:
        """ECDSA with SHA-256."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        try:
            self.key.verify(signature, message, ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    private: EllipticCurvePrivateKey
    public: PublicKey

    def __repr__(self) -> str:
        return f"SigningKey({self.public.fingerprint[:12]})"

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256."""
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        return self.private.sign(message, ECDSA(SHA256()))


@dataclass(frozen=True)
class KeyFiles:
    """Where a project keeps its keys."""

    private: Path
    public: Path

    @classmethod
    def of(cls, project: Project) -> KeyFiles:
        settings = project.settings.registry
        return cls(project.place(settings.signing_key), project.place(settings.public_key))

    @classmethod
    def in_new_project(cls, root: Path) -> KeyFiles:
        return cls(root / ".penstock/keys/models.key", root / "models.pub")

    def signing_key(self) -> SigningKey:
        """The private key, made where the project has no key at all yet.

        Raises `SettingsError` when others trust a key that is not here, or do not trust this one.
        """
        if not self.private.is_file():
            if self.public.is_file():
                raise SettingsError(
                    f"{self.private} is missing, the key that signs models; {self.public} names "
                    "its public half",
                    hint="bring the key, name its place in [registry] signing_key, or add a pair "
                    "with `penstock models key --new`",
                )
            return self.new()
        key = read_private(self.private)
        if not self.public.is_file():
            self._trust(key.public)
        if key.public.fingerprint not in {one.fingerprint for one in self.trusted()}:
            raise SettingsError(
                f"{self.private} has the fingerprint {key.public.fingerprint[:12]}, which "
                f"{self.public} does not name",
                hint=f"add it: openssl pkey -in {self.private} -pubout >> {self.public}",
            )
        return key

    def trusted(self) -> tuple[PublicKey, ...]:
        """The public keys. Raises `IntegrityError` where there are none to verify with."""
        try:
            return read_public(self.public.read_bytes(), self.public)
        except OSError as error:
            raise IntegrityError(
                f"{self.public} cannot be read, which names the keys that models are signed with",
                hint="bring it from where the models are signed; [registry] public_key is its name",
            ) from error

    def new(self) -> SigningKey:
        """A new pair, which signs from now on; a private key that was there is kept beside it."""
        from cryptography.hazmat.primitives.asymmetric import ec

        made = ec.generate_private_key(ec.SECP256R1())
        if self.private.is_file():
            before = read_private(self.private)
            name = f"{self.private.name}.{before.public.fingerprint[:12]}"
            self.private.rename(self.private.with_name(name))
        if not _written(self.private, _private_pem(made)):
            return self.signing_key()  # another process was faster, and its key counts
        key = _signing_key(made)
        self._trust(key.public)
        return key

    def _trust(self, key: PublicKey) -> None:
        try:
            with self.public.open("ab") as stream:
                stream.write(key.pem)
        except OSError as error:
            raise ResourceError(
                f"{self.public} cannot be written: {error.strerror}",
                hint="write it where the project is developed, and commit it",
            ) from error


def read_public(text: bytes, place: Path | str) -> tuple[PublicKey, ...]:
    """All keys of a PEM file. Raises `SettingsError` for anything but P-256."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    found = []
    for block in PEM.findall(text):
        try:
            key = load_pem_public_key(block)
        except ValueError as error:
            raise SettingsError(f"{place} holds a public key that cannot be read") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise SettingsError(f"{place} holds another kind of key than EC P-256", hint=HINT)
        found.append(_public_key(key))
    if not found:
        raise SettingsError(f"{place} holds no public key in PEM form", hint=HINT)
    return tuple(found)


def read_private(file: Path) -> SigningKey:
    """Raises `SettingsError` for anything but an unencrypted P-256 key in PEM form."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{file} is no private key in PEM form: {error}", hint=HINT) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise SettingsError(f"{file} is another kind of key than EC P-256", hint=HINT)
    return _signing_key(key)


def _signing_key(key: EllipticCurvePrivateKey) -> SigningKey:
    return SigningKey(key, _public_key(key.public_key()))


def _public_key(key: EllipticCurvePublicKey) -> PublicKey:
    from cryptography.hazmat.primitives import serialization

    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return PublicKey(hashlib.sha256(pem).hexdigest(), pem, key)


def _private_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _written(file: Path, content: bytes) -> bool:
    """Readable by its owner only; False where it exists already."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return written_once(file, content, mode=0o600)
    except OSError as error:
        raise ResourceError(f"{file} cannot be written: {error.strerror}") from error
