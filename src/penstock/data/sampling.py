"""A share of the data, always the same one: whoever is kept is kept with all of their rows."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from penstock.errors import DataError

BUCKETS = 1_000_000


def sampled(table: pa.Table, share: float, by: str) -> pa.Table:
    """The rows whose value in a column falls into the share; of a larger share, the same and more.

    Without a column, each row is drawn by all of its values. Raises `DataError` for a column that
    is not there, or where nothing is left.
    """
    if share >= 1:
        return table
    if by and by not in table.column_names:
        raise DataError(
            f"[data] sample_by is {by!r}, and the rows have no such column",
            hint=f"name one of {', '.join(table.column_names)}",
        )
    frame = table.select([by] if by else table.column_names).to_pandas()
    buckets = pd.util.hash_pandas_object(frame, index=False) % BUCKETS
    kept = table.filter(pa.array(buckets < round(share * BUCKETS)))
    if kept.num_rows == 0:
        raise DataError(
            f"of {table.num_rows:,} rows, a sample of {share:g} keeps none",
            hint="raise [data] sample",
        )
    return kept
