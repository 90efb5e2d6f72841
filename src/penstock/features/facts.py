"""The rows behind a view, in their order: from Parquet files, S3 or a query, and transformed.

What a file holds is read column by column and only where it is needed. The result of a query or a
transformation is computed once and kept in a temporary file, which the system pages in and out: so
sources may be larger than memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from penstock.errors import DataError, ProjectError, UserCodeError
from penstock.features.definition import Source, Transformation, ViewDefinition
from penstock.frames.convert import as_table

BATCH_ROWS = 256 * 1024
RELATION = "source"  # what a transformation in SQL calls the rows of its source


@dataclass(frozen=True)
class Facts:
    """Rows in their order, of which columns are read when they are asked for."""

    what: str  # as an error would name it
    dataset: ds.Dataset
    named: Mapping[str, str]  # a column as the view calls it -> as the files do
    _spool: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    @property
    def schema(self) -> pa.Schema:
        fields = ((name, self.dataset.schema.field(own).type) for name, own in self.named.items())
        return pa.schema(list(fields))

    def count(self) -> int:
        """The number of rows, mostly known without reading any."""
        return int(self._asked(self.dataset.count_rows))

    def batches(self, names: tuple[str, ...], among: Any = None) -> Iterator[pa.RecordBatch]:
        """Some columns, batch by batch, of the rows for which the expression `among` holds.

        Raises `DataError` when a file is corrupt, or has not the columns of the others.
        """
        columns = {name: ds.field(self._own(name)) for name in names}
        scanner = self.dataset.scanner(columns=columns, filter=among, batch_size=BATCH_ROWS)
        batches = self._asked(scanner.to_batches)
        while (batch := self._asked(lambda: next(batches, None))) is not None:
            if batch.num_rows:
                yield batch

    def table(self, names: tuple[str, ...], among: Any = None) -> pa.Table:
        """The same as one table."""
        schema = pa.schema([self.schema.field(name) for name in names if self._own(name)])
        return pa.Table.from_batches(list(self.batches(names, among)), schema)

    def take(self, names: tuple[str, ...], rows: pa.Array, among: Any = None) -> pa.Table:
        """Some columns of some rows, by number among those read; null where the number is null.

        Only what is taken is held in memory.
        """
        places = rows.fill_null(0).to_numpy(zero_copy_only=False)
        missing = rows.is_null().to_numpy(zero_copy_only=False)
        chosen = np.zeros(int(places.max(initial=-1)) + 1, dtype=bool)
        chosen[places[~missing]] = True
        wanted, start = np.flatnonzero(chosen), 0
        found = []
        for batch in self.batches(names, among):
            low, high = np.searchsorted(wanted, (start, start + batch.num_rows))
            found.append(batch.take(pa.array(wanted[low:high] - start)))
            start += batch.num_rows
        schema = pa.schema([self.schema.field(name) for name in names])
        position = np.empty(len(chosen), dtype=np.int64)
        position[wanted] = np.arange(len(wanted))
        taken = pa.array(position[places] if len(position) else places, mask=missing)
        return pa.Table.from_batches(found, schema).take(taken)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Names these rows in a `DataError` of what is made of them."""
        try:
            yield
        except DataError as error:
            if self.what in error.message:
                raise
            raise DataError(f"{self.what}: {error.message}", hint=error.hint) from error

    def column(self, name: str) -> Any:
        """A column in an expression for `among`."""
        return ds.field(self._own(name))

    def _own(self, name: str) -> str:
        if name in self.named and self.named[name] in self.dataset.schema.names:
            return self.named[name]
        known = ", ".join(self.named)
        raise DataError(
            f"{self.what} has no column {name!r}; it has {known}",
            hint="correct the name in features.py, or return that column",
        )

    def _asked(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{self.what} cannot be read: {str(error).splitlines()[0]}",
                hint="is a file damaged, or of another schema than the others? Write it anew",
            ) from error


def facts_of(view: ViewDefinition, root: Path) -> Facts:
    """The rows of a view; paths are relative to `root`."""
    return view_rows(view, source_rows(view.source, root), root)


def view_rows(view: ViewDefinition, rows: Facts, root: Path) -> Facts:
    """The rows that a view makes of those of its source."""
    if view.transformation is None:
        return rows
    change = transformer(view.transformation, root)
    return _spooled(f"feature view {view.name!r}", change(_reader(rows)))


def transformed(view: ViewDefinition, table: pa.Table, root: Path) -> pa.Table:
    """The rows that a view makes of rows of its source."""
    if view.transformation is None:
        return table
    return transformer(view.transformation, root)(table.to_reader()).read_all()


def source_rows(source: Source, root: Path) -> Facts:
    """The rows of a source as they stand."""
    what = f"source {source.name!r}"
    if source.kind == "query":
        database = connect(root)
        try:
            reader = database.sql(source.location).to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            raise _query_failed(what, error) from error
        return _spooled(what, reader)
    dataset = parquet(what, source.location, root)
    return Facts(what, dataset, {name: name for name in dataset.schema.names})


def parquet(what: str, location: str, root: Path) -> ds.Dataset:
    """A Parquet file, a folder of them in the order of their paths, or either on S3.

    Raises `DataError` where there is none.
    """
    place: Any = location if "://" in location else str(root / location)
    try:
        return ds.dataset(place, format="parquet", partitioning="hive")
    except FileNotFoundError as error:
        raise DataError(
            f"{what} has no file: {place}",
            hint="`penstock run` may write it; a relative path is taken from the project's folder",
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{what} cannot be read: {str(error).splitlines()[0]}",
            hint=f"is {place} a Parquet file, or a folder of them?",
        ) from error


def connect(root: Path, memory: int = 0) -> duckdb.DuckDBPyConnection:
    """A database in memory that spills to disk, whose files are relative to the project."""
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    database.execute("SET enable_progress_bar = false")
    database.execute("SET file_search_path = $path", {"path": str(root)})
    if memory:
        database.execute(f"SET memory_limit = '{memory // 2**20}MiB'")
    return database


def transformer(
    transformation: Transformation, root: Path
) -> Callable[[pa.RecordBatchReader], pa.RecordBatchReader]:
    """From rows of the source to rows of the view, in the same order."""
    if transformation.mode == "sql":
        return lambda rows: _by_query(transformation.text, rows, root)
    function = project_function(transformation.text, root)
    return lambda rows: _by_function(function, transformation, rows)


def project_function(text: str, root: Path) -> Callable[..., Any]:
    """The function behind "features.py:name", as the project defines it."""
    from penstock.project import open_project

    file, _, name = text.partition(":")
    view = getattr(open_project(root).module(file.removesuffix(".py")), name, None)
    function = getattr(view, "transform", view)
    if not callable(function):
        raise ProjectError(
            f"{root / file} no longer defines {name}()",
            hint="run `penstock features apply`, so that Feast's registry knows of the change",
        )
    found: Callable[..., Any] = function
    return found


def _by_query(query: str, rows: pa.RecordBatchReader, root: Path) -> pa.RecordBatchReader:
    database = connect(root)
    database.register(RELATION, rows)
    try:
        return database.sql(query).to_arrow_reader(BATCH_ROWS)
    except duckdb.Error as error:
        raise _query_failed("the transformation", error) from error


def _by_function(
    function: Callable[..., Any], transformation: Transformation, rows: pa.RecordBatchReader
) -> pa.RecordBatchReader:
    def change(table: pa.Table) -> pa.Table:
        try:
            result = function(_as_frame(table, transformation.mode))
        except Exception as error:  # whatever the project's code raises
            raise UserCodeError(
                f"{transformation.text} raised {type(error).__name__}: {error}",
                hint="it is called with some rows at a time, and once with none to learn its types",
            ) from error
        return as_table(result, transformation.text)

    schema = change(rows.schema.empty_table()).schema

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            changed = change(pa.Table.from_batches([batch]))
            yield from _as_declared(changed, schema, transformation.text).to_batches()

    return pa.RecordBatchReader.from_batches(schema, batches())


def _as_frame(table: pa.Table, mode: str) -> Any:
    if mode == "arrow":
        return table
    if mode == "pandas":
        return table.to_pandas()
    import polars

    return polars.from_arrow(table)


def _as_declared(table: pa.Table, schema: pa.Schema, source: str) -> pa.Table:
    """Rows of one batch, in the types that the function gives when it gets no rows."""
    if table.schema.names != schema.names:
        raise DataError(
            f"{source} returns the columns {', '.join(table.schema.names)} for some rows, and "
            f"{', '.join(schema.names)} for none",
            hint="give the same columns whatever the rows",
        )
    try:
        return table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{source} returns other types for some rows than for none: {error}",
            hint="set the types of its columns in the function",
        ) from error


def _spooled(what: str, reader: pa.RecordBatchReader) -> Facts:
    """Rows kept in a temporary file until nobody needs them."""
    folder = tempfile.TemporaryDirectory(prefix="penstock-")
    file = Path(folder.name) / "rows.arrow"
    try:
        with pa.ipc.new_file(file, reader.schema) as kept:
            for batch in reader:
                kept.write_batch(batch)
    except duckdb.Error as error:
        raise _query_failed(what, error) from error
    dataset = ds.dataset(str(file), format="ipc")
    return Facts(what, dataset, {name: name for name in dataset.schema.names}, folder)


def _reader(rows: Facts) -> pa.RecordBatchReader:
    names = tuple(rows.named)
    return pa.RecordBatchReader.from_batches(rows.schema, rows.batches(names))


def _query_failed(what: str, error: duckdb.Error) -> DataError:
    return DataError(
        f"{what}: DuckDB cannot answer the query: {str(error).splitlines()[0]}",
        hint="correct the query in features.py",
    )


def between(facts: Facts, name: str, start: datetime, end: datetime) -> Any:
    """The expression `start <= column <= end`; a time without a zone is UTC."""
    kind = facts.schema.field(name).type
    if not pa.types.is_timestamp(kind):
        raise DataError(
            f"{facts.what}: the time {name!r} is of type {kind}",
            hint="it must be a timestamp; cast it in the source",
        )
    column = facts.column(name)
    if kind.unit in ("s", "ms"):  # too coarse for the bounds
        kind = pa.timestamp("us", kind.tz)
        column = column.cast(kind)
    low, high = (pa.scalar(moment, pa.timestamp("us", "UTC")) for moment in (start, end))
    return (column >= low.cast(kind)) & (column <= high.cast(kind))
