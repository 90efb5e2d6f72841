"""What settings are made of: durations, sizes, times, shares, thresholds, and sections of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
)

UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(value: Any) -> Any:
    """ "90s" -> timedelta(seconds=90). ISO 8601, and anything but text, is left to pydantic."""
    if not isinstance(value, str) or value.startswith("P"):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", value)
    if match is None:
        raise ValueError(f"{value!r} is not a duration like '90s', '5m', '2h' or '30d'")
    return timedelta(**{UNITS[match[2]]: float(match[1])})


def duration_text(value: timedelta) -> str:
    """The inverse of `parse_duration`, in the largest unit that gives a whole number.

    >>> duration_text(timedelta(minutes=90)), duration_text(timedelta(0))
    ('90m', '0s')
    """
    for unit in ("d", "h", "m", "s", "ms"):
        whole, rest = divmod(value, timedelta(**{UNITS[unit]: 1}))
        if whole and not rest:
            return f"{whole}{unit}"
    return f"{value / timedelta(milliseconds=1):.3f}ms" if value else "0s"


def parse_size(value: Any) -> Any:
    """ "4GB" -> 4 * 2**30. Anything but text is left to pydantic."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*", value, re.IGNORECASE)
    if match is None:
        raise ValueError(f"{value!r} is not a size like '512MB' or '4GB'")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


def split_words(value: Any) -> Any:
    """A list may come from the environment as words separated by commas or blanks."""
    return re.findall(r"[^,\s]+", value) if isinstance(value, str) else value


def in_utc(moment: datetime) -> datetime:
    """A time without a zone is meant as UTC."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _not_negative(value: timedelta) -> timedelta:
    if value < timedelta(0):
        raise ValueError("a duration is not negative")
    return value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("a duration above zero is expected")
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
_written = PlainSerializer(duration_text, when_used="json")  # so that it reads back
Span = Annotated[Duration, AfterValidator(_not_negative), _written]  # zero is allowed
LongSpan = Annotated[Duration, AfterValidator(_positive), _written]
Size = Annotated[int, BeforeValidator(parse_size), Field(ge=16 * 2**20)]
Moment = Annotated[datetime, AfterValidator(in_utc)]
Words = Annotated[tuple[str, ...], BeforeValidator(split_words)]
Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=64)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def parse_rule(value: Any) -> Any:
    """ ">= 0.85" -> Rule(op=">=", value=0.85)"""
    if not isinstance(value, str | int | float):
        return value
    match = re.fullmatch(r"\s*(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)\s*", str(value))
    if match is None:
        raise ValueError(f"{value!r} is not a threshold like '>= 0.85' or '< 50'")
    return {"op": match[1], "value": float(match[2])}


class Rule(Section):
    """A threshold on a metric."""

    op: Literal["<", "<=", ">", ">="]
    value: float

    def __str__(self) -> str:
        return f"{self.op} {self.value:.15g}"


Threshold = Annotated[Rule, BeforeValidator(parse_rule)]
