"""The body of an MLflow request in JSON, read with care: any order, any type, and what is wrong.

MLflow's formats differ in what they make of the same mistake, and so do the error codes here.
Unlike strict JSON, NaN is understood: it is how MLflow's own client writes a missing value.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from penstock.serving.http_server.messages import RequestError
from penstock.serving.protocols.mlflow_table import CONVERSIONS, Table, unfit
from penstock.serving.schema import WHOLE, InputSchema, kind_of

# With one of these a request is for a language model: it has no table at all.
LANGUAGE = ("messages", "prompt", "input")


def read_json(body: bytes, schema: InputSchema) -> Table:
    """Raises `RequestError`."""
    document = _document(body)
    if any(key in document for key in LANGUAGE):
        return Table(next(key for key in LANGUAGE if key in document), {}, 1)
    names = [name for name in READERS if name in document]
    if len(names) != 1:
        seen = ", ".join(repr(str(key)[:40]) for key in [*document][:10]) or "nothing"
        refuse(f"expected exactly one of {', '.join(READERS)}; found {seen}", "body")
    return READERS[names[0]](names[0], document[names[0]], schema)


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:  # ValueError: a number of over 4,300 digits, too
        raise RequestError(400, f"the body cannot be read as JSON: {error}", "body") from error
    if not isinstance(document, dict):
        refuse(f"the body is {kind_of(document)}; expected an object", "body")
    return document


def refuse(message: str, field: str) -> NoReturn:
    raise RequestError(400, message, field)


def _split(name: str, content: Any, schema: InputSchema) -> Table:
    """`{"columns": […], "data": [[…], …]}`, as pandas writes it with orient="split"."""
    if not isinstance(content, dict):
        refuse(f"{name} is {kind_of(content)}; expected an object", name)
    if "data" not in content or content.keys() - {"columns", "data", "index"}:
        keys = ", ".join(repr(str(key)[:40]) for key in [*content][:10]) or "nothing"
        refuse(f"{name} has {keys}; expected data, and perhaps columns and index", name)
    rows = _rows_of(f"{name}.data", content["data"])
    columns = content.get("columns")
    if columns is not None and not _are_names(columns):
        refuse(f"{name}.columns is not a list of names", f"{name}.columns")
    index = content.get("index")
    if index is not None and not (isinstance(index, list) and len(index) == len(rows)):
        refuse(f"{name}.index is not a list of {len(rows)} labels", f"{name}.index")
    for number, row in enumerate(rows):
        if columns is not None and len(row) != len(columns):
            problem = f"row {number} has {len(row)} values for {len(columns)} columns"
            refuse(f"{name}.data: {problem}", f"{name}.data")
    if columns is None or (_is_positional(schema) and not set(schema.names) <= {*columns}):
        return _by_position(name, rows, schema)
    return Table(name, _by_name(columns, rows, schema), len(rows))


def _rows_of(field: str, data: Any) -> list[list[Any]]:
    if not isinstance(data, list):
        refuse(f"{field} is {kind_of(data)}; expected a list of rows", field)
    for number, row in enumerate(data):
        if not isinstance(row, list):
            refuse(f"{field}: row {number} is {kind_of(row)}; expected a list of values", field)
    return data


def _are_names(columns: Any) -> bool:
    """Numbers are names as well, of columns that no signature has."""
    return isinstance(columns, list) and all(isinstance(name, str | int) for name in columns)


def _by_name(
    columns: list[Any], rows: list[list[Any]], schema: InputSchema
) -> dict[str, list[Any]]:
    found = {}
    for name in schema.names:
        if columns.count(name) > 1:
            unfit(f"the column {name!r} is there {columns.count(name)} times", name)
        if name in columns:
            place = columns.index(name)
            found[name] = [row[place] for row in rows]
    return found


def _is_positional(schema: InputSchema) -> bool:
    """Whether the signature is a tensor: a matrix of rows, whose columns have no names."""
    return schema.positional


def _by_position(name: str, rows: Sequence[Any], schema: InputSchema) -> Table:
    """Rows of values without names: what a signature of a tensor takes, and no other."""
    if not _is_positional(schema):
        return Table(name, {}, len(rows))
    width = len(schema.names)
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != width:
            unfit(f"row {number} is not a list of {width} values", name)
    columns = {key: [row[n] for row in rows] for n, key in enumerate(schema.names)}
    return Table(name, columns, len(rows))


def _records(name: str, content: Any, schema: InputSchema) -> Table:
    """`[{"column": value, …}, …]`. A column that a record lacks is null there."""
    if not isinstance(content, list):
        refuse(f"{name} is {kind_of(content)}; expected a list of records", name)
    if not any(isinstance(record, dict) for record in content):
        return _by_position(name, content, schema)
    for number, record in enumerate(content):
        if not isinstance(record, dict):
            refuse(f"{name}: record {number} is {kind_of(record)}; expected an object", name)
    sent = set().union(*content)
    columns = {key: [record.get(key) for record in content] for key in schema.names if key in sent}
    return Table(name, columns, len(content))


def _inputs(name: str, content: Any, schema: InputSchema) -> Table:
    """`{"column": [value, …], …}`, records, or the values of a model's only feature."""
    if isinstance(content, dict):
        return _columns(name, content, schema)
    if not isinstance(content, list):
        first = schema.features[0].type  # MLflow takes a bare value for one of the first feature
        if first != "string" and isinstance(CONVERSIONS[first](content), str):
            refuse(f"{name} is text; expected an object or a list", name)
        return Table(name, {}, 1)
    if any(isinstance(record, dict) for record in content):
        table = _records(name, content, schema)
        _refuse_gaps(name, content, schema)
        return _scalars(table, any if name == "inputs" else all)
    if len(schema.names) == 1 and not any(isinstance(value, list) for value in content):
        return Table(name, {schema.names[0]: content}, len(content))
    return _by_position(name, content, schema)


def _refuse_gaps(name: str, records: list[dict[str, Any]], schema: InputSchema) -> None:
    """A record may lack a column that others have only where null is a value of its type; not in
    `instances`, which MLflow turns into columns without regard to where the gap is."""
    counts = Counter(key for record in records for key in record)
    if name == "instances":
        _refuse_lengths(name, counts, len(records), schema)
    for column in schema.features:
        if column.type in WHOLE and 0 < counts[column.name] < len(records):
            number = next(n for n, record in enumerate(records) if column.name not in record)
            unfit(f"record {number} lacks {column.name!r}", column.name)


def _refuse_lengths(name: str, sizes: Mapping[str, int], rows: int, schema: InputSchema) -> None:
    """Columns of different lengths. Before all else, MLflow looks at required ones of instances."""
    for key, size in sizes.items():
        if size != rows:
            problem = f"{key!r} has {size} values; expected {rows}"
            required = {sizes[name] for name in schema.required if name in sizes}
            if name == "instances" and len(required) > 1:
                refuse(f"{name}: {problem}", key)
            unfit(problem, key)


def _columns(name: str, content: dict[str, Any], schema: InputSchema) -> Table:
    """One value instead of a list is the same in all rows."""
    sizes = {key: len(value) for key, value in content.items() if isinstance(value, list)}
    rows = next(iter(sizes.values()), 1 if content else 0)
    _refuse_lengths(name, sizes, rows, schema)
    columns = {
        key: content[key] if key in sizes else [content[key]] * rows
        for key in schema.names
        if key in content
    }
    return _scalars(Table(name, columns, rows))


def _scalars(table: Table, some: Callable[[Iterable[bool]], bool] = all) -> Table:
    """The table, unless a column is of lists; single ones are left to be refused as values."""
    for key, values in table.columns.items():
        if values and some(isinstance(value, list) for value in values):
            unfit(f"the values of {key!r} are lists", key)
    return table


READERS: dict[str, Callable[[str, Any, InputSchema], Table]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _inputs,
    "inputs": _inputs,
}
