"""How far the online store is filled, as it says itself.

Feast's own stores say nothing: Feast's registry stands in for them, right unless they were lost.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

from penstock.features.spans import merged
from penstock.setting_types import in_utc

Span = tuple[datetime, datetime]


def knows_itself(store: Any) -> bool:
    """Whether the store notes what it holds."""
    return hasattr(_online(store), "covered")


def covered_spans(store: Any, view: Any) -> tuple[Span, ...]:
    """The spans of event time of which the online store has all rows of a view; UTC, in order."""
    if knows_itself(store):
        return tuple(_online(store).covered(store.config, view))
    done = view.materialization_intervals
    return merged((in_utc(start), in_utc(end)) for start, end in done)


def noting(store: Any, view: Any, start: datetime, end: datetime) -> AbstractContextManager[None]:
    """Around the work of an engine that does not note what it has brought."""
    if not knows_itself(store):
        return nullcontext()
    found: AbstractContextManager[None] = _online(store).filling(store.config, view, start, end)
    return found


def _online(store: Any) -> Any:
    return store._get_provider().online_store
