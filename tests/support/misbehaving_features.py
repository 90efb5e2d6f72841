"""Sources of features that harm the process they are in. The values are those of `online_features`:
customer n has visited n / 10 times."""

from __future__ import annotations

import time
from typing import Any

from penstock.features.vectors import Vectors


class Sound:
    def read(self, asked: dict[str, list[Any]]) -> Vectors:
        customers = asked["customer_id"]
        columns = {
            "visits": [customer / 10 for customer in customers],
            "age": customers,
            "plan": ["basic" for _ in customers],
        }
        return Vectors(columns, [False] * len(customers), {})

    def feast_answer(self, document: dict[str, Any]) -> dict[str, Any]:
        return {"metadata": {"feature_names": list(document["entities"])}, "results": []}


class Burning(Sound):
    """Takes the processor for a fifth of a second each time."""

    def read(self, asked: dict[str, list[Any]]) -> Vectors:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        return super().read(asked)


class Leaking(Sound):
    """Keeps 64 MB more each time."""

    def __init__(self) -> None:
        self._kept: list[bytearray] = []

    def read(self, asked: dict[str, list[Any]]) -> Vectors:
        self._kept.append(bytearray(64 << 20))
        return super().read(asked)


class Broken(Sound):
    """Fails each time."""

    def read(self, asked: dict[str, list[Any]]) -> Vectors:
        raise OSError("the store is away")
