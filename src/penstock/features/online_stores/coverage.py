"""What of a view's past the store holds: a row beside the view's others, and lost when they are.

A span (start, end] of event time is covered when all rows of the source that happened in it have
been brought, as far as they were known at its end. The last span counts for reads: a window that
begins before it has missed events and gives no value. Nothing after the last span's end has to be
covered, as events are pushed meanwhile; what was brought until then is complete.

The row is of one definition of the view, and of one filling of the store. A store that was emptied
has none; when it was emptied while it was being filled, the row is of another birth at the end of
the work than at its beginning, and nothing is said to be covered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec

from penstock.errors import DataError
from penstock.features.online_stores.backend import Row, RowStore
from penstock.features.online_stores.layout import FORMAT, Layout, newer_version
from penstock.features.online_stores.writing import moment
from penstock.features.spans import merged

COVERED = b"~covered"  # the key of the row; that of no entity begins so
# Times before 1678 cannot be kept, so what is covered from here on is covered from the beginning.
BEGINNING = moment(datetime(1678, 1, 1, tzinfo=UTC))
Spans = tuple[tuple[int, int], ...]  # nanoseconds since 1970; in order, and apart

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, str, str, Spans]).decode
_format_of = msgspec.msgpack.Decoder(list).decode


@dataclass(frozen=True)
class Coverage:
    """The covered spans of a view."""

    meaning: str  # of the rows: `Layout.meaning`
    birth: str  # of this filling of the store
    spans: Spans = ()

    @property
    def since(self) -> int | None:
        """Since when all is known that happened up to the end of the last span; none: nothing."""
        return self.spans[-1][0] if self.spans else None

    def to_row(self) -> bytes:
        return _encode((FORMAT, self.meaning, self.birth, self.spans))


def coverage_of(layout: Layout, row: Row) -> Coverage | None:
    """What a row says of the view as it is defined now; none where it says nothing.

    Raises `DataError` for a row of a newer version.
    """
    if row is None:
        return None
    try:
        form, meaning, birth, spans = _decode(row)
    except msgspec.DecodeError:
        _refuse_newer(layout, row)
        return None
    if form > FORMAT:
        raise newer_version(layout.space)
    return Coverage(meaning, birth, spans) if meaning == layout.meaning else None


def covered_spans(rows: RowStore, layout: Layout) -> Spans:
    """The spans that the store says are covered now: read as for a write, which nothing delays."""
    found: list[Spans] = [()]

    def look(_: list[int], old: list[Row]) -> list[Row]:
        there = coverage_of(layout, old[0])
        found[0] = there.spans if there else ()
        return [None]

    rows.merge(layout.space, [COVERED], look)
    return found[0]


def begin(rows: RowStore, layout: Layout, birth: str) -> str:
    """Makes the row where there is none. Gives its birth, which `finish` asks for."""
    born = [birth]

    def combine(_: list[int], old: list[Row]) -> list[Row]:
        there = coverage_of(layout, old[0])
        born[0] = there.birth if there else birth
        return [None if there else Coverage(layout.meaning, birth).to_row()]

    rows.merge(layout.space, [COVERED], combine)
    return born[0]


def finish(rows: RowStore, layout: Layout, birth: str, start: int, end: int) -> None:
    """Notes a span as covered, now that its rows are there.

    Raises `DataError` where the rows written since `begin` may have been lost.
    """

    def combine(_: list[int], old: list[Row]) -> list[Row]:
        there = coverage_of(layout, old[0])
        if there is None or there.birth != birth:
            raise DataError(
                f"the online rows of feature view {layout.view!r} were deleted, or its definition "
                "changed, while it was materialised",
                hint="materialise it again",
            )
        spans = merged((*there.spans, (start, end))) if start < end else there.spans
        return [replace(there, spans=spans).to_row()]

    rows.merge(layout.space, [COVERED], combine)


@contextmanager
def filling(rows: RowStore, layout: Layout, start: int, end: int, birth: str) -> Iterator[None]:
    """Around the work that brings the rows of a span; `birth` is that of a new row."""
    born = begin(rows, layout, birth)
    yield
    finish(rows, layout, born, max(start, BEGINNING), end)


def drop(rows: RowStore, space: str) -> None:
    """Deletes the rows of a space, this one first: some stores delete one after the other."""
    nothing = Coverage("", "").to_row()
    rows.merge(space, [COVERED], lambda _, old: [None if old[0] is None else nothing])
    rows.drop(space)


def _refuse_newer(layout: Layout, row: bytes) -> None:
    try:
        form = _format_of(row)[0]
    except (msgspec.DecodeError, IndexError):
        return
    if isinstance(form, int) and form > FORMAT:
        raise newer_version(layout.space)
