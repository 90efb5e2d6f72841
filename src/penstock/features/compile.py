"""From declarations to the intermediate form, and from it to ordinary Feast objects.

Types are those of the sources, so an unknown column or a sum of texts is refused here, with the
feature's name, before anything is computed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType

import pyarrow as pa

from penstock.errors import DataError, PenstockError, ProjectError, UserCodeError
from penstock.features.checks import repeated, seen
from penstock.features.code import code_digest, place_of
from penstock.features.declarations import Aggregate, BatchSource, FeatureView
from penstock.features.declared import declared_in
from penstock.features.definition import (
    Aggregation,
    Source,
    Transformation,
    ViewDefinition,
    arrow_type,
)
from penstock.features.facts import RELATION, parquet, source_rows, transformer
from penstock.frames.convert import columns_of
from penstock.records import Column
from penstock.setting_types import parse_duration

NUMBERS = ("sum", "mean", "std")
ORDERED = ("min", "max")


def view_definitions(module: ModuleType, root: Path) -> dict[str, ViewDefinition]:
    """The views that a module declares, by name, each once."""
    return {view.name: define(view, root) for view in declared_in(module).views}


def define(view: FeatureView, root: Path) -> ViewDefinition:
    """The definition of a declared view, with the types of its columns.

    Raises `ProjectError` that names the feature and what to do, `DataError` when the source's file
    is not there to tell the types.
    """
    what = f"feature view {view.name!r}"
    source, given = _source(view.source, root)
    transformation, schema = _rows(what, view, given, root)
    keys = tuple(key for entity in view.entities for key in entity.join_keys)
    times = [time for time in (source.timestamp, source.created) if time]
    for name, role in [(k, "the key") for k in keys] + [(t, "the time") for t in times]:
        _require(what, name, schema, role)
    for name in times:
        _require_time(what, name, schema.field(name).type)
    for name in keys:
        _require_key(what, name, schema.field(name).type)
    return ViewDefinition(
        name=view.name,
        keys=columns_of(pa.schema([schema.field(name) for name in keys])),
        source=source,
        transformation=transformation,
        fields=() if view.aggregates else _fields(what, view, schema, {*keys, *times}),
        aggregates=tuple(_aggregation(what, a, schema) for a in view.aggregates),
        ttl=parse_duration(view.ttl) or None,
        resolution=parse_duration(view.resolution),
        online=view.online,
        expected_freshness=parse_duration(view.expected_freshness),
        owner=view.owner,
        description=view.description,
        tags=dict(view.tags),
    )


def _fields(what: str, view: FeatureView, schema: pa.Schema, apart: set[str]) -> tuple[Column, ...]:
    """The columns of the latest row that are features: those named, or all but keys and times."""
    chosen = view.features or [name for name in schema.names if name not in apart]
    if not chosen:
        raise ProjectError(
            f"{what} has no features: its rows have only the keys and times {', '.join(apart)}",
            hint="add a column, or count rows: aggregates=[Aggregate('*', 'count', window='7d')]",
        )
    for name in chosen:
        _require(what, name, schema, "the feature")
        view.check_name(what, name)
        _require_type(f"{what}, feature {name!r}", schema.field(name).type)
    return columns_of(pa.schema([schema.field(name) for name in chosen]))


def _source(source: BatchSource, root: Path) -> tuple[Source, pa.Schema]:
    """The source, and the columns that it has."""
    bare = Source(
        name=source.name,
        kind="query" if source.query else "parquet",
        location=source.query or source.path,
        timestamp=source.timestamp,
        created=source.created,
    )
    schema = _schema(source, bare, root)
    if twice := repeated(schema.names):
        raise ProjectError(
            f"source {source.name!r} has more than one column called {', '.join(twice)}",
            hint="name each column once",
        )
    return bare.model_copy(update={"columns": columns_of(schema)}), schema


def _schema(source: BatchSource, bare: Source, root: Path) -> pa.Schema:
    """As it was declared, where it was; else as the files or the query have it."""
    if source.schema is not None:
        return pa.schema([(name, arrow_type(text)) for name, text in source.schema.items()])
    try:
        if bare.kind == "query":
            return source_rows(bare, root).schema
        return parquet(f"source {source.name!r}", source.path, root).schema
    except DataError as error:
        raise ProjectError(
            error.message,
            hint=f"{error.hint}; or declare its columns: BatchSource(…, schema={{…}})",
        ) from error


def _rows(
    what: str, view: FeatureView, given: pa.Schema, root: Path
) -> tuple[Transformation | None, pa.Schema]:
    """The view's transformation, and the columns of its rows."""
    if view.transform is None:
        return None, given
    for name in given.names:  # events are pushed with all of them
        _require_type(f"source {view.source.name!r}, column {name!r}", given.field(name).type)
    transformation = _transformation(what, view)
    try:
        change = transformer(transformation, root)
        made = change(given.empty_table().to_reader()).schema
    except PenstockError as error:
        kind = UserCodeError if isinstance(error, UserCodeError) else ProjectError
        raise kind(f"{what}: {error.message}", hint=error.hint) from error
    if twice := repeated(made.names):
        raise ProjectError(
            f"{what}: its transformation gives more than one column called {', '.join(twice)}",
            hint="name each column once",
        )
    return transformation, made


def _transformation(what: str, view: FeatureView) -> Transformation:
    function = view.transform
    assert function is not None
    if view.mode != "sql":
        try:
            place, digest = place_of(function), code_digest(function)
        except (OSError, TypeError) as error:
            raise ProjectError(
                f"{what}: the text of its transformation {function!r} cannot be found",
                hint="write it as a function in features.py",
            ) from error
        return Transformation(mode=view.mode, text=place, digest=digest)
    try:
        text = function(RELATION)
    except Exception as error:  # whatever the project's code raises
        raise UserCodeError(
            f"{what}: its transformation raised {type(error).__name__}: {error}",
            hint="with mode 'sql' it takes the name of a relation and returns a query over it",
        ) from error
    if not isinstance(text, str):
        raise ProjectError(
            f"{what}: its transformation returned {seen(text)} and not a query",
            hint='return SQL; or write mode="pandas", "polars" or "arrow" for a function of rows',
        )
    return Transformation(mode="sql", text=text, digest=_digest(text))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _aggregation(what: str, declared: Aggregate, schema: pa.Schema) -> Aggregation:
    function, n = declared.kind
    column = "" if declared.column == "*" else declared.column
    feature = f"{what}, feature {declared.name!r}"
    if column:
        _require(feature, column, schema, "the column")
        _require_type(f"{feature}, column {column!r}", schema.field(column).type)
    kind = schema.field(column).type if column else pa.int64()
    return Aggregation(
        name=declared.name,
        function=function,
        column=column,
        window=declared.span,
        offset=declared.shift,
        n=n,
        type=str(_result_type(feature, function, column, kind)),
    )


def _result_type(feature: str, function: str, column: str, kind: pa.DataType) -> pa.DataType:
    """What a function gives for a column. Raises `ProjectError` where it gives nothing."""
    number = any(
        test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    )
    if pa.types.is_nested(kind) and function != "count":
        raise ProjectError(
            f"{feature}: {function} of {column!r}, which is a {kind}",
            hint="aggregate a column of single values",
        )
    if function in NUMBERS and not (number or pa.types.is_boolean(kind)):
        raise ProjectError(
            f"{feature}: {function} of {column!r}, which is a {kind} and not a number",
            hint="choose another column or function, or cast it in a transformation",
        )
    if function in ("count", "count_distinct"):
        return pa.int64()
    if function in ("mean", "std"):
        return pa.float64()
    if function == "sum":
        whole = pa.types.is_integer(kind) or pa.types.is_boolean(kind)
        return pa.int64() if whole else pa.float64()
    value = pa.float64() if pa.types.is_decimal(kind) else kind
    return pa.list_(value) if function == "last_distinct" else value


def _require(what: str, name: str, schema: pa.Schema, role: str) -> None:
    if name not in schema.names:
        raise ProjectError(
            f"{what}: {role} {name!r} is not a column of its rows, which have "
            f"{', '.join(schema.names)}",
            hint="correct the name, or make the column in a transformation",
        )


def _require_type(what: str, kind: pa.DataType) -> None:
    """A type that definitions, the online store and Feast can hold."""
    try:
        arrow_type(str(kind))
    except ProjectError as error:
        raise ProjectError(
            f"{what}: it is a {kind}, which a feature cannot be",
            hint=f"cast it in a query or a transformation, or leave it out; {error.hint}",
        ) from None


def _require_key(what: str, name: str, kind: pa.DataType) -> None:
    """A type of which two values are equal or not, and which the online stores have."""
    tests = (
        pa.types.is_integer,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_boolean,
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_timestamp,
        pa.types.is_date,
    )
    if not any(test(kind) for test in tests):
        raise ProjectError(
            f"{what}: the key {name!r} is a {kind}, which cannot be a key",
            hint="a key is an integer, a text, bytes, a boolean or a time; cast it in the source",
        )


def _require_time(what: str, name: str, kind: pa.DataType) -> None:
    if not pa.types.is_timestamp(kind):
        raise ProjectError(
            f"{what}: the time {name!r} is a {kind}",
            hint="it must be a timestamp; cast it in the source or a transformation",
        )
