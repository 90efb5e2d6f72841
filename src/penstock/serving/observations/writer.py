"""Counts in memory, for `/metrics`; and every second in the state database, for the judge.

When the database is away, what was seen in the meantime is kept, and written later.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from penstock.serving.observations.counts import ArmKey, Counts, counted
from penstock.serving.prediction_log.rows import Row
from penstock.state.observations import Observed

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds


class Observer:
    """Counts rows as they are logged. `counted_rows` is called from the log's thread."""

    def __init__(
        self, endpoint: str, gateway: str, write: Callable[[Sequence[Observed]], None]
    ) -> None:
        self._endpoint = endpoint
        self._gateway = gateway
        self._write = write
        self._lock = threading.Lock()
        self._totals: dict[ArmKey, Counts] = {}
        self._fresh: dict[ArmKey, Counts] = {}
        self._pending: list[Observed] = []
        self._second = 0  # the last that was written about
        self._names: dict[str, tuple[str, ...]] = {}
        self._references: dict[str, Mapping[str, Any]] = {}
        self._ended = threading.Event()
        self.failures = 0  # of writing to the database
        self._thread = threading.Thread(target=self._run, name="observations", daemon=True)
        self._thread.start()

    def describe(
        self, release: str, names: Sequence[str], reference: Mapping[str, Any] | None
    ) -> None:
        """Names a release's features, and the reference bins of those that have some."""
        self._names[release] = tuple(names)
        if reference:
            self._references = {**self._references, release: reference}

    def counted_rows(self, rows: Sequence[Row]) -> None:
        found = counted(rows, self._references, self._names)
        with self._lock:
            for key, counts in found.items():
                self._totals.setdefault(key, Counts()).add(counts)
                self._fresh.setdefault(key, Counts()).add(counts)

    def totals(self) -> dict[ArmKey, Counts]:
        """Since the gateway began, as they are now."""
        with self._lock:
            return {key: copy.deepcopy(counts) for key, counts in self._totals.items()}

    def close(self) -> None:
        """Writes what is left."""
        self._ended.set()
        self._thread.join()
        self._flush()

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL):
            self._flush()

    def _flush(self) -> None:
        """A second that may have been written is written again as it was: it counts once.

        So what comes after, be it within the same second, is written under a later one.
        """
        with self._lock:
            fresh, self._fresh = self._fresh, {}
        self._second = max(int(time.time()), self._second + 1)
        self._pending += [
            Observed(self._endpoint, *key, self._gateway, self._second, msgspec.to_builtins(counts))
            for key, counts in fresh.items()
        ]
        if not self._pending:
            return
        try:
            self._write(self._pending)
        except Exception as error:  # noqa: BLE001 -- whatever the database's driver raises
            if not self.failures:
                log.error("observations cannot be written: %s", error)
            self.failures += 1
        else:
            self._pending.clear()
            self.failures = 0
