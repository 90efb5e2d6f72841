"""From declarations to the intermediate form, and from it to ordinary Feast objects.

Types are those of the sources, so an unknown column or a sum of texts is refused here, with the
feature's name, before anything is computed.
"""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from types import ModuleType

import pyarrow as pa

from penstock.errors import DataError, ProjectError
from penstock.features.declarations import (
    Aggregate,
    BatchSource,
    FeatureView,
)
from penstock.features.definition import (
    Aggregation,
    Source,
    Transformation,
    ViewDefinition,
    arrow_type,
)
from penstock.features.facts import RELATION, parquet, source_rows, transformer
from penstock.frames.convert import columns_of
from penstock.settings import parse_duration

NUMBERS = ("sum", "mean", "std")
ORDERED = ("min", "max")


def view_definitions(module: ModuleType, root: Path) -> dict[str, ViewDefinition]:
    """The views that a module declares, by name, each once."""
    found = {id(v): v for v in vars(module).values() if isinstance(v, FeatureView)}
    names = [view.name for view in found.values()]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ProjectError(
            f"{module.__name__}.py declares more than one feature view called "
            f"{', '.join(repeated)}",
            hint="give each its own name",
        )
    return {view.name: define(view, root) for view in found.values()}


def define(view: FeatureView, root: Path) -> ViewDefinition:
    """The definition of a declared view, with the types of its columns.

    Raises `ProjectError` that names the feature and what to do, `DataError` when the source's file
    is not there to tell the types.
    """
    source = _source(view.source, root)
    transformation, schema = _rows(view, source, root)
    what = f"feature view {view.name!r}"
    keys = tuple(key for entity in view.entities for key in entity.join_keys)
    times = [time for time in (source.timestamp, source.created) if time]
    for name, role in [(k, "the key") for k in keys] + [(t, "the time") for t in times]:
        _require(what, name, schema, role)
    for name in times:
        _require_time(what, name, schema.field(name).type)
    apart = {*keys, *times}
    chosen = view.features or [name for name in schema.names if name not in apart]
    for name in view.features:
        _require(what, name, schema, "the feature")
    if not view.aggregates and not chosen:
        raise ProjectError(f"{what} has no features", hint="its source has only keys and times")
    return ViewDefinition(
        name=view.name,
        keys=columns_of(pa.schema([schema.field(name) for name in keys])),
        source=source,
        transformation=transformation,
        fields=()
        if view.aggregates
        else columns_of(pa.schema([schema.field(name) for name in chosen])),
        aggregates=tuple(_aggregation(what, a, schema) for a in view.aggregates),
        ttl=parse_duration(view.ttl) or None,
        resolution=parse_duration(view.resolution),
        online=view.online,
        expected_freshness=parse_duration(view.expected_freshness),
        owner=view.owner,
        description=view.description,
        tags=dict(view.tags),
    )


def _source(source: BatchSource, root: Path) -> Source:
    bare = Source(
        name=source.name,
        kind="query" if source.query else "parquet",
        location=source.query or source.path,
        timestamp=source.timestamp,
        created=source.created,
    )
    return bare.model_copy(update={"columns": columns_of(_schema(source, bare, root))})


def _schema(source: BatchSource, bare: Source, root: Path) -> pa.Schema:
    """As it was declared, where it was; else as the files or the query have it."""
    if source.schema is not None:
        return pa.schema([(name, arrow_type(text)) for name, text in source.schema.items()])
    if bare.kind == "query":
        return source_rows(bare, root).schema
    try:
        return parquet(f"source {source.name!r}", source.path, root).schema
    except DataError as error:
        raise ProjectError(
            error.message,
            hint=f"{error.hint}; or declare its columns: BatchSource(…, schema={{…}})",
        ) from error


def _rows(view: FeatureView, source: Source, root: Path) -> tuple[Transformation | None, pa.Schema]:
    """The view's transformation, and the columns of its rows."""
    given = pa.schema([(column.name, arrow_type(column.type)) for column in source.columns])
    if view.transform is None:
        return None, given
    transformation = _transformation(view)
    change = transformer(transformation, root)
    return transformation, change(given.empty_table().to_reader()).schema


def _transformation(view: FeatureView) -> Transformation:
    assert view.transform is not None
    if view.mode == "sql":
        text = str(view.transform(RELATION))
        return Transformation(mode="sql", text=text, digest=_digest(text))
    file = Path(inspect.getsourcefile(view.transform) or "features.py").name
    code = inspect.getsource(view.transform)
    text = f"{file}:{view.transform.__name__}"
    return Transformation(mode=view.mode, text=text, digest=_digest(code))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _aggregation(what: str, declared: Aggregate, schema: pa.Schema) -> Aggregation:
    function, n = declared.kind
    column = "" if declared.column == "*" else declared.column
    feature = f"{what}, feature {declared.name!r}"
    if column:
        _require(feature, column, schema, "the column")
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


def _require_time(what: str, name: str, kind: pa.DataType) -> None:
    if not pa.types.is_timestamp(kind):
        raise ProjectError(
            f"{what}: the time {name!r} is a {kind}",
            hint="it must be a timestamp; cast it in the source or a transformation",
        )
