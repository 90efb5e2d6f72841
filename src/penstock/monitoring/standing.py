"""How each trigger stands: on or off, and when it may start a run next. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from penstock.monitoring.trigger_book import Book
from penstock.monitoring.triggers import ASKED, DAY, PACED, Kind, rests_until
from penstock.monitoring_settings import TriggerSettings


class Standing(NamedTuple):
    """Of one kind of cause."""

    kind: Kind
    on: bool  # whether it starts a run though nobody asks for one
    last: datetime | None  # when it did
    next: datetime | None  # when it may at the earliest; None: now, if nothing holds it
    held_by: str  # what no time ends; empty: nothing
    left: int | None  # of the budget; None: it has none


def standings(book: Book, settings: TriggerSettings, now: datetime) -> tuple[Standing, ...]:
    """One of each kind."""
    history = book.history(book.open[-1].run if book.open else "")
    spent, rests = history.spent(now), rests_until(history, settings, now)
    left = max(settings.per_day - len(spent), 0)
    if not left and settings.per_day:
        rests = max(rests, spent[len(spent) - settings.per_day] + DAY)
    held = f"when {history.running} has ended" if history.running else ""
    if not settings.per_day:
        held = held or "never: per_day is 0"

    def of(kind: Kind) -> Standing:
        fired = [one.at for one in history.fired if kind in one.kinds]
        last, on = (fired[-1] if fired else None), kind in ASKED or str(kind) in settings.on
        if kind in PACED:
            waits = held if history.running else ""
            return Standing(kind, on, last, None, waits, None)
        return Standing(kind, on, last, rests if rests > now else None, held, left)

    return tuple(map(of, Kind))
