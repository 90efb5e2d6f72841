"""The usual MLflow requests in JSON, decoded straight into the types of a model's signature.

A request that is right in every value is checked and packed in some microseconds. Of any other,
`pack` gives None, and the careful reader (`mlflow_json`) says what is wrong, or understands it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from penstock.serving.protocols.mlflow_json import LANGUAGE
from penstock.serving.replicas.frames import MATRIX
from penstock.serving.schema import EXACT, INTEGERS, LARGEST, InputSchema, check_count

KEPT_SCHEMAS = 256
KEPT_ORDERS = 16  # of columns, as clients send them, for each schema

SINGLE = LARGEST["float"]
LOW, HIGH = INTEGERS["int32"]
# Whole numbers go into a float64 and may be written 5.0, as by a frame's `values`. 2^53 itself is
# left to the careful reader: 2^53 + 1 would be decoded to it.
WHOLE_FLOAT = Annotated[float, Meta(multiple_of=1, ge=1 - EXACT, le=EXACT - 1)]
NUMBERS: dict[str, Any] = {
    "bool": bool,
    "int32": Annotated[float, Meta(multiple_of=1, ge=LOW, le=HIGH)],
    "int64": WHOLE_FLOAT,
    "float": Annotated[float, Meta(ge=-SINGLE, le=SINGLE)] | None,
    "double": float | None,
}
# Beside texts, rows go to the model as columns, in which whole numbers are integers.
MIXED: dict[str, Any] = NUMBERS | {
    "int32": Annotated[int, Meta(ge=LOW, le=HIGH)],
    "int64": Annotated[int, Meta(ge=-EXACT, le=EXACT)],
    "string": str | None,
}

Rows = Sequence[Sequence[Any]]


class Split(Struct, forbid_unknown_fields=True, gc=False):
    columns: tuple[str, ...]
    data: msgspec.Raw
    index: list[Any] | None = None


class RowDecoder:
    """What can be decoded at once, for one schema."""

    def __init__(self, schema: InputSchema) -> None:
        self.schema = schema  # kept, so that no other schema gets its id
        self._kinds = NUMBERS if schema.numeric else MIXED
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(_envelope(schema)).decode
        self._pack = struct.Struct(f"<{len(schema.features)}d").pack
        self._orders: dict[tuple[str, ...], Callable[[msgspec.Raw], Rows]] = {}

    def pack(self, body: bytes, max_rows: int) -> tuple[int, bytes, int] | None:
        """The kind and body of a frame, and the number of rows. Raises `RequestError` (413)."""
        try:
            if not body.isascii():
                body.decode()  # msgspec skips what nobody asks for without a look at its encoding
            envelope = self._decode(body)
            if envelope.dataframe_split is not UNSET:
                name, rows = "dataframe_split", self._rows_of_split(envelope.dataframe_split)
            else:
                name, rows = _rows_of(envelope)
        except (ValueError, RecursionError):  # of msgspec, too
            return None
        if not rows or sum(getattr(envelope, other) is not UNSET for other in FORMATS) != 1:
            return None
        check_count(len(rows), max_rows, name)
        if not self.schema.numeric:
            return *self.schema.pack_rows(rows), len(rows)
        try:
            if len(rows) == 1:
                return MATRIX, self._pack(*rows[0]), 1
            return MATRIX, b"".join([self._pack(*row) for row in rows]), len(rows)
        except struct.error:  # a null
            filled = [[math.nan if value is None else value for value in row] for row in rows]
            return MATRIX, b"".join([self._pack(*row) for row in filled]), len(rows)

    def _rows_of_split(self, split: Split) -> Rows:
        decode = self._orders.get(split.columns) or self._order(split.columns)
        rows = decode(split.data)
        if split.index is not None and len(split.index) != len(rows):
            raise ValueError("index")
        return rows

    def _order(self, columns: tuple[str, ...]) -> Callable[[msgspec.Raw], Rows]:
        """A decoder of rows in a client's order. Raises `ValueError` if the columns do not fit."""
        names = self.schema.names
        if len(self._orders) >= KEPT_ORDERS or any(columns.count(name) != 1 for name in names):
            raise ValueError("columns")
        kinds = {column.name: self._kinds[column.type] for column in self.schema.features}
        row: Any = tuple[tuple(kinds.get(name, Any) for name in columns)]  # type: ignore[misc]
        decode: Callable[[msgspec.Raw], Rows] = msgspec.json.Decoder(list[row]).decode
        if columns != names:
            decode = _Reordered(decode, [columns.index(name) for name in names])
        self._orders[columns] = decode
        return decode


class _Reordered:
    """Decodes rows in another order, perhaps with more columns."""

    def __init__(self, decode: Callable[[msgspec.Raw], Rows], places: list[int]) -> None:
        self._decode = decode
        # itemgetter of one place gives the value itself, not a row of it.
        self._pick: Any = itemgetter(*places) if len(places) > 1 else lambda row: (row[places[0]],)

    def __call__(self, data: msgspec.Raw) -> Rows:
        return [*map(self._pick, self._decode(data))]


FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class _Columns(Struct):
    """Base of `{"column": [value, …], …}`, to tell it from records."""


def _envelope(schema: InputSchema) -> Any:
    """The type of a whole body; other keys are ignored, as by MLflow."""
    kinds = NUMBERS if schema.numeric else MIXED
    values = [
        (f"c{n}", kinds[column.type], msgspec.field(name=column.name))
        for n, column in enumerate(schema.features)
    ]
    lists = [(key, list.__class_getitem__(kind), field) for key, kind, field in values]
    # Other columns are ignored in records. Elsewhere MLflow wants them to be as long as the rest,
    # which the careful reader sees to.
    record: Any = msgspec.defstruct("Record", values, gc=False)
    strict: Any = msgspec.defstruct("Strict", values, gc=False, forbid_unknown_fields=True)
    columns: Any = msgspec.defstruct(
        "Columns", lists, bases=(_Columns,), forbid_unknown_fields=True
    )
    never = Literal["\0"] | UnsetType  # decodes nothing that a client sends
    fields: list[Any] = [
        ("dataframe_split", Split | UnsetType, UNSET),
        ("dataframe_records", list[record] | UnsetType, UNSET),
        ("instances", list[strict] | columns | UnsetType, UNSET),
        ("inputs", list[record] | columns | UnsetType, UNSET),
        *((key, never, UNSET) for key in LANGUAGE),
    ]
    return msgspec.defstruct("Envelope", fields)


def _rows_of(envelope: Any) -> tuple[str, Rows]:
    for name in FORMATS[1:]:
        content = getattr(envelope, name)
        if isinstance(content, _Columns):
            return name, [*zip(*msgspec.structs.astuple(content), strict=True)]
        if content is not UNSET:
            return name, [*map(msgspec.structs.astuple, content)]
    return "", ()


_DECODERS: dict[int, RowDecoder] = {}


def decoder_of(schema: InputSchema) -> RowDecoder:
    """Made once for a schema. Found by its identity: to hash it costs more than to decode a row."""
    found = _DECODERS.get(id(schema))
    if found is None:
        if len(_DECODERS) >= KEPT_SCHEMAS:
            _DECODERS.clear()
        found = _DECODERS[id(schema)] = RowDecoder(schema)
    return found
