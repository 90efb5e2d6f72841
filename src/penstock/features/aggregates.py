"""A feature that is a function of a column over a time window, as features.py declares it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

from penstock.features.checks import named, refusal, seen, span_of
from penstock.features.definition import Function, span_words

Span = str | timedelta
LIFETIME = "lifetime"
FUNCTIONS = get_args(Function)


@dataclass(frozen=True)
class Aggregate:
    """A function of a column over a time window (t - offset - window, t - offset].

    `function` is count, sum, mean, min, max, std (of a sample), last, first, count_distinct or
    last_distinct(n), the newest first. `column` "*" counts rows. `window` is "7d", "12h" or
    "lifetime". Nulls and NaN are missing values; of an empty window count and sum are 0, all
    others null.
    """

    column: str
    function: str
    window: Span = LIFETIME
    name: str = ""
    offset: Span = timedelta(0)
    description: str = ""

    def __post_init__(self) -> None:
        what = f"aggregate {self.function!r} of {self.column!r}"
        if not isinstance(self.column, str) or not self.column:
            raise refusal(
                what, f"its column is {seen(self.column)}", 'write "usd", or "*" for rows'
            )
        label, n = self.kind if isinstance(self.function, str) else ("", 0)
        if label not in FUNCTIONS or (label == "last_distinct") != (n > 0):
            raise refusal(
                what,
                "there is no such function",
                f"write one of {', '.join(FUNCTIONS[:-1])} or last_distinct(n) with n >= 1",
            )
        if self.column == "*" and label != "count":
            raise refusal(what, "only rows can be counted without a column", "name a column")
        if self.window != LIFETIME and span_of(what, "window", self.window) == timedelta(0):
            raise refusal(what, "its window is empty", 'write a window such as "7d"')
        span_of(what, "offset", self.offset)
        named("feature", self.name or self._default_name())
        if not isinstance(self.description, str):
            raise refusal(what, f"description is {seen(self.description)}", "write it in quotes")
        object.__setattr__(self, "name", self.name or self._default_name())

    @property
    def kind(self) -> tuple[str, int]:
        """The function's name, and the n of last_distinct(n)."""
        match = re.fullmatch(r"(\w+)\((\d+)\)", self.function.replace(" ", ""))
        return (match[1], int(match[2])) if match else (self.function, 0)

    @property
    def span(self) -> timedelta | None:
        return None if self.window == LIFETIME else span_of(self.name, "window", self.window)

    @property
    def shift(self) -> timedelta:
        return span_of(self.name, "offset", self.offset)

    def _default_name(self) -> str:
        label, n = self.kind
        words = [] if self.column == "*" else [self.column]
        words += [label + (f"_{n}" if n else ""), _brief(self.window)]
        return "_".join([*words, *(["before", _brief(self.offset)] if self.shift else [])])


def _brief(span: Span) -> str:
    """ "7d" as it stands; a timedelta in its largest whole unit."""
    return span.replace(" ", "").replace(".", "_") if isinstance(span, str) else span_words(span)
