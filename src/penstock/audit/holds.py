"""Legal holds: while one stands, nothing that it covers is erased and nothing expires."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.audit.entries import Actor, Draft, Entry, Personal
from penstock.audit.ledger import Ledger, Page
from penstock.errors import ConflictError, UsageError

PLACED = "audit.hold_placed"
RELEASED = "audit.hold_released"


@dataclass(frozen=True)
class Hold:
    """What must be kept, and why. Without actions and without a person it covers everything."""

    name: str
    reason: str
    placed: int  # its entry, whose payload names the person
    actions: str = ""  # a beginning of actions, such as "prediction."
    about_person: bool = False


def standing(entries: list[Entry]) -> list[Hold]:
    """The fold of the ledger's entries about holds."""
    holds: dict[str, Hold] = {}
    for entry in entries:
        if entry.action == PLACED:
            holds[entry.subject] = Hold(
                entry.subject,
                entry.reason,
                entry.sequence,
                str(entry.details.get("actions", "")),
                bool(entry.commitment),
            )
        elif entry.action == RELEASED:
            holds.pop(entry.subject, None)
    return list(holds.values())


def holds_of(ledger: Ledger) -> list[Hold]:
    found = [*ledger.entries(PLACED), *ledger.entries(RELEASED)]
    return standing(sorted(found, key=lambda entry: entry.sequence))


def place(
    ledger: Ledger, name: str, *, reason: str, by: Actor, actions: str = "", person: str = ""
) -> Entry:
    """Raises `ConflictError` where one of that name stands, `UsageError` without a reason."""
    if not reason or not name:
        raise UsageError("a hold needs a name and a reason", hint="say why with --reason")
    with ledger.page() as page:
        if any(hold.name == name for hold in _read(page)):
            raise ConflictError(f"the hold {name} stands already", hint="choose another name")
        details = {"actions": actions} if actions else {}
        draft = Draft(by=by, action=PLACED, subject=name, reason=reason, details=details)
        return page.write(draft, Personal(person, {"person": person}) if person else None)


def release(ledger: Ledger, name: str, *, reason: str, by: Actor) -> Entry:
    """Raises `UsageError` where none of that name stands."""
    with ledger.page() as page:
        if not any(hold.name == name for hold in _read(page)):
            raise UsageError(
                f"no hold is called {name!r}", hint="`penstock audit hold` shows those that stand"
            )
        return page.write(Draft(by=by, action=RELEASED, subject=name, reason=reason))


def _read(page: Page) -> list[Hold]:
    return standing(page.entries((PLACED, RELEASED)))
