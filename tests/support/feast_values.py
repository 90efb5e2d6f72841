"""Values of every type that a Feast feature may have, and the Arrow types for some of them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from feast import types as feast_types
from feast.types import Array, Bool, Float64, Int64, Set, String, UnixTimestamp

TIMES = [datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC), datetime(1969, 12, 31, 23, tzinfo=UTC)]
IDS = [uuid.UUID(int=7), uuid.UUID(int=2**127)]
VALUES: dict[str, tuple[Any, list[Any]]] = {
    "bool": (Bool, [True, False, None]),
    "int32": (feast_types.Int32, [1, -(2**31), 2**31 - 1]),
    "int64": (Int64, [1, -(2**63), 2**63 - 1]),
    "float32": (feast_types.Float32, [0.1, float("inf"), None]),
    "float64": (Float64, [0.1, -1e300, None, float("nan")]),
    "string": (String, ["", "ä\x00b", None]),
    "bytes": (feast_types.Bytes, [b"", b"\xff\x00", None]),
    "time": (UnixTimestamp, [*TIMES, None]),
    "uuid": (feast_types.Uuid, [*IDS, None]),
    "time_uuid": (feast_types.TimeUuid, [uuid.uuid1(), None]),
    "decimal": (feast_types.Decimal, [Decimal("1.50"), Decimal("-1e30"), None]),
    "json": (feast_types.Json, ['{"a": [1, null]}', "3", None]),
    "map": (feast_types.Map, [{"a": 1, "b": {"c": "x"}}, {}, None]),
    "scalar_map": (feast_types.ScalarMap, [{1: "a", 2: None}, None]),
    "zoned": (feast_types.ZonedTimestamp, [TIMES[0], None]),
    "struct": (feast_types.Struct({"a": Int64, "b": String}), [{"a": 1, "b": "x"}, None]),
    "bools": (Array(Bool), [[True, False], [], None]),
    "int32s": (Array(feast_types.Int32), [[1, -2], [], None]),
    "int64s": (Array(Int64), [[1, 2**60], [], None]),
    "float32s": (Array(feast_types.Float32), [[0.1, 2.0], [], None]),
    "float64s": (Array(Float64), [[0.1, float("inf")], [], None]),
    "strings": (Array(String), [["a", ""], [], None]),
    "bytess": (Array(feast_types.Bytes), [[b"a", b""], [], None]),
    "times": (Array(UnixTimestamp), [TIMES, [], None]),
    "uuids": (Array(feast_types.Uuid), [IDS, [], None]),
    "decimals": (Array(feast_types.Decimal), [[Decimal("1.5")], [], None]),
    "jsons": (Array(feast_types.Json), [['{"a": 1}', "2"], None]),
    "maps": (Array(feast_types.Map), [[{"a": 1}, {"b": 2}], None]),
    "nested": (Array(Array(Int64)), [[[1, 2], [3]], None]),
    "set of ints": (Set(Int64), [{1, 2}, None]),
    "set of strings": (Set(String), [{"a", "b"}, None]),
    "set of times": (Set(UnixTimestamp), [set(TIMES), None]),
    "set of uuids": (Set(feast_types.Uuid), [set(IDS), None]),
    "set of decimals": (Set(feast_types.Decimal), [{Decimal("1.5")}, None]),
}

ARROW: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
    "time": pa.timestamp("us", "UTC"),
    "decimal": pa.string(),
    "json": pa.string(),
    "int64s": pa.list_(pa.int64()),
    "float32s": pa.list_(pa.float32()),
    "float64s": pa.list_(pa.float64()),
    "strings": pa.list_(pa.string()),
    "times": pa.list_(pa.timestamp("us", "UTC")),
    "bools": pa.list_(pa.bool_()),
}
