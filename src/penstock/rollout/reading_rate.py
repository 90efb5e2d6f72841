"""What takes long to read is read the less often, so that looking stays cheap at any size."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
SHARE = 0.05  # of the time, at most, is spent reading one thing


class _Reading(NamedTuple):
    value: Any
    until: float  # of the clock


class Kept:
    """What was read last of each thing, for twenty times as long as the reading took."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._readings: dict[str, _Reading] = {}

    def read(self, name: str, fresh: Callable[[], T]) -> T:
        """What is kept of `name`, or `fresh()`; one name is always of one type."""
        began = self._clock()
        kept = self._readings.get(name)
        if kept is not None and began < kept.until:
            value: T = kept.value
            return value
        value = fresh()
        ended = self._clock()
        self._readings[name] = _Reading(value, ended + (ended - began) / SHARE)
        return value
