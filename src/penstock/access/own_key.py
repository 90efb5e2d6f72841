"""The key that a person signs with: a file of their own, which no project and no server has."""

from __future__ import annotations

import os
from pathlib import Path

from penstock.audit.notes import NoteError, SigningKey
from penstock.digests import written_once
from penstock.errors import ResourceError, SettingsError

FILE = "PENSTOCK_KEY_FILE"


def place_of(user: str) -> Path:
    """Where somebody's private key lies on their machine."""
    if name := os.environ.get(FILE, ""):
        return Path(name)
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "penstock" / "keys" / f"{user}.key"


def own_key(user: str) -> SigningKey:
    """Raises `SettingsError` where there is none, or that of somebody else."""
    file = place_of(user)
    try:
        key = SigningKey.parse(file.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        raise SettingsError(
            f"{user} has no key to sign with: {file} is missing",
            hint="`penstock users key` makes one; an admin then makes its public half known",
        ) from None
    except (OSError, UnicodeDecodeError, NoteError) as error:
        raise SettingsError(f"{file} is no private key: {error}") from error
    if key.name != user:
        raise SettingsError(f"{file} is the key of {key.name}, and not of {user}")
    return key


def make_own_key(user: str, *, new: bool = False) -> SigningKey:
    """The key of somebody, made where there is none. Only its owner can read the file.

    `new`: another one; the one before is kept beside it. Raises `ResourceError`.
    """
    file = place_of(user)
    try:
        if new and file.is_file():
            file.rename(file.with_name(f"{file.name}.{own_key(user).verifying.id.hex()}"))
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        written_once(file, f"{SigningKey.generate(user).secret_text()}\n".encode(), mode=0o600)
    except OSError as error:
        raise ResourceError(f"{file} cannot be written: {error}", hint=f"set {FILE}") from error
    return own_key(user)
