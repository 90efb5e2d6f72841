"""The label rows: who is asked about, when, and what came of it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import DataError
from penstock.frames.checks import event_bounds, require_columns, require_rows
from penstock.settings import FeatureSettings


def checked_labels(
    table: pa.Table, keys: tuple[str, ...], settings: FeatureSettings, as_of: datetime, source: str
) -> pa.Table:
    """The label rows, with keys, a UTC label time that is past, and a label of two classes."""
    require_rows(table, source)
    require_columns(table, keys, "[features] entity_keys")
    require_columns(table, (settings.timestamp,), "[features] timestamp")
    require_columns(table, (settings.label,), "[features] label")
    event_bounds(table, settings.timestamp, as_of, timedelta(0))
    column = table[settings.label]
    if column.null_count:
        raise DataError(
            f"{column.null_count:,} label rows have no {settings.label!r}",
            hint="leave out rows whose outcome is not known yet",
        )
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    classes = sorted(pc.unique(column).to_pylist())
    if classes != [0, 1]:
        seen = ", ".join(map(repr, classes[:6])) + (", …" if len(classes) > 6 else "")
        raise DataError(
            f"label {settings.label!r} has the values {seen}; a classifier needs both 0 and 1",
            hint="check the rule that makes the label, and the period it covers",
        )
    position = table.column_names.index(settings.label)
    return table.set_column(position, settings.label, column.cast(pa.int8()))
