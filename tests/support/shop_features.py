"""Sources of features of the shop's releases: customer n has visited n / 10 times, and is n old.

How a release behaves towards its clients is a matter of its source: the models are all sound.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from penstock.features.vectors import Vectors

SLOW = 0.5  # seconds that a slow read takes


class Sound:
    def read(self, asked: dict[str, list[Any]]) -> Vectors:
        customers = asked["customer_id"]
        columns = {"visits": [n / 10 for n in customers], "age": [float(n) for n in customers]}
        return Vectors(columns, [False] * len(customers), {})

    def feast_answer(self, document: dict[str, Any]) -> dict[str, Any]:
        return {"metadata": {"feature_names": list(document["entities"])}, "results": []}


class Broken(Sound):
    """Fails each time."""

    def read(self, asked: dict[str, list[Any]]) -> Vectors:
        raise OSError("the store is away")


class Slow(Sound):
    """Takes its time."""

    def read(self, asked: dict[str, list[Any]]) -> Vectors:
        time.sleep(SLOW)
        return super().read(asked)


class Hanging(Sound):
    """Comes up, and answers nobody."""

    def read(self, asked: dict[str, list[Any]]) -> Vectors:
        time.sleep(3600)
        return super().read(asked)


class Stuck(Sound):
    """Never comes up."""

    def __init__(self) -> None:
        time.sleep(3600)


class Turning(Sound):
    """Sound until there is a file at `switch`; fails then."""

    def __init__(self, switch: str) -> None:
        self._switch = Path(switch)

    def read(self, asked: dict[str, list[Any]]) -> Vectors:
        if self._switch.exists():
            raise OSError("the store is away")
        return super().read(asked)
