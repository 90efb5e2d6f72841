"""What takes long to read is read the less often, so that looking stays cheap at any size."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
SHARE = 0.05  # of the time, at most, is spent reading one thing


@dataclass(frozen=True)
class _Kept(Generic[T]):
    value: T
    until: float  # of the clock


class Kept(Generic[T]):
    """What was read last of each thing, for twenty times as long as the reading took."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept[T]] = {}

    def read(self, name: str, fresh: Callable[[], T]) -> T:
        """What is kept of `name`, or `fresh()`."""
        began = self._clock()
        kept = self._kept.get(name)
        if kept is not None and began < kept.until:
            return kept.value
        value = fresh()
        ended = self._clock()
        self._kept[name] = _Kept(value, ended + (ended - began) / SHARE)
        return value
