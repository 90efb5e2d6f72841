"""A shadow's answers beside those of the primary, request by request: sums for paired tests.

The primary answers the client; the shadow is asked the same afterwards, so that both answer the
same question, and what differs between questions cancels out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import numpy

THRESHOLD = 0.5  # of an output: the class that it stands for


class Answer(NamedTuple):
    """What one of the two said."""

    outputs: Any  # float64, rows × width
    width: int
    took_us: int  # from the question to the answer


class Pair(NamedTuple):
    """One request that was copied. `None`: no answer, but an error."""

    release: str  # the shadow
    epoch: str
    primary: Answer | None = None
    shadow: Answer | None = None
    dropped: bool = False  # not copied, since too many copies were on their way


class PairCounts(msgspec.Struct, omit_defaults=True):
    """Sums over some pairs. Adding two gives the counts of both."""

    requests: int = 0  # both answered
    rows: int = 0  # of them: predictions that were compared
    disagreements: int = 0  # of the rows: the last output on another side of THRESHOLD
    difference: float = 0.0  # Σ |shadow − primary| of the last outputs
    difference_squares: float = 0.0
    log_ratio: float = 0.0  # Σ ln(shadow's time / primary's time), over requests
    log_ratio_squares: float = 0.0
    shadow_failures: int = 0  # only the primary answered
    primary_failures: int = 0  # only the shadow answered
    dropped: int = 0

    def add(self, other: PairCounts) -> None:
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def compared(pairs: Iterable[Pair]) -> dict[tuple[str, str], PairCounts]:
    """The counts of some pairs, by the shadow's release and the epoch."""
    found: dict[tuple[str, str], PairCounts] = {}
    values: dict[tuple[str, str], tuple[list[Any], list[Any]]] = {}
    for pair in pairs:
        key = (pair.release, pair.epoch)
        counts = found.setdefault(key, PairCounts())
        primary, shadow = pair.primary, pair.shadow
        if pair.dropped:
            counts.dropped += 1
        elif primary is None or shadow is None:
            counts.shadow_failures += primary is not None
            counts.primary_failures += shadow is not None
        else:
            ours, others = _last(primary), _last(shadow)
            if len(ours) != len(others):  # an answer to another question is none
                counts.shadow_failures += 1
                continue
            counts.requests += 1
            ratio = math.log(max(shadow.took_us, 1) / max(primary.took_us, 1))
            counts.log_ratio += ratio
            counts.log_ratio_squares += ratio * ratio
            both = values.setdefault(key, ([], []))
            both[0].append(ours)
            both[1].append(others)
    for key, (ours, others) in values.items():
        _compare(found[key], numpy.concatenate(ours), numpy.concatenate(others))
    return found


def _last(answer: Answer) -> Any:
    """The last of each row's outputs: the positive class, where there are several."""
    return numpy.frombuffer(answer.outputs, float).reshape(-1, answer.width)[:, -1]


def _compare(counts: PairCounts, primary: Any, shadow: Any) -> None:
    missing = numpy.isnan(primary) != numpy.isnan(shadow)
    classes = (primary >= THRESHOLD) != (shadow >= THRESHOLD)
    counts.rows += len(primary)
    counts.disagreements += int((missing | classes).sum())
    differences = numpy.abs(shadow - primary)
    differences = differences[numpy.isfinite(differences)]
    counts.difference += float(differences.sum())
    counts.difference_squares += float((differences * differences).sum())
