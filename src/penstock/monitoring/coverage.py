"""What a look did not see: answers of its window that are neither here nor where logs are shipped.

Whoever looks at half of a window and says nothing of it says that nothing happened in the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from sqlalchemy import Engine

from penstock.audit.ledger import Ledger
from penstock.monitoring.report import Measure, Verdict
from penstock.monitoring.window import Window

NAME = "log_coverage"
EXPIRED = "prediction.expired"  # what `serving.prediction_log.upkeep` writes down


def covered(window: Window, engine: Engine, endpoint: str, what: str = "") -> Iterator[Measure]:
    """At most one measure, of a window that was not seen as a whole. `what` names the window."""
    if window.since is None or window.until is None or not endpoint:
        return
    days = _days(window.since.astimezone(UTC).date(), window.until.astimezone(UTC))
    gone = expired(engine, endpoint) & set(days) - window.shipped_days
    if window.unread:
        reason = f"{window.unread}; what is on this machine alone was looked at"
        yield Measure(NAME, what, Verdict.ERROR, reason)
    elif gone:
        share = 1 - len(gone) / len(days)
        reason = f"predictions of {spans(gone)} are gone: they expired, and were not shipped"
        told = {"gone": [str(day) for day in sorted(gone)]}
        yield Measure(NAME, what, Verdict.INSUFFICIENT, reason, share, details=told)


def expired(engine: Engine, endpoint: str) -> set[date]:
    """The days whose answers were deleted when their time had come, as the ledger knows."""
    return {
        date.fromisoformat(day)
        for entry in Ledger(engine).entries(EXPIRED)
        if entry.subject == endpoint
        for day in entry.details.get("dates", ())
    }


def spans(days: Collection[date]) -> str:
    """Days for people to read.

    >>> spans([date(2026, 1, 3), date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 9)])
    '2026-01-01 to 2026-01-03, 2026-01-09'
    """
    numbered = enumerate(sorted(days))
    runs = [
        [day for _, day in run]
        for _, run in groupby(numbered, lambda one: one[1].toordinal() - one[0])
    ]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _days(first: date, until: datetime) -> list[date]:
    """Those of which the window has a part; its end is exclusive."""
    last = (until - timedelta(microseconds=1)).date()
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
