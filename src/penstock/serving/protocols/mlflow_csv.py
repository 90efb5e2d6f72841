"""The body of an MLflow request in CSV, read as `pandas.read_csv` with the signature's types does.

The first line names the columns; empty lines are skipped; the texts that pandas takes for missing
are missing. A line with more or fewer values than names is refused: pandas makes its first values
an index, or fills it up. Numbers are rounded correctly; `read_csv` is off by the last bit in some.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Final

from penstock.records import Column
from penstock.serving.http_server.messages import RequestError
from penstock.serving.protocols.mlflow_table import Table
from penstock.serving.schema import InputSchema, refuse_value

NAME: Final = "csv"
# pandas' `na_values` (pandas 2 and 3).
MISSING = frozenset(
    [
        "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
        "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
    ]
)  # fmt: skip
TRUTH = {"true": True, "false": False}


def read_csv(body: bytes, schema: InputSchema) -> Table:
    """Raises `RequestError` for what is not UTF-8, not CSV, or of another type than the feature."""
    lines = _lines(body)
    if not lines:
        raise RequestError(400, "the CSV has no line; expected the names of the columns", NAME)
    names, *rows = lines
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise RequestError(
                400, f"row {number} has {len(row)} values for {len(names)} columns", NAME
            )
    columns = {
        column.name: _column(column, names.index(column.name), rows)
        for column in schema.features
        if column.name in names
    }
    return Table(NAME, columns, len(rows))


def _lines(body: bytes) -> list[list[str]]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(400, f"the CSV is not UTF-8: {error}", NAME) from error
    try:
        return [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except csv.Error as error:
        raise RequestError(400, f"the CSV cannot be read: {error}", NAME) from error


def _column(column: Column, place: int, rows: Sequence[Sequence[str]]) -> list[Any]:
    values: list[Any] = [None if row[place] in MISSING else row[place] for row in rows]
    if column.type == "string":
        return values
    for number, text in enumerate(values):
        if text is not None:
            values[number] = value = _number(text)
            if value is None:
                refuse_value(column, number, f"is {text!r}; expected a {column.type}")
    if column.type != "bool":
        _refuse_mixture(column, values)
    return values


def _refuse_mixture(column: Column, values: Sequence[Any]) -> None:
    """True and false are numbers to pandas if the whole column is."""
    kinds = [isinstance(value, bool) for value in values]
    if any(kinds) and not all(kinds):
        refuse_value(column, kinds.index(True), f"is true or false; expected a {column.type}")


def _number(text: str) -> bool | int | float | None:
    """None for any other text. pandas knows no underscores in numbers; Python does."""
    if (truth := TRUTH.get(text.lower())) is not None:
        return truth
    if "_" in text:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None
