"""The first events of units that this gateway saw, until they are in the state database.

They may be noted in any thread. What a gateway forgot, or another one saw, the database knows: it
keeps the first, so that noting a unit again costs a write and changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from penstock.serving.observations.counts import is_slow
from penstock.serving.prediction_log.rows import GIVEN, Row
from penstock.state.first_events import ERROR, SLOW, FirstEvent

REMEMBERED = 100_000  # units of one metric and rollout
MOST = 2_000  # units of one metric between two writes; the others are noted at their next event
MOST_WAITING = 500_000  # while the database is away
ROLLOUTS_METRICS = 64  # pairs of them that are remembered


class FirstEvents:
    """A buffer that forgets who waits in it once it is taken."""

    def __init__(self, endpoint: str, gateway: str) -> None:
        self._endpoint = endpoint
        self._gateway = gateway
        self._seen: dict[tuple[str, str], set[str]] = {}  # rollout, metric -> units
        self._taken: dict[str, int] = {}  # metric -> units since the last write
        self._waiting: deque[FirstEvent] = deque()
        self.dropped = 0  # for want of room, whatever their arm

    def knows(self, epoch: str, metric: str, unit: str) -> bool:
        """Whether it was noted before; what is known need not be noted."""
        rollout = epoch.partition("/")[0]
        return unit in self._seen.get((rollout, metric), ())

    def note(
        self, epoch: str, metric: str, unit: str, arm: str, second: int, lasting: str = ""
    ) -> None:
        """Nothing happens for a unit that is known, and outside of rollouts."""
        rollout, _, stage = epoch.partition("/")
        if not rollout:
            return
        units = self._units(rollout, metric)
        if unit in units:
            return
        taken = self._taken.get(metric, 0)
        if taken >= MOST or len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        self._taken[metric] = taken + 1
        units.add(unit)
        self._waiting.append(
            FirstEvent(
                self._endpoint, rollout, int(stage or 0), metric, arm, second, self._gateway,
                unit, lasting,
            )
        )  # fmt: skip

    def _units(self, rollout: str, metric: str) -> set[str]:
        units = self._seen.get((rollout, metric))
        if units is None:
            if len(self._seen) >= ROLLOUTS_METRICS:
                self._seen.clear()
            units = self._seen.setdefault((rollout, metric), set())
        elif len(units) >= REMEMBERED:
            units.clear()
        return units

    def take(self) -> list[FirstEvent]:
        """Those that wait, in the order they were noted, for a write."""
        self._taken = {}
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def give_back(self, events: Iterable[FirstEvent]) -> None:
        """What could not be written goes first next time."""
        self._waiting.extendleft(reversed(list(events)))


def bad_events(rows: Iterable[Row], slow_us: Mapping[str, int]) -> Iterator[tuple[Row, str]]:
    """The rows that are bad events of units that outlive a request, and the metric of each."""
    for row in rows:
        if row.counts_for != GIVEN or not row.epoch:
            continue
        if row.status >= 500:
            yield row, ERROR
        elif row.status < 400 and is_slow(row, slow_us):
            yield row, SLOW
