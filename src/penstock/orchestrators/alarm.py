"""The end of an attempt's time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from penstock.errors import StepInterrupted


class Alarm:
    """Calls `end` once the time is up, unless it is cancelled before; without a limit, never."""

    def __init__(self, limit: timedelta | None, end: Callable[[], None]) -> None:
        self.limit, self.rang = limit, False
        self._end = end
        seconds = limit.total_seconds() if limit else threading.TIMEOUT_MAX
        self._timer = threading.Timer(seconds, self._ring)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()

    def _ring(self) -> None:
        self.rang = True
        self._end()

    def too_long(self, step: str, more: str = "") -> StepInterrupted:
        """What an attempt that it has ended failed with."""
        return StepInterrupted(
            f"{step} ran longer than its timeout of {self.limit} and was ended",
            hint=f"raise [pipeline] timeout, or timeouts.{step}{more}",
        )
