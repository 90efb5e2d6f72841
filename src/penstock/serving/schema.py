"""What a model takes, from its MLflow signature; checks rows and packs them for the model.

Values are checked one feature at a time and refused by name: a wrong type, a number out of range, a
missing value where none is allowed. What is packed is what the model sees: numbers as one float64
matrix in the signature's order (NaN where missing), texts as columns.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn

import msgspec

from penstock.records import Column
from penstock.serving.http_server.messages import RequestError
from penstock.serving.replicas.frames import COLUMNS, MATRIX

NAN = math.nan
INTEGERS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
EXACT = 2**53  # the largest whole numbers that a float64 tells apart
LARGEST = {"float": 3.4028234663852886e38, "double": 1.7976931348623157e308}
EXACT_IN = {"double": EXACT, "int64": EXACT, "int32": 2**31 - 1}
WHOLE = frozenset({"bool", "int32", "int64"})  # have no value for "missing"


@dataclass(frozen=True, eq=False)  # equal only to itself: it is the key of caches
class InputSchema:
    """The features of a model, in its order.

    `required` features must be there. A missing value (null) is allowed unless the feature is
    required and a whole number or a boolean, which know none.
    """

    features: tuple[Column, ...]
    required: frozenset[str] = field(default_factory=frozenset)
    positional: bool = False  # MLflow's signature is one tensor, whose columns have no names

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.features)

    @cached_property
    def numeric(self) -> bool:
        """Whether rows are numbers only. Whole numbers beyond 2^53 do not fit a matrix."""
        return all(column.type != "string" for column in self.features)

    @cached_property
    def _row(self) -> struct.Struct:
        return struct.Struct(f"<{len(self.features)}d")

    def pack_rows(self, rows: Sequence[Sequence[Any]]) -> tuple[int, bytes]:
        """The kind and body of a frame, of rows of values in the signature's order."""
        if self.numeric:
            try:
                return MATRIX, b"".join([self._pack_row(row) for row in rows])
            except _UnpackableError:
                pass  # told apart below
        return self.pack_columns(
            {name: [row[place] for row in rows] for place, name in enumerate(self.names)}, len(rows)
        )

    def _pack_row(self, row: Sequence[Any]) -> bytes:
        for kind, value in zip(self._kinds, row, strict=True):
            given = type(value)
            if given is float and value - value == 0.0:  # finite
                if kind == "double" or (kind == "float" and abs(value) <= LARGEST["float"]):
                    continue
            elif (given is int and abs(value) <= EXACT_IN.get(kind, -1)) or (
                given is bool and kind == "bool"
            ):
                continue
            raise _UnpackableError
        return self._row.pack(*row)

    @cached_property
    def _kinds(self) -> tuple[str, ...]:
        return tuple(column.type for column in self.features)

    def pack_columns(self, columns: Mapping[str, Sequence[Any]], rows: int) -> tuple[int, bytes]:
        """The same of one sequence for each feature. Raises `RequestError` naming the field."""
        unknown = sorted(columns.keys() - set(self.names))
        if unknown:
            raise RequestError(400, f"unknown feature {unknown[0]!r}", unknown[0])
        checked = []
        for column in self.features:
            if column.name in columns:
                checked.append(self._checked(column, columns[column.name]))
            elif column.name in self.required:
                raise RequestError(400, f"the feature {column.name!r} is missing", column.name)
            else:
                checked.append([None] * rows)
        if self.numeric and not any(map(_is_beyond_exact, self.features, checked)):
            holes = [[NAN if value is None else value for value in values] for values in checked]
            flat = [value for row in zip(*holes, strict=True) for value in row]
            return MATRIX, struct.pack(f"<{len(flat)}d", *flat)
        return COLUMNS, msgspec.msgpack.encode(checked)

    def _checked(self, column: Column, values: Sequence[Any]) -> list[Any]:
        check = CHECKS[column.type]
        checked = []
        for number, value in enumerate(values):
            if value is None:
                if column.name in self.required and column.type in WHOLE:
                    refuse_value(column, number, "is missing")
            elif problem := check(value, column.type):
                refuse_value(column, number, problem)
            elif column.type in LARGEST:
                value = float(value)  # whole numbers of any size are written as numbers
            checked.append(value)
        return checked


class _UnpackableError(Exception):
    """A row that the shortest way does not take: missing, of another type, or wrong."""


def refuse_value(column: Column, number: int, problem: str) -> NoReturn:
    raise RequestError(400, f"row {number}: the feature {column.name!r} {problem}", column.name)


def check_count(count: int, max_rows: int, field: str) -> None:
    """Raises `RequestError` for no rows, and for more than are allowed."""
    if count == 0:
        raise RequestError(400, f"{field} is empty", field)
    if count > max_rows:
        raise RequestError(
            413, f"{count} rows in one request; at most {max_rows} are allowed", field
        )


def kind_of(value: Any) -> str:
    """As JSON calls it."""
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return kinds.get(type(value), "null" if value is None else "a number")


def _is_beyond_exact(column: Column, values: list[Any]) -> bool:
    if column.type != "int64":
        return False
    return any(value is not None and not -EXACT <= value <= EXACT for value in values)


def _problem_of_integer(value: Any, kind: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"is {kind_of(value)}; expected a whole number"
    # Not asked of a whole number: one of 400 digits is finite, and too large for `isfinite`.
    if isinstance(value, float) and not value.is_integer():
        return f"is {value}; expected a whole number"
    low, high = INTEGERS[kind]
    return "" if low <= value <= high else f"does not fit into {kind}"


def _problem_of_float(value: Any, kind: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"is {kind_of(value)}; expected a number"
    return "" if abs(value) <= LARGEST[kind] else f"does not fit into {kind}"


def _problem_of_bool(value: Any, kind: str) -> str:
    return "" if isinstance(value, bool) else f"is {kind_of(value)}; expected true or false"


def _problem_of_text(value: Any, kind: str) -> str:
    if not isinstance(value, str):
        return f"is {kind_of(value)}; expected text"
    # "\ud800" is valid JSON, but half of a character.
    return "holds half a character" if any("\ud800" <= c <= "\udfff" for c in value) else ""


CHECKS: dict[str, Callable[[Any, str], str]] = {
    "bool": _problem_of_bool,
    "int32": _problem_of_integer,
    "int64": _problem_of_integer,
    "float": _problem_of_float,
    "double": _problem_of_float,
    "string": _problem_of_text,
}
