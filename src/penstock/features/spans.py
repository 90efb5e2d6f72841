"""Spans of time: which are there, and what of another is not. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar


class Ordered(Protocol):
    """A point in time: a datetime, or nanoseconds."""

    def __lt__(self, other: Any, /) -> bool: ...


T = TypeVar("T", bound=Ordered)


def merged(spans: Iterable[tuple[T, T]]) -> tuple[tuple[T, T], ...]:
    """The same time in order, as few spans as can be: those that meet are one, empty ones none."""
    found: list[tuple[T, T]] = []
    for start, end in sorted(spans):
        if not start < end:
            continue
        if found and not found[-1][1] < start:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)


def gaps(start: T, end: T, there: Iterable[tuple[T, T]]) -> list[tuple[T, T]]:
    """What of the time from start to end is in none of the spans, in order."""
    missing: list[tuple[T, T]] = []
    for low, high in merged(there):
        if start < low and start < end:
            missing.append((start, min(low, end)))
        start = max(start, high)
    if start < end:
        missing.append((start, end))
    return missing
