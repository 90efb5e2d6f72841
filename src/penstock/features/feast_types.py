"""Columns as Feast has them."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from penstock.features.definition import arrow_type
from penstock.records import Column


def field(column: Column, about: Mapping[str, str] = types.MappingProxyType({})) -> Any:
    """A Feast field; `about` describes columns by name."""
    from feast import Field

    kind = feast_type(column.type)
    return Field(name=column.name, dtype=kind, description=about.get(column.name, ""))


def feast_type(text: str) -> Any:
    """The Feast type that holds an Arrow type without loss, where there is one."""
    import feast.types as feast_types

    kind = arrow_type(text)
    if pa.types.is_list(kind):
        return feast_types.Array(feast_type(str(kind.value_type)))
    names: list[tuple[Callable[[pa.DataType], bool], str]] = [
        (pa.types.is_boolean, "Bool"),
        (lambda k: (pa.types.is_integer(k) and k.bit_width < 32) or k == pa.int32(), "Int32"),
        (pa.types.is_integer, "Int64"),
        (lambda k: pa.types.is_floating(k) and k.bit_width <= 32, "Float32"),
        (lambda k: pa.types.is_floating(k) or pa.types.is_decimal(k), "Float64"),
        (lambda k: pa.types.is_timestamp(k) or pa.types.is_date(k), "UnixTimestamp"),
        (lambda k: pa.types.is_binary(k) or pa.types.is_large_binary(k), "Bytes"),
    ]
    name = next((name for test, name in names if test(kind)), "String")
    return getattr(feast_types, name)
