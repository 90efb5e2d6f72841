"""What an online read gives to a model. Without imports, so that every process may know it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Vectors(NamedTuple):
    """The features of some entities, one row each, as they were at one moment."""

    columns: dict[str, list[Any]]  # by feature, in the model's order; None: missing or expired
    unknown: list[bool]  # of each entity, whether no view knows anything
    happened: dict[str, list[int]]  # by view: the event time of each row, ns since 1970; 0: none
