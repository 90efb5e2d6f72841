"""A dataset's Parquet file: its schema, and its rows as the pandas batch that suites judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def read_schema(parquet: Path) -> Any:
    """The file's `pyarrow.Schema`. Raises `DataError` where it is not a readable Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(parquet)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{parquet} cannot be read as Parquet: {error}",
            hint="run `extract_data` again: it writes the dataset's file",
        ) from error


def read_frame(parquet: Path) -> pd.DataFrame:
    """All rows; the index is the row's position in the file, counted from 0.

    pandas' own metadata in the file is ignored: it would hide index columns from the suites, and
    make dtypes depend on the program that wrote the file.
    """
    import pyarrow.parquet as pq

    read_schema(parquet)
    frame: pd.DataFrame = pq.read_table(parquet).to_pandas(ignore_metadata=True)
    return frame
