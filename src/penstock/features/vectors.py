"""What an online read gives to a model. Imports no tool, so that every process may know it."""

from __future__ import annotations

from typing import Any, NamedTuple

from penstock.errors import DataError


class WrongKeyError(DataError):
    """A value that cannot be a key of its entity: whoever asked is to blame, not the store."""

    def __init__(self, message: str, *, hint: str = "", key: str = "") -> None:
        super().__init__(message, hint=hint)
        self.key = key


class Vectors(NamedTuple):
    """The features of some entities, one row each, as they were at one moment."""

    columns: dict[str, list[Any]]  # by feature, in the model's order; None: missing or expired
    unknown: list[bool]  # of each entity, whether no view knows anything
    happened: dict[str, list[int]]  # by view: the event time of each row, ns since 1970; 0: none
