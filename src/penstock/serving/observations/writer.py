"""Counts in memory, for `/metrics`; and every second in the state database, for the judge.

When the database is away, what was seen in the meantime is kept, and written later.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from penstock.serving.observations.bins import Bins
from penstock.serving.observations.counts import ArmKey, Counts, counted
from penstock.serving.observations.first_events import FirstEvents, bad_events
from penstock.serving.observations.pairs import Pair, compared
from penstock.serving.prediction_log.rows import Row
from penstock.serving.routing.table import SHADOW
from penstock.state.first_events import FirstEvent
from penstock.state.observations import Observed, Summed

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds
IDLE = 600  # seconds after which a sum is ended; should the epoch go on, another one begins
EPOCHS = 100  # whose limits are remembered, for answers that are late
MOST_PAIRS = 20_000  # between two writes


class Report(NamedTuple):
    """What is written at once. Each part may be written again."""

    seconds: Sequence[Observed]
    sums: Sequence[Summed]
    first: Sequence[FirstEvent]


@dataclass
class _Sum:
    """Of an arm in an epoch, since a second."""

    since: int
    until: int = 0
    counts: Counts = field(default_factory=Counts)
    written: bool = False


class Observer:
    """Counts rows as they are logged. `counted_rows` is called from the log's thread."""

    def __init__(self, endpoint: str, gateway: str, write: Callable[[Report], None]) -> None:
        self._endpoint = endpoint
        self._gateway = gateway
        self._write = write
        self._lock = threading.Lock()
        self._totals: dict[ArmKey, Counts] = {}
        self._fresh: dict[ArmKey, Counts] = {}
        self._pairs: deque[Pair] = deque(maxlen=MOST_PAIRS)
        self._pending: list[Observed] = []
        self._sums: dict[ArmKey, _Sum] = {}
        self._second = 0  # the last that was written about
        self._names: dict[str, tuple[str, ...]] = {}
        self._references: dict[str, Mapping[str, Bins]] = {}
        self._slow_us: dict[str, int] = {}
        self._ended = threading.Event()
        self.first_events = FirstEvents(endpoint, gateway)
        self.failures = 0  # of writing to the database
        self._thread = threading.Thread(target=self._run, name="observations", daemon=True)
        self._thread.start()

    def describe(
        self, release: str, names: Sequence[str], reference: Mapping[str, Bins] | None
    ) -> None:
        """Names a release's features, and the bins of those that have some."""
        self._names[release] = tuple(names)
        if reference:
            self._references = {**self._references, release: reference}

    def follow(self, epoch: str, slow_us: int) -> None:
        """Says how long an answer of an epoch may take, in µs (0: for ever), before the first."""
        kept = dict([*self._slow_us.items()][-EPOCHS:])
        kept.pop(epoch, None)
        self._slow_us = {**kept, epoch: slow_us} if slow_us else kept

    def counted_rows(self, rows: Sequence[Row]) -> None:
        slow_us = self._slow_us
        found = counted(rows, self._references, self._names, slow_us)
        for row, metric in bad_events(rows, slow_us):
            second = row.at_ns // 1_000_000_000
            self.first_events.note(row.epoch, metric, row.unit, row.arm, second)
        self._add(found)

    def paired(self, pair: Pair) -> None:
        """On the event loop: compared later."""
        self._pairs.append(pair)

    def used(self, key: ArmKey, cpu_us: int, memory_bytes: int) -> None:
        """What the processes of an arm took since they were looked at last."""
        self._add({key: Counts(cpu_us=cpu_us, memory_bytes=memory_bytes)})

    def totals(self) -> dict[ArmKey, Counts]:
        """Since the gateway began, as they are now, by release and arm."""
        with self._lock:
            found = {key: copy.deepcopy(counts) for key, counts in self._totals.items()}
            _gather(found, self._fresh)
        return found

    def close(self) -> None:
        """Writes what is left."""
        self._ended.set()
        self._thread.join()
        self.flush()

    def _add(self, found: Mapping[ArmKey, Counts]) -> None:
        with self._lock:
            for key, counts in found.items():
                self._fresh.setdefault(key, Counts()).add(counts)

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL):
            self.flush()

    def flush(self) -> None:
        """Writes what is new.

        A second that may have been written is written again as it was: it counts once. So what
        comes after, be it within the same second, is written under a later one.
        """
        pairs = compared(self._pairs.popleft() for _ in range(len(self._pairs)))
        self._add({ArmKey(one[0], SHADOW, one[1]): Counts(pairs=n) for one, n in pairs.items()})
        with self._lock:
            fresh, self._fresh = self._fresh, {}
            _gather(self._totals, fresh)
        self._second = max(int(time.time()), self._second + 1)
        self._sum_up(fresh)
        self._pending += [
            Observed(
                self._endpoint, key.epoch, key.release, key.arm, self._gateway, self._second,
                msgspec.to_builtins(counts),
            )
            for key, counts in fresh.items()
        ]  # fmt: skip
        self._report()

    def _sum_up(self, fresh: Mapping[ArmKey, Counts]) -> None:
        for key, counts in fresh.items():
            if key.epoch:
                total = self._sums.setdefault(key, _Sum(self._second))
                total.counts.add(counts)
                total.counts.features.clear()  # what rollouts are judged by holds no features,
                total.counts.entity_signs.clear()  # and no entities
                total.until, total.written = self._second, False
        ended = [
            key
            for key, total in self._sums.items()
            if total.written and total.until < self._second - IDLE
        ]
        for key in ended:
            del self._sums[key]

    def _report(self) -> None:
        sums = [(key, total) for key, total in self._sums.items() if not total.written]
        first = self.first_events.take()
        if not (self._pending or sums or first):
            return
        written = [
            Summed(
                self._endpoint, key.epoch, key.release, key.arm, self._gateway, total.since,
                total.until, msgspec.to_builtins(total.counts),
            )
            for key, total in sums
        ]  # fmt: skip
        try:
            self._write(Report(self._pending, written, first))
        except Exception as error:  # noqa: BLE001 -- whatever the database's driver raises
            if not self.failures:
                log.error("observations cannot be written: %s", error)
            self.failures += 1
            self.first_events.give_back(first)
        else:
            self._pending.clear()
            for _, total in sums:
                total.written = True
            self.failures = 0


def _gather(totals: dict[ArmKey, Counts], fresh: Mapping[ArmKey, Counts]) -> None:
    """Adds counts of any epoch to those of all."""
    for key, counts in fresh.items():
        totals.setdefault(ArmKey(key.release, key.arm), Counts()).add(counts)
