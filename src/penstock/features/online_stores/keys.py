"""Entity keys as bytes: the values of the join keys, sorted by name, each led by its type.

Values of different types never share bytes: "1" is not 1, and 1 is not True. int32 and int64 are
one type, as Feast's views may declare one entity either way.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from penstock.errors import DataError
from penstock.features.online_stores.columns import whole_seconds
from penstock.features.vectors import WrongKeyError

NOBODY = b""  # the key of a view without entities
DUMMY = "__dummy_id"  # the join key that Feast 0.67 gives such a view
Key = bytes | None  # none: a part is null, so that it matches nothing

_INTEGER = struct.Struct(">cq").pack
_LENGTH = struct.Struct(">I").pack


def _whole(value: Any) -> int:
    if isinstance(value, bool | np.bool_):
        raise TypeError
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return int(value)  # pandas makes floats of integers beside nulls
    return int(value.__index__())


def _integer(value: Any) -> bytes:
    return _INTEGER(b"i", value if type(value) is int else _whole(value))


def _string(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError
    return b"s" + value.encode()


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError
    return b"b" + bytes(value)


def _boolean(value: Any) -> bytes:
    if not isinstance(value, bool | np.bool_):
        raise TypeError
    return b"o\x01" if value else b"o\x00"


def _uuid(value: Any) -> bytes:
    return b"u" + (value if isinstance(value, uuid.UUID) else uuid.UUID(value)).bytes


def _seconds(value: Any) -> bytes:
    if isinstance(value, np.datetime64):
        value = int(value.astype("datetime64[s]").astype(np.int64))
    elif isinstance(value, datetime):
        value = int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    return _INTEGER(b"t", _whole(value))


ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "INT32": _integer,
    "INT64": _integer,
    "STRING": _string,
    "BYTES": _bytes,
    "BOOL": _boolean,
    "UUID": _uuid,
    "TIME_UUID": _uuid,
    "UNIX_TIMESTAMP": _seconds,
}
OF_PROTO = {
    "int32_val": _integer,
    "int64_val": _integer,
    "string_val": _string,
    "bytes_val": _bytes,
    "bool_val": _boolean,
    "uuid_val": _uuid,
    "time_uuid_val": _uuid,
    "unix_timestamp_val": _seconds,
}


def missing(value: Any) -> bool:
    """Whether a value is None, NaN, or pandas' NaT or NA."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas.NA, which is neither true nor false
        return True


def joined(parts: Sequence[bytes]) -> bytes:
    """One key of its parts."""
    if len(parts) == 1:
        return parts[0]
    return b"".join(_LENGTH(len(part)) + part for part in parts)


def _kind_of_all(values: Sequence[Any]) -> Any:
    kinds = {*map(type, values)}
    return kinds.pop() if len(kinds) == 1 else None


class KeyCodec:
    """The keys of one view. `keys` are its join keys with the names of their Feast types.

    Raises `DataError` for a type that cannot be a key.
    """

    def __init__(self, view: str, keys: Sequence[tuple[str, str]]) -> None:
        self._view = view
        keys = sorted(key for key in keys if key[0] != DUMMY)
        self.names = tuple(name for name, _ in keys)
        self._types = tuple(kind for _, kind in keys)
        if wrong := [f"{name}: {kind}" for name, kind in keys if kind not in ENCODERS]:
            raise DataError(
                f"feature view {view!r} cannot be kept online by the key {', '.join(wrong)}",
                hint=f"a key may be {', '.join(ENCODERS)}",
            )
        self._encoders = tuple(ENCODERS[kind] for kind in self._types)

    def encode(self, columns: Sequence[Sequence[Any]], count: int) -> list[Key]:
        """Keys of native values: for each of `names` a column of `count` values.

        Raises `DataError` for a value of another type than the key's.
        """
        if len(columns) == 1:
            return self.column(0, columns[0])
        if not columns:
            return [NOBODY] * count
        parts = [self.column(place, column) for place, column in enumerate(columns)]
        return [None if None in row else joined(row) for row in zip(*parts, strict=True)]

    def column(self, place: int, column: Sequence[Any]) -> list[Key]:
        """The part of a key, by its place among `names`: all of it where there is one."""
        only = type(column[0]) if len(column) == 1 else None
        kind = only or _kind_of_all(column)
        if kind is int and self._encoders[place] is _integer:
            try:
                return [_INTEGER(b"i", value) for value in column]
            except struct.error:
                pass  # beyond 64 bits: refused below, by name
        if kind is str and self._encoders[place] is _string:
            return [b"s" + value.encode() for value in column]
        return [self._value(place, value) for value in column]

    def _value(self, place: int, value: Any) -> Key:
        if isinstance(value, ValueProto):
            attribute = value.WhichOneof("val")
            value = getattr(value, attribute) if attribute else None
        if missing(value):
            return None
        try:
            return self._encoders[place](value)
        except (TypeError, ValueError, AttributeError, struct.error, OverflowError):
            raise WrongKeyError(
                f"{value!r} ({type(value).__name__}) is not a value of {self.names[place]!r}, "
                f"a key of feature view {self._view!r} of type {self._types[place]}",
                hint="ask with a value of that type",
                key=self.names[place],
            ) from None

    def of_proto(self, key: Any) -> Key:
        """The key of Feast's own entity key, which may have more join keys than the view."""
        pairs = sorted(zip(key.join_keys, key.entity_values, strict=True), key=lambda p: str(p[0]))
        if [name for name, _ in pairs if name != DUMMY] and self.names:
            self._complete([name for name, _ in pairs])
        parts = []
        for name, value in pairs:
            attribute = value.WhichOneof("val")
            if name == DUMMY:
                continue
            if attribute is None:
                return None
            if attribute not in OF_PROTO:
                raise DataError(
                    f"a {attribute.removesuffix('_val')} cannot be the key {name!r} of feature "
                    f"view {self._view!r}",
                    hint=f"a key may be {', '.join(ENCODERS)}",
                )
            parts.append(OF_PROTO[attribute](getattr(value, attribute)))
        return joined(parts) if parts else NOBODY

    def _complete(self, given: list[str]) -> None:
        if missing := [name for name in self.names if name not in given]:
            raise DataError(
                f"feature view {self._view!r} is keyed by {', '.join(self.names)}, and "
                f"{', '.join(missing)} is missing",
                hint="ask with all of its join keys",
            )

    def of_table(self, table: pa.Table) -> list[Key]:
        """The keys of a table's rows."""
        self._complete(table.column_names)
        columns = []
        for name, kind in zip(self.names, self._types, strict=True):
            column = table[name].combine_chunks()
            if pa.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            if kind == "UNIX_TIMESTAMP" and pa.types.is_temporal(column.type):
                column = whole_seconds(column)
            if pa.types.is_integer(column.type) and not column.null_count:
                columns.append(column.to_numpy(zero_copy_only=False).tolist())
            else:
                columns.append(column.to_pylist())
        return self.encode(columns, table.num_rows)
