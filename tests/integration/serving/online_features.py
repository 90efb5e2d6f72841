"""A source of features of the shape that releases name: customers 1 to 99, and what they do."""

from __future__ import annotations

from typing import Any

from penstock.features.vectors import Vectors


class OnlineFeatures:
    def __init__(self, scale: float) -> None:
        self._scale = scale

    def read(self, asked: dict[str, list[Any]]) -> Vectors:
        customers = asked["customer_id"]
        if 666 in customers:
            raise ConnectionError("the store is gone")
        known = [c if isinstance(c, int) and 0 < c < 100 else None for c in customers]
        columns = {
            "visits": [customer and customer * self._scale for customer in known],
            "age": known,
            "plan": [customer and "basic" for customer in known],
        }
        return Vectors(columns, [one is None for one in known], {})

    def feast_answer(self, document: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("this is not Feast")


class Unreachable:
    def __init__(self) -> None:
        raise ConnectionError("no route to the store")
