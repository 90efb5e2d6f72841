"""What every declaration must be. Each question refuses with a `ProjectError` that names the place.

`what` is how a message calls the declaration: "feature view 'spending'".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from penstock.errors import ProjectError
from penstock.features.definition import arrow_type
from penstock.setting_types import parse_duration

LONGEST = timedelta(days=106_751)  # that nanoseconds hold: 292 years


def refusal(what: str, problem: str, hint: str) -> ProjectError:
    """The one form of all these errors."""
    return ProjectError(f"{what}: {problem}", hint=hint)


def seen(value: Any) -> str:
    """A wrong value in words: the text 'usd', None, a feast.entity.Entity."""
    if isinstance(value, str):
        return f"the text {value!r}"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    kind = type(value)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    return f"a {name}"


def named(kind: str, name: Any) -> None:
    """A name that Feast, files and columns can bear."""
    if not isinstance(name, str):
        raise refusal(kind, f"its name is {seen(name)}", 'write a name in quotes, such as "orders"')
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "__" in name:
        raise refusal(
            f"{kind} {name!r}",
            "this is not a name",
            "write letters, digits and single underscores, and begin with a letter",
        )


def span_of(what: str, setting: str, value: Any) -> timedelta:
    """A duration: "7d", or a timedelta that is not negative."""
    example = f'write {setting}="7d", "12h", "30m" or "90s"'
    try:
        span = parse_duration(value)
    except (ValueError, OverflowError):
        raise refusal(what, f"{setting} is {value!r}, which is not a duration", example) from None
    if not isinstance(span, timedelta):
        raise refusal(what, f"{setting} is {seen(value)}, which is not a duration", example)
    if span < timedelta(0):
        raise refusal(what, f"{setting} is {value!r}, which is less than nothing", example)
    if span > LONGEST:
        raise refusal(what, f"{setting} is {value!r}, longer than 292 years", example)
    return span


def listed(what: str, setting: str, value: Any, example: str) -> tuple[Any, ...]:
    """The members of a list. A lone text, or a lone object, is no list."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise refusal(what, f"{setting} is {seen(value)} and not a list", f"write {example}")
    return tuple(value)


def all_of(
    what: str, setting: str, values: tuple[Any, ...], kind: type | tuple[type, ...], example: str
) -> None:
    """Every member is of some kind."""
    for value in values:
        if not isinstance(value, kind):
            raise refusal(what, f"{setting} holds {seen(value)}", f"write {example}")


def typed(what: str, schema: Any) -> None:
    """A schema: column -> Arrow type, both in words."""
    if not isinstance(schema, Mapping):
        raise refusal(what, f"its schema is {seen(schema)}", 'write schema={"column": "float64"}')
    for name, text in schema.items():
        if not isinstance(name, str) or not name:
            raise refusal(
                what, f"its schema names {seen(name)} as a column", "write the column in quotes"
            )
        try:
            arrow_type(text)
        except ProjectError as error:
            raise refusal(what, f"column {name!r}: {error.message}", error.hint) from None


def described(what: str, declared: Any) -> None:
    """Owner, description and tags are text, as Feast's registry keeps nothing else."""
    for setting in ("owner", "description"):
        value = getattr(declared, setting)
        if not isinstance(value, str):
            raise refusal(what, f"{setting} is {seen(value)}", f'write {setting}="…"')
    tags = declared.tags
    if not isinstance(tags, Mapping):
        raise refusal(what, f"tags is {seen(tags)}", 'write tags={"team": "growth"}')
    for name, value in tags.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise refusal(
                what, f"tag {name!r} is {seen(value)}", f'write tags={{"{name}": "{value}"}}'
            )


def of_feast(value: Any) -> bool:
    """Whether something is an object of Feast's. A declaration imports no tool to know it."""
    return any(kind.__module__.partition(".")[0] == "feast" for kind in type(value).__mro__)


def repeated(names: Iterable[str]) -> list[str]:
    """The names that are there more than once."""
    found = list(names)
    return sorted({name for name in found if found.count(name) > 1})
