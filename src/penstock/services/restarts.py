"""Whether and when a service that ended is started again: a decision on how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

STEADY = timedelta(minutes=1)  # up for so long, a service has come up: it is no crash loop
FIRST_PAUSE = timedelta(seconds=1)  # doubled with each crash in a row
LONGEST_PAUSE = timedelta(minutes=1)
CRASHES = 8  # in a row, after which the team is told
REST = timedelta(minutes=15)  # between two starts from then on


@dataclass(frozen=True)
class Decision:
    """`pause` until the next start."""

    pause: timedelta
    crashes: int  # in a row, this one among them
    reason: str

    @property
    def failed(self) -> bool:
        """Whether it is more than a passing trouble."""
        return self.crashes >= CRASHES


def decide(status: int, up: timedelta, crashes: int) -> Decision:
    """`status` as subprocess has it: below zero, the signal. `crashes`: in a row, before this one.

    >>> decide(1, timedelta(seconds=2), crashes=2).pause
    datetime.timedelta(seconds=4)
    """
    ended = f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
    crashes = 1 if up >= STEADY else crashes + 1
    if crashes >= CRASHES:
        reason = f"{ended}, {crashes} times in a row; tried again in {REST.seconds // 60} min"
        return Decision(REST, crashes, reason)
    pause = min(FIRST_PAUSE * 2 ** (crashes - 1), LONGEST_PAUSE)
    return Decision(pause, crashes, f"{ended}; started again in {pause.total_seconds():g} s")
