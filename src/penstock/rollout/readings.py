"""What takes long to read goes on in the background, and is read the less often.

So a look at a rollout stays quick at any size: the lease that it renews does not run out meanwhile.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
SHARE = 0.05  # of the time, at most, is spent reading one thing
PATIENCE = 1.0  # seconds that a look waits for a reading


@dataclass
class _Reading:
    value: Any = None
    until: float = -math.inf  # of the clock: then it is read anew
    going_on: Future[tuple[Any, float]] | None = None


class Readings:
    """What was read last of each thing, for twenty times as long as the reading took."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, patience: float = PATIENCE
    ) -> None:
        self._clock = clock
        self._patience = patience
        self._known: dict[str, _Reading] = {}
        self._lock = threading.Lock()

    def read(self, name: str, fresh: Callable[[], T]) -> T | None:
        """What is known of `name`, or `fresh()`; one name is always of one type.

        None: the first reading still goes on. Raises what a reading raised; the next tries again.
        """
        with self._lock:
            one = self._known.setdefault(name, _Reading())
            if one.going_on is None and self._clock() >= one.until:
                one.going_on = self._begun(name, fresh)
            if one.going_on is not None and wait([one.going_on], self._patience).done:
                done, one.going_on = one.going_on, None
                one.value, one.until = done.result()
        value: T | None = one.value
        return value

    def _begun(self, name: str, fresh: Callable[[], T]) -> Future[tuple[T, float]]:
        told: Future[tuple[T, float]] = Future()

        def read() -> None:
            began = self._clock()
            try:
                value = fresh()
            except BaseException as error:  # noqa: BLE001 - raised where the value is asked for
                told.set_exception(error)
            else:
                ended = self._clock()
                told.set_result((value, ended + (ended - began) / SHARE))

        threading.Thread(target=read, name=f"read-{name}", daemon=True).start()
        return told
