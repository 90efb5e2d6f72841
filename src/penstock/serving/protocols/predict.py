"""Penstock's own protocol: `POST /predict`, with rows of features or with entity keys.

    {"rows": [{"visits": 3.5, "age": 41}, …]}
    {"entities": {"customer_id": [42, 43], "basket_usd": [10.0, 3.5]}}

The answer has one probability a row, and says which release gave it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NoReturn

import msgspec
from msgspec import UNSET, UnsetType

from penstock.serving.http_server.messages import (
    Request,
    RequestError,
    error_answer,
    ok_json,
)
from penstock.serving.protocols.asked import Asked, Context, Protocol, Target
from penstock.serving.replicas.frames import ENTITIES, Answered
from penstock.serving.schema import CHECKS, InputSchema, check_count, kind_of

FIELDS = ("rows", "entities")
TYPES: dict[str, Any] = {
    "bool": bool,
    "int32": int,
    "int64": int,
    "float": float,
    "double": float,
    "string": str,
}


class Answer(msgspec.Struct):
    predictions: Sequence[float]
    model: str
    release: str
    prediction_id: str
    request_id: str


_encode = msgspec.json.Encoder().encode


def parse(request: Request, target: Target) -> Asked:
    """Raises `RequestError` that names the field."""
    try:
        found = _decoder(target.schema).decode(request.body)
    except msgspec.MsgspecError:
        return _careful(request.body, target)
    rows, entities = found.rows, found.entities
    if rows is UNSET and entities is not UNSET:
        return _of_entities(entities, target)
    if rows is UNSET or entities is not UNSET:
        return _careful(request.body, target)
    check_count(len(rows), target.max_rows, "rows")
    kind, body = target.schema.pack_rows([msgspec.structs.astuple(row) for row in rows])
    return Asked(kind, body, len(rows), True, _render)


def refuse(status: int, message: str, field: str | None, headers: Mapping[str, str]) -> bytes:
    return error_answer(status, message, field, headers)


PREDICT = Protocol("predict", parse, refuse)


@lru_cache(maxsize=64)
def _decoder(schema: InputSchema) -> msgspec.json.Decoder[Any]:
    """Of rows that have just the model's features, in any order; or of entities."""
    fields = [(f"f{place}", TYPES[c.type] | None) for place, c in enumerate(schema.features)]
    names = {f"f{place}": column.name for place, column in enumerate(schema.features)}
    row = msgspec.defstruct("Row", fields, rename=names, forbid_unknown_fields=True)
    either: list[tuple[str, Any, Any]] = [
        ("rows", list[row] | UnsetType, UNSET),  # type: ignore[valid-type]
        ("entities", dict[str, list[Any]] | UnsetType, UNSET),
    ]
    return msgspec.json.Decoder(msgspec.defstruct("Body", either, forbid_unknown_fields=True))


def _of_entities(entities: Any, target: Target) -> Asked:
    count = _entities(entities, target)
    return Asked(ENTITIES, _packed(entities), count, True, _render, entities)


def _render(answered: Answered, context: Context) -> bytes:
    said = Answer(
        answered.outputs.tolist(),
        f"{context.model}@{context.version}",
        context.release,
        context.prediction_id,
        context.request_id,
    )
    return ok_json(_encode(said), context.request_id.encode("latin-1"))


# What the short way above does not take: numbers of unusual kinds, and whatever is wrong.


def _careful(body: bytes, target: Target) -> Asked:
    name, content = _one_field(body)
    if name == "entities":
        return _of_entities(content, target)
    kind, packed, count = _rows(content, target)
    return Asked(kind, packed, count, True, _render)


def _packed(entities: dict[str, list[Any]]) -> bytes:
    try:
        return msgspec.msgpack.encode(entities)
    except OverflowError as error:  # a column of fractions may hold it, MessagePack may not
        raise RequestError(
            400, "a whole number has more than 64 bits; send it as a fraction: 1e30", "entities"
        ) from error


def _one_field(body: bytes) -> tuple[str, Any]:
    try:
        document = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RequestError(400, f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise RequestError(400, "the body is nested too deeply") from error
    except ValueError as error:  # Python refuses whole numbers of more than 4300 digits
        raise RequestError(400, f"the body holds a number that cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise RequestError(400, f"the body is {kind_of(document)}; expected an object")
    for name in document:
        if name not in FIELDS:
            raise RequestError(400, f"unknown field {name!r}; send rows or entities", name)
    if len(document) != 1:
        raise RequestError(400, "send either rows or entities", "rows")
    return next(iter(document.items()))


def _rows(rows: Any, target: Target) -> tuple[int, bytes, int]:
    if not isinstance(rows, list):
        raise RequestError(400, f"rows is {kind_of(rows)}; expected a list of objects", "rows")
    check_count(len(rows), target.max_rows, "rows")
    names = set(target.schema.names)
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RequestError(
                400, f"row {number} is {kind_of(row)}; expected an object", f"rows[{number}]"
            )
        if row.keys() != names:
            _refuse_names(row, names, number)
    columns = {name: [row[name] for row in rows] for name in target.schema.names}
    return *target.schema.pack_columns(columns, len(rows)), len(rows)


def _refuse_names(row: dict[str, Any], names: set[str], number: int) -> NoReturn:
    unknown, missing = sorted(row.keys() - names), sorted(names - row.keys())
    if unknown:
        raise RequestError(400, f"row {number} has the unknown feature {unknown[0]!r}", unknown[0])
    raise RequestError(
        400, f"row {number} lacks the feature {missing[0]!r}; send null for missing", missing[0]
    )


def _entities(entities: Any, target: Target) -> int:
    """The number of rows asked about."""
    if not isinstance(entities, dict):
        raise RequestError(
            400, f"entities is {kind_of(entities)}; expected an object of lists", "entities"
        )
    if not target.entities:
        raise RequestError(400, "this release has no online features; send rows", "entities")
    for name in entities:
        if name not in target.entities:
            expected = ", ".join(target.entities)
            raise RequestError(400, f"unknown entity key {name!r}; expected {expected}", name)
    for name in target.entities:
        if name not in entities:
            raise RequestError(400, f"the entity key {name!r} is missing", name)
        _check_values(name, entities[name], target.requested.get(name, ""))
    lengths = {name: len(entities[name]) for name in target.entities}
    if len(set(lengths.values())) > 1:
        raise RequestError(400, f"entity keys have different lengths: {lengths}", "entities")
    count = next(iter(lengths.values()))
    check_count(count, target.max_rows, "entities")
    return count


def _check_values(name: str, values: Any, kind: str) -> None:
    """Keys are whole numbers or texts; request columns have the type `kind`, and may be null."""
    if not isinstance(values, list):
        raise RequestError(400, f"{name!r} is {kind_of(values)}; expected a list", name)
    if kind:
        _check_requested(name, values, kind)
        return
    key = str if values and isinstance(values[0], str) else int
    check = CHECKS["string" if key is str else "int64"]
    for number, value in enumerate(values):
        if type(value) is not key or check(value, "int64"):
            raise RequestError(
                400,
                f"{name!r} holds {kind_of(value)} at {number}; "
                "expected whole numbers of 64 bits, or texts, not both",
                name,
            )


def _check_requested(name: str, values: Sequence[Any], kind: str) -> None:
    for number, value in enumerate(values):
        problem = "" if value is None else CHECKS[kind](value, kind)
        if problem:
            raise RequestError(400, f"row {number}: {name!r} {problem}", name)


def _refuse_constant(name: str) -> NoReturn:
    raise RequestError(400, f"the body holds {name}, which is not JSON; send null for missing")
