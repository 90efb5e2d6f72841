"""Where a project keeps the keys of its ledger: the private one outside of git, for its owner only.

The public keys lie beside `penstock.toml`, one a line, to be committed. What an older key signed
stays verified after a new one has taken its place, as long as its line is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.audit.notes import NoteError, SigningKey, VerifyingKey
from penstock.digests import written_once
from penstock.errors import IntegrityError, ResourceError, SettingsError

if TYPE_CHECKING:
    from penstock.project import Project

NEW = "`penstock audit key --new` makes a pair"


@dataclass(frozen=True)
class LedgerKeys:
    """The two files."""

    private: Path
    public: Path

    @classmethod
    def of(cls, project: Project) -> LedgerKeys:
        audit = project.settings.audit
        return cls(project.place(audit.signing_key), project.place(audit.public_key))

    @classmethod
    def in_new_project(cls, root: Path) -> LedgerKeys:
        return cls(root / ".penstock/keys/ledger.key", root / "ledger.pub")

    def signing_key(self) -> SigningKey:
        """Raises `SettingsError` where there is none, or one that nobody trusts."""
        try:
            text = self.private.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            where = f"; {self.public} names its public half" if self.public.is_file() else ""
            raise SettingsError(
                f"{self.private} is missing, the key that signs the ledger's checkpoints{where}",
                hint=f"bring the key, name its place in [audit] signing_key, or: {NEW}",
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{self.private} cannot be read: {error}") from error
        try:
            key = SigningKey.parse(text)
        except NoteError as error:
            raise SettingsError(f"{self.private}: {error.message}", hint=NEW) from error
        if key.verifying not in self.trusted():
            raise SettingsError(
                f"{self.private} is a key that {self.public} does not name",
                hint=f"add its line to that file, if the key is yours: {key.verifying}",
            )
        return key

    def trusted(self) -> tuple[VerifyingKey, ...]:
        """The public keys; none where there is no file. Raises `SettingsError` for others."""
        return read_keys(self.public) if self.public.is_file() else ()

    def new(self, name: str) -> SigningKey:
        """A new pair, which signs from now on; a private key that was there is kept beside it."""
        if self.private.is_file():
            before = self.signing_key().verifying
            name = before.name  # the origin of a log does not change
            self.private.rename(self.private.with_name(f"{self.private.name}.{before.id.hex()}"))
        key = SigningKey.generate(name)
        try:
            self.private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not written_once(self.private, f"{key.secret_text()}\n".encode(), mode=0o600):
                raise FileExistsError(f"{self.private} has just been made by somebody else")
            with self.public.open("a", encoding="utf-8") as stream:
                stream.write(f"{key.verifying}\n")
        except OSError as error:
            raise ResourceError(f"the ledger's keys cannot be written: {error}") from error
        return key


def origin_of(name: str) -> str:
    """What the log of a project calls itself."""
    return f"penstock.local/{name}"


def read_keys(file: Path) -> tuple[VerifyingKey, ...]:
    """The public keys of a file, one a line. Raises `SettingsError`."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
        keys = tuple(VerifyingKey.parse(line.strip()) for line in lines if line.strip())
    except (OSError, UnicodeDecodeError, IntegrityError) as error:
        raise SettingsError(
            f"{file} does not hold the public keys of a ledger: {error}",
            hint="a line is NAME+ID+BASE64, as `penstock audit key` prints it",
        ) from error
    if not keys:
        raise SettingsError(f"{file} holds no key", hint=NEW)
    return keys
