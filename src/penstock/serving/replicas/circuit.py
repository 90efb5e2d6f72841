"""Spares who waits behind a source of features that does not answer.

A replica does one thing after the other. While it waits in vain for the online store, rows of
features wait too, which need no store; and who is silent for `hang_timeout` is killed. So after a
read that failed slowly, the next ones fail at once, for some time.
"""

from __future__ import annotations

SLOW = 0.2  # seconds; what fails faster costs nobody much, and may be tried again at once
REST = 4.0  # times as long as the failed read took: waiting takes a fifth of the time at most


class Circuit:
    """Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._until = 0.0

    def is_open(self, now: float) -> bool:
        """Whether nothing is to be asked of the source now."""
        return now < self._until

    def failed(self, begun: float, now: float) -> None:
        """A read that was begun then has failed."""
        took = now - begun
        if took >= SLOW:
            self._until = now + REST * took
