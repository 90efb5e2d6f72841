"""Training sets and materialisation on Spark. Loaded as a Feast plugin only.

Spark reads the files, transforms the rows and groups them by the hash of their key; each group is
computed by the kernels that compute it on one machine, so the results are the same to the bit. A
source that is a query is run by DuckDB on the driver, and its rows are read from a file below the
project's folder. The workers need Penstock installed, and that folder.

In feature_store.yaml: `penstock.features.spark.SparkOfflineStore`
and `penstock.features.spark.SparkComputeEngine`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from penstock.errors import DataError
from penstock.features.compute_engine import DuckDBComputeEngine, DuckDBComputeEngineConfig
from penstock.features.definition import ViewDefinition
from penstock.features.facts import RELATION, Facts, transformer
from penstock.features.feast_views import source_of
from penstock.features.history import Asked, comparable_rows, joined_table
from penstock.features.materialise import Filling
from penstock.features.offline_store import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from penstock.features.partitions import POSITION, part_of
from penstock.features.spark_groups import (
    BUCKET,
    PAYLOAD,
    UNLIMITED,
    bucketing,
    changing,
    filling,
    for_spark,
    joining,
    none_of,
    packed,
    unpacked,
)

ROWS = "rows.parquet"


class SparkOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """`spark_conf`: settings of the session that is made where there is none yet."""

    type: str = "penstock.features.spark.SparkOfflineStore"
    spark_conf: dict[str, str] = Field(default_factory=dict)


class SparkComputeEngineConfig(DuckDBComputeEngineConfig):
    """Materialises on the session of the offline store."""

    type: str = "penstock.features.spark.SparkComputeEngine"


class SparkOfflineStore(DuckDBOfflineStore):
    """Historical features, joined on Spark."""

    @staticmethod
    def joined(
        config: Any, repository: Path, root: Path, memory: int, view: Any, asked: Asked
    ) -> pa.Table:
        """The features of one view, one row for each row asked, in its order."""
        definition, source = source_of(view, repository, root)
        rows = _Rows(session(config), definition, source, root)
        return rows.at(asked)


class SparkComputeEngine(DuckDBComputeEngine):
    """Materialises what Spark computes, group by group."""

    def written(self, filling: Filling, root: Path, *, finished: bool) -> Iterator[pa.Table]:
        rows = _Rows(session(self.repo_config), filling.view, filling.facts, root)
        return rows.written(filling, finished=finished)


def session(config: Any) -> Any:
    """The session there is; else one of this machine, with the settings of the store."""
    from pyspark.sql import SparkSession

    found = SparkSession.getActiveSession()
    if found is None:
        builder = SparkSession.builder.master("local[*]").appName("penstock")
        settings = {
            "spark.ui.enabled": "false",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.warehouse.dir": tempfile.mkdtemp(prefix="penstock-spark-"),
            "spark.sql.execution.arrow.pyspark.enabled": "true",
            **getattr(config.offline_store, "spark_conf", {}),
        }
        for name, value in settings.items():
            builder = builder.config(name, value)
        found = builder.getOrCreate()
        found.sparkContext.setLogLevel("ERROR")
    apart = found.newSession()  # its settings and views are its own
    apart.conf.set("spark.sql.session.timeZone", "UTC")
    # Spark has no nanoseconds: such times travel as integers and are times again in the kernels.
    apart.conf.set("spark.sql.legacy.parquet.nanosAsLong", "true")
    return apart


class _Rows:
    """A view's rows as Spark has them, each with a number in the order of the files."""

    def __init__(self, spark: Any, view: ViewDefinition, source: Facts, root: Path) -> None:
        self._spark, self._view = spark, view
        self._keys = [column.name for column in view.keys]
        files = source.dataset.files
        if view.source.kind == "query":  # in DuckDB's SQL, which Spark does not know
            self._kept = _as_parquet(source, root)
            files = [str(Path(self._kept.name) / ROWS)]
        rows, schema = self._transformed(self._read(source, files), source.schema, root)
        times = filter(None, (view.source.timestamp, view.source.created))
        needed = [*dict.fromkeys((*self._keys, *times, *view.inputs))]
        self._rows = rows.select(*needed)
        self._schema = pa.schema([schema.field(name) for name in needed])

    def at(self, asked: Asked) -> pa.Table:
        """The features as they stood at the times asked, in the order of the rows."""
        view, schema, keys = self._view, self._schema, self._keys
        rows = comparable_rows(asked, schema, keys)
        if not len(rows):
            return joined_table(view, none_of(schema), rows, UNLIMITED)
        parts = int(self._spark.conf.get("spark.sql.shuffle.partitions")) if keys else 1
        numbered = rows.append_column(POSITION, pa.array(np.arange(len(rows), dtype=np.int64)))
        part = part_of([rows[key] for key in keys], parts) if keys else np.zeros(len(rows))
        questions = self._spark.createDataFrame(
            [
                (int(number), bytearray(packed(numbered.take(np.flatnonzero(part == number)))))
                for number in np.unique(part)
            ],
            f"{BUCKET} int, {PAYLOAD} binary",
        )
        grouped = questions.groupBy(BUCKET).cogroup(self._grouped(parts))
        found = [unpacked(row[0]) for row in _collected(grouped, joining(view, schema))]
        answers = pa.concat_tables(found)
        order = np.argsort(answers[POSITION].to_numpy())
        return answers.drop_columns(POSITION).take(order)

    def written(self, asked: Filling, *, finished: bool) -> Iterator[pa.Table]:
        """What the store is given, group by group."""
        parts = int(self._spark.conf.get("spark.sql.shuffle.partitions")) if self._keys else 1
        fill = filling(asked, self._schema, finished=finished)
        filled = self._grouped(parts).applyInArrow(fill, f"{PAYLOAD} binary")
        try:
            for row in filled.toLocalIterator():
                yield unpacked(row[0])
        except Exception as error:
            raise _spark_failed(f"feature view {self._view.name!r}", error) from error

    def _read(self, source: Facts, paths: Sequence[str]) -> Any:
        """File by file, so that numbers given in the order of partitions are in that of rows."""
        columns = [f"`{own}` AS `{name}`" for name, own in source.named.items()]
        try:
            files = [self._spark.read.parquet(path).selectExpr(*columns) for path in paths]
            return reduce(lambda a, b: a.union(b), files)
        except Exception as error:
            raise _spark_failed(source.what, error) from error

    def _transformed(self, rows: Any, schema: pa.Schema, root: Path) -> tuple[Any, pa.Schema]:
        transformation = self._view.transformation
        if transformation is None:
            return rows, schema
        change = transformer(transformation, root)
        made = change(schema.empty_table().to_reader()).schema
        if transformation.mode == "sql":
            rows.createOrReplaceTempView(RELATION)
            try:
                return self._spark.sql(transformation.text), made
            except Exception as error:
                raise _spark_failed(f"feature view {self._view.name!r}", error) from error

        told = _spark_schema(for_spark(made.empty_table()).schema)
        return rows.mapInArrow(changing(change, schema), told), made

    def _grouped(self, parts: int) -> Any:
        """Rows with their number, in groups that hold all rows of their keys."""
        from pyspark.sql.functions import monotonically_increasing_id
        from pyspark.sql.types import IntegerType, StructField, StructType

        rows = self._rows.withColumn(POSITION, monotonically_increasing_id())
        wider = StructType([*rows.schema.fields, StructField(BUCKET, IntegerType())])
        bucketed = bucketing(self._keys, self._schema, parts)
        return rows.mapInArrow(bucketed, wider).groupBy(BUCKET)


def _as_parquet(source: Facts, root: Path) -> tempfile.TemporaryDirectory[str]:
    """The rows of a query, which DuckDB has run once, where workers find the project's files."""
    (root / ".penstock").mkdir(exist_ok=True)
    folder = tempfile.TemporaryDirectory(prefix="spark-", dir=root / ".penstock")
    with pq.ParquetWriter(Path(folder.name) / ROWS, source.schema) as kept:
        for batch in source.batches(tuple(source.named)):
            kept.write_batch(batch)
    return folder


def _collected(grouped: Any, join: Callable[[pa.Table, pa.Table], pa.Table]) -> list[Any]:
    try:
        rows: list[Any] = grouped.applyInArrow(join, f"{PAYLOAD} binary").collect()
    except Exception as error:
        raise _spark_failed("the join", error) from error
    return rows


def _spark_schema(schema: pa.Schema) -> Any:
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema)


def _spark_failed(what: str, error: Exception) -> DataError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = lines or [type(error).__name__]
    # A traceback of a worker's ends with its error, before the JVM's own begins.
    ours = list(takewhile(lambda line: not line.startswith(("at ", "JVM stacktrace")), told))
    said = ours[-1] if "Python worker" in told[0] else told[0]
    return DataError(
        f"{what}: Spark cannot compute it: {said}",
        hint='a transformation in SQL must be SQL that Spark knows too; engine = "duckdb" needs '
        "no Spark",
    )
