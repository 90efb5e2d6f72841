"""Whatever a project's function returns, as an Arrow table; and Parquet, always the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from penstock.digests import written_whole
from penstock.errors import DataError
from penstock.records import Column

ROW_GROUP = 128 * 1024


def as_table(value: Any, source: str) -> pa.Table:
    """A pandas or Polars data frame, an Arrow table, or the path of a Parquet or CSV file."""
    if isinstance(value, pa.Table):
        table = value
    elif isinstance(value, str | Path):
        table = _read(Path(value), source)
    elif hasattr(value, "__arrow_c_stream__") or hasattr(value, "to_arrow"):
        table = _from_frame(value, source)
    else:
        raise DataError(
            f"{source} returned {type(value).__name__}",
            hint="return a data frame, an Arrow table, or the path of a Parquet or CSV file",
        )
    # pandas leaves its index and its metadata behind; neither is data.
    table = table.replace_schema_metadata(None)
    return table.select([name for name in table.column_names if not name.startswith("__index_")])


def write_parquet(table: pa.Table, path: Path) -> None:
    """The same table gives the same bytes; the file appears whole or not at all."""
    with written_whole(path) as part:
        pq.write_table(table, part, row_group_size=ROW_GROUP, compression="zstd")


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    return tuple(Column(name=field.name, type=str(field.type)) for field in schema)


def _from_frame(frame: Any, source: str) -> pa.Table:
    try:
        if type(frame).__module__.startswith("pandas."):
            return pa.Table.from_pandas(frame, preserve_index=False)
        return pa.table(frame)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise DataError(
            f"{source} returned a frame that Arrow cannot hold: {error}",
            hint="give every column one type",
        ) from error


def read_rows(path: Path) -> pa.Table:
    """The rows of a Parquet or CSV file that somebody named.

    Raises `DataError` when there is none, or when it cannot be read.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist", hint="name a Parquet or CSV file that is there")
    return as_table(path, str(path))


def _read(path: Path, source: str) -> pa.Table:
    if not path.exists():
        raise DataError(
            f"{source} returned the path {path}, and nothing is there",
            hint="a relative path is taken from the project's folder",
        )
    try:
        return pa_csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{path} cannot be read: {first}",
            hint="it must be a Parquet or CSV file",
        ) from error
