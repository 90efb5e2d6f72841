"""A table of values for a model, converted and checked as MLflow 3.17's scoring server does it.

MLflow casts what it is sent to the types of the signature. A cast that changes a value is refused
here, where MLflow answers for another value than was sent: 5.7 for a whole number (MLflow: 5), what
does not fit into the type (it wraps, or becomes infinite), null for true or false (False), and any
text for true or false (True).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from penstock.records import Column
from penstock.serving.http_server.messages import RequestError
from penstock.serving.schema import WHOLE, InputSchema, check_count, refuse_value

# How a message begins whose error_code is INVALID_PARAMETER_VALUE: values that can be read, but are
# not what the signature asks for. Everything else that is wrong with a request is a BAD_REQUEST.
UNFIT = "failed to enforce the signature: "


class Table(NamedTuple):
    """What was sent, whatever the format."""

    name: str  # of the format, for messages
    columns: Mapping[str, Sequence[Any]]  # `rows` values each; columns nobody asks for may be there
    rows: int


def unfit(problem: str, field: str) -> NoReturn:
    """Refuses values that do not come to the signature's columns."""
    raise RequestError(400, UNFIT + problem, field)


def pack_table(table: Table, schema: InputSchema, max_rows: int) -> tuple[int, bytes]:
    """The kind and body of a frame. Raises `RequestError`.

    Every feature must be a column, required or not: MLflow leaves a column out that is not sent,
    and its models fail for want of it. A missing value is sent as null (or NaN).
    """
    if table.rows:
        check_count(table.rows, max_rows, table.name)
    columns = {
        column.name: _converted(column, table.columns[column.name])
        for column in schema.features
        if column.name in table.columns
    }
    if len(columns) < len(schema.features):
        sent = InputSchema(tuple(c for c in schema.features if c.name in columns))
        sent.pack_columns(columns, table.rows)  # a wrong value is told first, as by MLflow
        _refuse_missing(columns, schema)
    check_count(table.rows, max_rows, table.name)
    return schema.pack_columns(columns, table.rows)


def _refuse_missing(columns: Mapping[str, Any], schema: InputSchema) -> NoReturn:
    missing = [name for name in schema.names if name not in columns]
    required = [name for name in missing if name in schema.required]
    if required:
        unfit(f"the input lacks {_listed(required)}", required[0])
    raise RequestError(
        400,
        f"the input lacks {_listed(missing)}; send null where a value is not known",
        missing[0],
    )


def _listed(names: Sequence[str]) -> str:
    some = ", ".join(repr(name) for name in names[:10])
    return some + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _converted(column: Column, values: Sequence[Any]) -> list[Any]:
    """What MLflow would cast without loss, cast; anything else as it is, for the schema to refuse.

    MLflow knows no missing value of a whole number or a boolean, required or not.
    """
    convert = CONVERSIONS[column.type]
    converted = [convert(value) for value in values]
    if column.type in WHOLE and None in converted:
        refuse_value(column, converted.index(None), "is missing")
    return converted


def _to_float(value: Any) -> Any:
    if isinstance(value, int | str):
        try:
            value = float(value)
        except (ValueError, OverflowError):
            return value
    return None if value != value else value  # NaN is how pandas writes null


def _to_integer(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return value
    return None if value != value else value


def _to_bool(value: Any) -> Any:
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else value


def _to_text(value: Any) -> Any:
    return None if value != value else value  # pandas writes NaN for no text, too


CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "bool": _to_bool,
    "int32": _to_integer,
    "int64": _to_integer,
    "float": _to_float,
    "double": _to_float,
    "string": _to_text,
}
