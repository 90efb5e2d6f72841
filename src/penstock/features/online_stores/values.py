"""A Feast value as a row holds it: plain where MessagePack has its type, else Feast's own bytes.

What `to_dict` of a response gives must be what Feast 0.67's SQLite store gives, type by type. So
values of types that Feast converts in its own way, such as maps, structs and nested lists, and
values that are not of their feature's declared type, are kept as serialised protos.
"""

from __future__ import annotations

import decimal
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.type_map import feast_value_type_to_python_type
from feast.value_type import ValueType

Ext = msgspec.msgpack.Ext
PROTO = 1  # the MessagePack extension type of a serialised Feast value
NOT_A_TIME = -(2**63)  # Feast's integer for a missing time

SAME = {  # stored as they are, and given back so
    "BYTES": "bytes_val",
    "PDF_BYTES": "bytes_val",
    "IMAGE_BYTES": "bytes_val",
    "STRING": "string_val",
    "INT32": "int32_val",
    "INT64": "int64_val",
    "DOUBLE": "double_val",
    "FLOAT": "float_val",
    "BOOL": "bool_val",
}
LISTS = ("BYTES", "STRING", "INT32", "INT64", "DOUBLE", "FLOAT", "BOOL")


@dataclass(frozen=True)
class ValueCodec:
    """How the values of one Feast type are stored and given back."""

    kind: ValueType
    attribute: str  # of Feast's proto; empty: values are stored as serialised protos
    repeated: bool = False
    convert: Callable[[Any], Any] | None = None  # a stored value -> what `to_dict` gives

    @property
    def plain(self) -> bool:
        """Whether a stored value, if it is not an `Ext`, is what `to_dict` gives."""
        return bool(self.attribute) and self.convert is None

    def stored(self, proto: Any) -> Any:
        """What a row holds for a Feast value; none where it has no value."""
        attribute = proto.WhichOneof("val")
        if attribute is None:
            return None
        if attribute != self.attribute:
            return Ext(PROTO, proto.SerializeToString())
        value = getattr(proto, attribute)
        return list(value.val) if self.repeated else value

    def python(self, stored: Any) -> Any:
        """What `to_dict` gives for a stored value."""
        if stored is None:
            return None
        if type(stored) is Ext:
            return feast_value_type_to_python_type(self.proto(stored), self.kind)
        return self.convert(stored) if self.convert else stored

    def proto(self, stored: Any) -> Any:
        """The Feast value of a stored value."""
        if stored is None:
            return ValueProto()
        if type(stored) is Ext:
            return ValueProto.FromString(bytes(stored.data))
        if not self.repeated:
            return ValueProto(**{self.attribute: stored})
        proto = ValueProto()
        values = getattr(proto, self.attribute)
        values.SetInParent()
        values.val.extend(stored)
        return proto


def _time(seconds: int) -> datetime | None:
    return None if seconds == NOT_A_TIME else datetime.fromtimestamp(seconds, tz=UTC)


def _times(seconds: list[int]) -> list[datetime | None]:
    return [_time(s) for s in seconds]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _of_texts(make: Callable[[str], Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    return (lambda texts: [make(t) for t in texts]), (lambda texts: {make(t) for t in texts})


def _codecs() -> dict[str, ValueCodec]:
    found: dict[str, tuple[str, bool, Callable[[Any], Any] | None]] = {
        name: (attribute, False, None) for name, attribute in SAME.items()
    }
    for name in LISTS:
        found[f"{name}_LIST"] = (f"{name.lower()}_list_val", True, None)
        found[f"{name}_SET"] = (f"{name.lower()}_set_val", True, set)
    found["UNIX_TIMESTAMP"] = ("unix_timestamp_val", False, _time)
    found["UNIX_TIMESTAMP_LIST"] = ("unix_timestamp_list_val", True, _times)
    found["UNIX_TIMESTAMP_SET"] = ("unix_timestamp_set_val", True, lambda s: set(_times(s)))
    for name, make in (
        ("UUID", uuid.UUID),
        ("TIME_UUID", uuid.UUID),
        ("DECIMAL", decimal.Decimal),
    ):
        as_list, as_set = _of_texts(make)
        found[name] = (f"{name.lower()}_val", False, make)
        found[f"{name}_LIST"] = (f"{name.lower()}_list_val", True, as_list)
        found[f"{name}_SET"] = (f"{name.lower()}_set_val", True, as_set)
    found["JSON"] = ("json_val", False, _json)
    found["JSON_LIST"] = ("json_list_val", True, _of_texts(_json)[0])
    return {
        name: ValueCodec(ValueType[name], attribute, repeated, convert)
        for name, (attribute, repeated, convert) in found.items()
    }


@cache
def codec_of(type_name: str) -> ValueCodec:
    """The codec of a Feast type, by the name of its `ValueType`."""
    return _codecs().get(type_name) or ValueCodec(ValueType[type_name], "")
