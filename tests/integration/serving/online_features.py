"""A source of features of the shape that releases name: customers 1 to 99, and what they do."""

from __future__ import annotations

from typing import Any

import pandas


class OnlineFeatures:
    entity_keys = ("customer_id",)

    def __init__(self, scale: float) -> None:
        self._scale = scale

    def read(self, entities: dict[str, list[Any]]) -> pandas.DataFrame:
        customers = entities["customer_id"]
        if 666 in customers:
            raise ConnectionError("the store is gone")
        known = [customer if 0 < customer < 100 else None for customer in customers]
        return pandas.DataFrame(
            {
                "visits": [customer and customer * self._scale for customer in known],
                "age": known,
                "plan": [customer and "basic" for customer in known],
            }
        )


class Unreachable:
    def __init__(self) -> None:
        raise ConnectionError("no route to the store")
