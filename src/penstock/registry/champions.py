"""Which version is the champion, which ones were before, which one is in staging: folds of entries.

A promotion is one entry: the new champion comes in, and the one before is archived. It is decided
where it is written, so that of two who promote at once the second is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Engine

from penstock.audit.ledger import Actor, Draft, Entry, Ledger, Page, actor_of
from penstock.errors import ConflictError

PROMOTED = "model.promoted"
ROLLED_BACK = "release.rolled_back"  # the model with its features and its routing
DEPLOYED = "release.deployed"
ACTIONS = (PROMOTED, ROLLED_BACK)  # after each, its subject is the champion
PROMOTION, ROLLBACK = "promotion", "rollback"  # an entry's decision
NONE = "none"


class Champion(NamedTuple):
    """A version that is, or was, the champion."""

    label: str  # name@version
    digest: str


@dataclass(frozen=True)
class Standing:
    """Who is the champion, and who would be again if it were taken back."""

    line: tuple[Champion, ...] = ()  # each made champion after the one before; the present one last
    known: tuple[str, ...] = ()  # all that ever were, the latest last
    sequence: int = 0  # of the entry that made the present one champion

    @property
    def champion(self) -> Champion | None:
        return self.line[-1] if self.line else None

    @property
    def previous(self) -> Champion | None:
        return self.line[-2] if len(self.line) > 1 else None

    @property
    def label(self) -> str:
        """name@version of the champion, "none" before the first."""
        return self.line[-1].label if self.line else NONE

    @property
    def archived(self) -> tuple[str, ...]:
        """Those that were the champion and are not, the latest first."""
        return tuple(label for label in reversed(self.known) if label != self.label)


def standing_of(entries: Iterable[Entry]) -> Standing:
    """The fold of entries of `ACTIONS`. A rollback undoes what was promoted after its subject."""
    line: list[Champion] = []
    known: dict[str, None] = {}
    sequence = 0
    for entry in entries:
        one = Champion(entry.subject, entry.digest)
        back = entry.action == ROLLED_BACK or entry.decision == ROLLBACK
        if back and one in line[:-1]:
            del line[len(line) - line[-2::-1].index(one) - 1 :]
        elif line[-1:] != [one]:
            line.append(one)
        known.pop(one.label, None)
        known[one.label] = None
        sequence = entry.sequence
    return Standing(tuple(line), tuple(known), sequence)


def standing(engine: Engine) -> Standing:
    return standing_of(Ledger(engine).entries_of(ACTIONS))


def champion_label(engine: Engine) -> str:
    """name@version of the champion, "none" before the first."""
    return standing(engine).label


def staged_label(engine: Engine, endpoint: str) -> str:
    """name@version of what was deployed last to an endpoint such as staging; "" before that."""
    entries = [entry for entry in Ledger(engine).entries(DEPLOYED) if entry.subject == endpoint]
    return str(entries[-1].details.get("model", "")) if entries else ""


def crown(
    page: Page,
    one: Champion,
    *,
    reason: str,
    actor: str | Actor | None = None,
    decision: str = PROMOTION,
    expected: str | None = None,
    occasion: str = "",
    approvals: Sequence[str] = (),
) -> Entry | None:
    """Makes a version the champion, and archives the one before; None where it is the champion.

    `expected` is the champion that the decision was made about: raises `ConflictError` when it is
    another by now. Of one `occasion`, it is written once: raises `ConflictError` where it was.
    """
    present = standing_of(page.entries(ACTIONS))
    require_expected(present, expected, one.label)
    if present.champion == one:
        return None
    before = present.champion
    return page.write(
        Draft(
            by=actor_of(actor),
            action=PROMOTED,
            subject=one.label,
            digest=one.digest,
            before=before.digest if before else "",
            after=one.digest,
            reason=reason,
            environment="production",
            approvals=tuple(approvals),
            decision=decision,
            details={"archived": before.label} if before else {},
            stream=occasion,
            position=1 if occasion else None,
        )
    )


def require_expected(present: Standing, expected: str | None, wanted: str) -> None:
    """Raises `ConflictError` where the champion is another than the one decided about."""
    if expected is not None and present.label != expected:
        raise ConflictError(
            f"{present.label} became the champion meanwhile, by entry {present.sequence} of the "
            f"ledger; {wanted} was to take the place of {expected}",
            hint="look at it with `penstock models list`, and decide again",
        )
