"""The body of a prediction request: parsed strictly, and refused with the field named."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NoReturn

from penstock.records import Column

INTEGER_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


class RequestError(Exception):
    """A request that cannot be answered, and the field that is to blame."""

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.field = field


def error_body(message: str, field: str | None = None) -> bytes:
    """The body of every answer that is not 200."""
    return json.dumps({"error": message, "field": field}).encode()


def parse(body: bytes) -> tuple[str, Any]:
    """("rows", [...]) or ("entities", {...}). Raises `RequestError`."""
    try:
        document = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RequestError(400, f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise RequestError(400, "the body is nested too deeply") from error
    except ValueError as error:  # Python refuses whole numbers of more than 4300 digits
        raise RequestError(400, f"the body holds a number that cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise RequestError(400, f"the body is {_kind(document)}; expected an object")
    for name in document:
        if name not in ("rows", "entities"):
            raise RequestError(400, f"unknown field {name!r}; send rows or entities", name)
    if len(document) != 1:
        raise RequestError(400, "send either rows or entities", "rows")
    return next(iter(document.items()))


def parse_rows(rows: Any, features: tuple[Column, ...], max_rows: int) -> dict[str, list[Any]]:
    """One list for each feature. null is a missing value; a feature left out is an error."""
    if not isinstance(rows, list):
        raise RequestError(400, f"rows is {_kind(rows)}; expected a list of objects", "rows")
    _check_count(len(rows), max_rows, "rows")
    names = {column.name for column in features}
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RequestError(
                400, f"row {number} is {_kind(row)}; expected an object", f"rows[{number}]"
            )
        if row.keys() != names:
            _refuse_names(row, names, number)
    return {
        column.name: [_checked(row[column.name], column, number) for number, row in enumerate(rows)]
        for column in features
    }


def parse_entities(
    entities: Any, entity_keys: tuple[str, ...], max_rows: int
) -> dict[str, list[Any]]:
    """One list for each entity key, all of one length, each of whole numbers or of texts."""
    if not isinstance(entities, dict):
        raise RequestError(
            400, f"entities is {_kind(entities)}; expected an object of lists", "entities"
        )
    for name in entities:
        if name not in entity_keys:
            expected = ", ".join(entity_keys)
            raise RequestError(400, f"unknown entity key {name!r}; expected {expected}", name)
    for name in entity_keys:
        if name not in entities:
            raise RequestError(400, f"the entity key {name!r} is missing", name)
        _check_keys(name, entities[name])
    lengths = {name: len(entities[name]) for name in entity_keys}
    if len(set(lengths.values())) > 1:
        raise RequestError(400, f"entity keys have different lengths: {lengths}", "entities")
    _check_count(next(iter(lengths.values())), max_rows, "entities")
    return {name: entities[name] for name in entity_keys}


def _refuse_constant(name: str) -> NoReturn:
    raise RequestError(400, f"the body holds {name}, which is not JSON; send null for missing")


def _refuse_names(row: dict[str, Any], names: set[str], number: int) -> NoReturn:
    unknown, missing = sorted(row.keys() - names), sorted(names - row.keys())
    if unknown:
        raise RequestError(400, f"row {number} has the unknown feature {unknown[0]!r}", unknown[0])
    raise RequestError(
        400, f"row {number} lacks the feature {missing[0]!r}; send null for missing", missing[0]
    )


def _check_count(count: int, max_rows: int, field: str) -> None:
    if count == 0:
        raise RequestError(400, f"{field} is empty", field)
    if count > max_rows:
        raise RequestError(
            413, f"{count} rows in one request; at most {max_rows} are allowed", field
        )


def _check_keys(name: str, values: Any) -> None:
    if not isinstance(values, list):
        raise RequestError(400, f"{name!r} is {_kind(values)}; expected a list", name)
    kind = str if values and isinstance(values[0], str) else int
    check = CHECKS["string" if kind is str else "int64"]
    for number, value in enumerate(values):
        if type(value) is not kind or check(value, "int64"):
            raise RequestError(
                400,
                f"{name!r} holds {_kind(value)} at {number}; "
                "expected whole numbers of 64 bits, or texts, not both",
                name,
            )


def _checked(value: Any, column: Column, number: int) -> Any:
    if value is not None and (problem := CHECKS[column.type](value, column.type)):
        raise RequestError(400, f"row {number}: the feature {column.name!r} {problem}", column.name)
    return value


def _problem_of_integer(value: Any, kind: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"is {_kind(value)}; expected a whole number"
    if not math.isfinite(value) or value != int(value):
        return f"is {value}; expected a whole number"
    low, high = INTEGER_RANGES[kind]
    return "" if low <= value <= high else f"does not fit into {kind}"


def _problem_of_float(value: Any, kind: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"is {_kind(value)}; expected a number"
    largest = 3.4028234663852886e38 if kind == "float" else 1.7976931348623157e308
    return "" if abs(value) <= largest else f"does not fit into {kind}"


def _problem_of_bool(value: Any, kind: str) -> str:
    return "" if isinstance(value, bool) else f"is {_kind(value)}; expected true or false"


def _problem_of_text(value: Any, kind: str) -> str:
    if not isinstance(value, str):
        return f"is {_kind(value)}; expected text"
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


def _kind(value: Any) -> str:
    """As JSON calls it."""
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return kinds.get(type(value), "null" if value is None else "a number")
