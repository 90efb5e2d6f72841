"""The skew audit: served vectors, computed again by the offline path at the times they were asked.

Offline sees the rows that have arrived by now; what was served saw those that had arrived then. So
a difference is a late row that has no `created` time, an online store that lags behind its source,
or a fault.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from penstock.features.served_log import Served
from penstock.features.training_set import TIME, historical_features

EXAMPLES = 5


@dataclass(frozen=True)
class Difference:
    """A value that was served, and what it should have been."""

    at: datetime
    keys: dict[str, Any]
    served: Any
    offline: Any

    @property
    def size(self) -> float:
        """How far apart two numbers are; infinite for what cannot be subtracted."""
        try:
            return abs(float(self.served) - float(self.offline))
        except (TypeError, ValueError):
            return math.inf


@dataclass(frozen=True)
class FeatureSkew:
    """Of one feature: how many served values were compared, how many differ, the worst first."""

    feature: str
    compared: int
    differing: int
    examples: tuple[Difference, ...]


def skew(store: Any, service: Any, served: Sequence[Served]) -> list[FeatureSkew]:
    """Replays served vectors through the offline path; one answer a feature, in its order."""
    if not served:
        return []
    asked = {name: [vector.keys[name] for vector in served] for name in served[0].keys}
    times = pa.array([vector.at for vector in served], pa.timestamp("ns", "UTC"))
    table = pa.table(asked).append_column(TIME, times)
    offline = historical_features(store, service, table)
    return [_of(name, served, offline[name].to_pylist()) for name in offline.column_names]


def _of(name: str, served: Sequence[Served], offline: Sequence[Any]) -> FeatureSkew:
    found = [
        Difference(_moment(vector.at), vector.keys, vector.features.get(name), value)
        for vector, value in zip(served, offline, strict=True)
        if not same(vector.features.get(name), value)
    ]
    worst = sorted(found, key=lambda difference: -difference.size)[:EXAMPLES]
    return FeatureSkew(name, len(served), len(found), tuple(worst))


def same(served: Any, offline: Any) -> bool:
    """Whether two values are the same; a missing value is null or NaN.

    What was served comes back from JSON: a time or bytes are compared as they are written there.
    """
    if _missing(served) or _missing(offline):
        return _missing(served) and _missing(offline)
    if isinstance(offline, list) and isinstance(served, list):
        return len(offline) == len(served) and all(map(same, served, offline))
    if isinstance(served, str) and isinstance(offline, datetime):
        return _time(served) == (offline if offline.tzinfo else offline.replace(tzinfo=UTC))
    return bool(served == offline or (isinstance(served, str) and served == str(offline)))


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds // 1_000 / 1e6, UTC)
