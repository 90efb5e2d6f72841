"""The unit of a request: a header, or a field of its JSON body. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.serving.http_server.messages import Request
from penstock.serving.routing.table import Unit

# Where the protocols keep named values, from the nearest: entity keys, parameters, rows.
PLACES = ("entities", "parameters", "params", "rows", "dataframe_records", "inputs", "instances")


class UnitReader:
    """Finds the unit that a table names; "" where a request has none."""

    def __init__(self, unit: Unit) -> None:
        self._header = unit.header.lower().encode()
        self._field = unit.field
        self._decoder = msgspec.json.Decoder() if unit.field else None

    def read(self, request: Request) -> str:
        if self._header:
            value = request.headers.get(self._header, b"").decode("utf-8", "replace")
            if value or not self._field:
                return value
        if self._decoder is None:
            return ""
        length = request.headers.get(b"inference-header-content-length", b"")
        known = length.isdigit() and len(length) < 10  # Python reads no number of 4300 digits
        body = request.body[: int(length)] if known else request.body
        try:
            document = self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ""  # refused later, with the reason
        return _text(_found(document, self._field)) if isinstance(document, dict) else ""


def _found(document: dict[str, Any], name: str) -> Any:
    for place in PLACES:
        part = document.get(place)
        if isinstance(part, list) and part and isinstance(part[0], dict):
            if place == "inputs" and "datatype" in part[0]:  # tensors, not rows
                tensors = [one for one in part if isinstance(one, dict)]
                part = {str(one.get("name")): one.get("data") for one in tensors}
            else:
                part = part[0]
        if isinstance(part, dict) and name in part:
            value = part[name]
            while isinstance(value, list) and value:
                value = value[0]
            return value
    return None


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value)
