"""Who said what of which model: the ledger's statements, each with its signature verified.

An entry whose envelope is forged, altered, copied from another, or signed with a key that was not
its person's at that time, is passed over: as if it were not there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from penstock.access.roles import Permission, roles_for
from penstock.access.users import ACTIONS as ABOUT_USERS
from penstock.access.users import Directory, folded
from penstock.approval_settings import ApprovalPolicy
from penstock.approvals.decision import (
    Approval,
    BrokenGlass,
    Decision,
    Rejection,
    Signed,
    decide,
    doubt,
)
from penstock.approvals.statement import Verdict, verified
from penstock.audit.dsse import from_document
from penstock.audit.ledger import Entry, Ledger
from penstock.audit.notes import NoteError, VerifyingKey
from penstock.errors import AccessError, IntegrityError, SettingsError
from penstock.project import Project
from penstock.registry.versions import Found

APPROVED, REJECTED = "model.approved", "model.rejected"
BROKE_GLASS, REVIEWED = "model.broke_glass", "model.glass_reviewed"
REGISTERED = "model.registered"
SIGNED = {APPROVED: Approval, REJECTED: Rejection, BROKE_GLASS: BrokenGlass}
VERDICTS = {
    APPROVED: Verdict.APPROVED,
    REJECTED: Verdict.REJECTED,
    BROKE_GLASS: Verdict.BROKE_GLASS,
}
READ = (*ABOUT_USERS, *SIGNED, REVIEWED, REGISTERED)


@dataclass(frozen=True)
class Book:
    """All that the ledger knows of approvals, and of those who gave them."""

    directory: Directory
    signed: tuple[Signed, ...]  # oldest first
    registered: tuple[Entry, ...]

    def about(self, digest: str, target: str) -> tuple[Signed, ...]:
        """What was said of these bytes for a target."""
        return tuple(one for one in self.signed if (one.digest, one.target) == (digest, target))

    def digests(self, digest: str, model: str = "") -> dict[str, str] | None:
        """What a model was made from, by its last registration; None: nobody wrote it down."""
        found = self._registration(digest, model)
        return dict(found.details.get("digests", {})) if found else None

    def authors(self, digest: str, model: str = "") -> dict[str, frozenset[str]]:
        """Who made its data, its code, and the run: ids, as far as the ledger knows."""
        found = self._registration(digest, model)
        if found is None:
            return {}
        told = dict(found.details.get("authors", {}))
        return {"run": frozenset({found.actor}), **{k: frozenset(v) for k, v in told.items()}}

    def standing(
        self,
        policy: ApprovalPolicy,
        digest: str,
        target: str,
        now: datetime,
        digests: Mapping[str, str] | None = None,
        model: str = "",
    ) -> Decision:
        """Whether these bytes may serve a target, as `model` (name@version) where that is known.

        `digests`: what it is made from as the registry has it now, where that was asked.
        """
        said = self.about(digest, target)
        return decide(
            policy,
            [one for one in said if isinstance(one, Approval)],
            [one for one in said if isinstance(one, Rejection)],
            self.authors(digest, model),
            digests if digests is not None else self.digests(digest, model),
            now,
            [one for one in said if isinstance(one, BrokenGlass)],
        )

    def open_glasses(self) -> list[BrokenGlass]:
        """Those that nobody has looked at since."""
        return [one for one in self.signed if isinstance(one, BrokenGlass) and not one.reviewed_by]

    def refusal(
        self, policy: ApprovalPolicy, person: str, digest: str, model: str, now: datetime
    ) -> str:
        """Why an approval by somebody would not count now; empty: it would."""
        would = Approval(
            *(Verdict.APPROVED, "", digest, "", "", person, now, ""),
            entry="",
            sequence=0,
            written=now,
            role=self.directory.role_of(person),
            had_users=self.directory.began is not None,
        )
        return doubt(policy, would, self.authors(digest, model), {}, now)

    def _registration(self, digest: str, model: str) -> Entry | None:
        found = [one for one in self.registered if one.digest == digest]
        found = [one for one in found if one.subject == model] or found
        return found[-1] if found else None


def read_book(engine: Engine, pinned: Collection[str] | None = None, digest: str = "") -> Book:
    """The book as it is now; with a digest, of what was said about these bytes alone.

    `pinned`: only these public keys count, whatever the ledger names.
    """
    return book_of(Ledger(engine).entries_of(READ), pinned, digest)


def book_of(
    entries: Iterable[Entry], pinned: Collection[str] | None = None, digest: str = ""
) -> Book:
    """The book that these entries make, oldest first."""
    entries = list(entries)
    directory = folded(one for one in entries if one.action in ABOUT_USERS)
    known: dict[bytes, Signed] = {}  # by what was signed: a copy of an envelope says nothing new
    for entry in entries:
        if digest not in ("", entry.digest):
            continue
        if entry.action in SIGNED and (found := _signed(entry, directory, pinned)):
            known.setdefault(*found)
        elif entry.action == REVIEWED:
            known = {key: _reviewed(one, entry, directory) for key, one in known.items()}
    registered = tuple(one for one in entries if one.action == REGISTERED)
    return Book(directory, tuple(known.values()), registered)


def approvals(engine: Engine) -> list[Approval]:
    """Everybody's approvals, oldest first, whether they count now or not."""
    return [one for one in read_book(engine).signed if isinstance(one, Approval)]


def standing(project: Project, engine: Engine, digest: str, target: str, now: datetime) -> Decision:
    """Whether these bytes may serve a target by the project's policy, as the ledger knows."""
    policy = project.settings.approval_of(target)
    book = read_book(engine, pinned_keys(project), digest)
    return book.standing(policy, digest, target, now)


def standing_of(
    project: Project, engine: Engine, found: Found, target: str, now: datetime
) -> Decision:
    """The same of a version as the registry has it now: with other digests, approvals are void."""
    return read_book(engine, pinned_keys(project), found.digest).standing(
        project.settings.approval_of(target),
        found.digest,
        target,
        now,
        found.digests,
        found.label,
    )


def required(
    project: Project, engine: Engine, found: Found, target: str, now: datetime
) -> tuple[str, ...]:
    """The ids of the entries by which a version may serve a target. Raises `AccessError`."""
    decision = standing_of(project, engine, found, target, now)
    if not decision.met:
        raise AccessError(
            f"{found.label} may not serve {target}: {'; '.join(decision.missing)}",
            hint=f"`penstock models approve {found.label} --for {target} --meaning '…'`",
        )
    return decision.entries


def pinned_keys(project: Project) -> frozenset[str] | None:
    """As `pinned_in` the file that the settings name."""
    return pinned_in(project.place(project.settings.access.approver_keys))


def pinned_in(file: Path) -> frozenset[str] | None:
    """The public keys of a file, one a line; None where it is not there. Raises `SettingsError`."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
        return frozenset(str(VerifyingKey.parse(line.strip())) for line in lines if line.strip())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, NoteError) as error:
        raise SettingsError(
            f"{file} does not hold the public keys of approvers: {error}",
            hint="a line is NAME+ID+BASE64, as `penstock users key` prints it",
        ) from error


def _signed(
    entry: Entry, directory: Directory, pinned: Collection[str] | None
) -> tuple[bytes, Signed] | None:
    keys = directory.keys_at(entry.actor, entry.sequence)
    try:
        envelope = from_document(entry.details.get("envelope"))
        said = verified(envelope, [key for key in keys if pinned is None or key in pinned])
    except IntegrityError:
        return None
    told = (VERDICTS[entry.action], entry.actor, entry.subject, entry.digest)
    if (said.verdict, said.person, said.model, said.digest) != told:
        return None
    found = SIGNED[entry.action](
        **{one.name: getattr(said, one.name) for one in fields(said)},
        entry=entry.id,
        sequence=entry.sequence,
        written=entry.at,
        role=directory.role_at(entry.actor, entry.sequence),
        had_users=directory.had_users(entry.sequence),
    )
    return envelope.payload, found


def _reviewed(one: Signed, entry: Entry, directory: Directory) -> Signed:
    """By another person, who might have agreed too."""
    if not isinstance(one, BrokenGlass) or entry.details.get("entry") != one.entry:
        return one
    role = directory.role_at(entry.actor, entry.sequence)
    if entry.actor == one.person or role not in roles_for(Permission.APPROVE):
        return one
    return replace(one, reviewed_by=entry.actor)
