"""The one form every feature view is brought into, whoever declared it.

From it come the offline plan, the online layout and the Feast objects; its digest names what the
features mean. It is plain data: it travels through Feast's registry as a tag of the view.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa
from pydantic import Field

from penstock.errors import ProjectError
from penstock.records import Column, Record, digest_of

Function = Literal[
    "count",
    "sum",
    "mean",
    "min",
    "max",
    "std",
    "last",
    "first",
    "count_distinct",
    "last_distinct",
]
DEFINITION_TAG = "penstock.definition"  # on a Feast feature view: its definition as JSON
FEEDS_TAG = "penstock.feeds"  # on a Feast feature view of raw events: the view they count in
EVENTS_SUFFIX = "__events"  # ends the name of that view of raw events


class Source(Record):
    """Where rows come from. Their order is that of the files, sorted by path, and in each file."""

    name: str
    kind: Literal["parquet", "query"]
    location: str  # a file, a folder or an S3 URI; or a query in SQL
    timestamp: str = ""  # column: when it happened. A time without a zone is UTC
    created: str = ""  # column: since when it is known; empty: since it happened
    columns: tuple[Column, ...] = ()  # as the source has them


class Transformation(Record):
    """What makes a view's rows of its source's, each row by itself."""

    mode: Literal["sql", "arrow", "polars", "pandas"]
    text: str  # SQL over the relation `source`; or "features.py:function"
    digest: str  # of the SQL, or of the function's source


class Aggregation(Record):
    """One feature: a function of a column over the window (t - offset - window, t - offset].

    Nulls and NaN are missing values, which no function counts. Of an empty window count and sum are
    0, all others null.
    """

    name: str
    function: Function
    column: str = ""  # empty: count rows
    window: timedelta | None = None  # none: everything up to the right edge
    offset: timedelta = timedelta(0)
    n: int = 0  # last_distinct: how many, the newest first
    type: str  # of the feature, as Arrow prints it


class ViewDefinition(Record):
    """A feature view: the latest row of each entity, or aggregates of its rows."""

    name: str
    keys: tuple[Column, ...] = ()  # none: all rows are of one entity
    source: Source
    transformation: Transformation | None = None
    fields: tuple[Column, ...] = ()  # of the latest row; what is there unless `aggregates` is
    aggregates: tuple[Aggregation, ...] = ()
    ttl: timedelta | None = None  # of the latest row, inclusive; none: for ever
    resolution: timedelta = timedelta(0)  # left edges are rounded down to multiples since 1970
    # What follows says nothing about the values.
    online: bool = True
    expected_freshness: timedelta | None = None
    owner: str = ""
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict)

    @property
    def features(self) -> tuple[Column, ...]:
        made = tuple(Column(name=a.name, type=a.type) for a in self.aggregates)
        return made or self.fields

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns, beside keys and times, that the features are made of; each once."""
        columns = (a.column for a in self.aggregates if a.column)
        return tuple(dict.fromkeys(columns)) or tuple(c.name for c in self.fields)

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the values."""
        about = {"online", "expected_freshness", "owner", "description", "tags"}
        return digest_of(self.model_dump(mode="json", exclude=about))


@lru_cache(maxsize=1024)
def parsed(text: str) -> ViewDefinition:
    """The definition in a tag."""
    return ViewDefinition.model_validate_json(text)


PLAIN_TYPES = {
    str(kind): kind
    for kind in (
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float16()),
        *(pa.bool_(), pa.string(), pa.large_string(), pa.binary(), pa.large_binary()),
        *(pa.date32(), pa.date64(), pa.null()),
    )
}
ALIASES = {"float64": "double", "float32": "float", "str": "string", "bytes": "binary"}
EPOCH_UNITS = ("s", "ms", "us", "ns")


def span_words(span: timedelta) -> str:
    """A duration as features.py writes it, in its largest whole unit: 7d, 36h, 90s."""
    sizes = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}
    length = span // timedelta(microseconds=1)
    for unit, size in sizes.items():
        if length and length % size == 0:
            return f"{length // size}{unit}"
    return f"{length}us" if length else "0s"


def _is_zone(text: str) -> bool:
    """Whether times can be of this zone: one of the IANA's, or an offset such as +02:00."""
    if re.fullmatch(r"[+-]\d\d:?\d\d", text):
        return True
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def arrow_type(text: str) -> pa.DataType:
    """The inverse of `str(arrow_type)`, for the types a column may have.

    Raises `ProjectError` for a text that names none.
    """
    text = ALIASES.get(text, text) if isinstance(text, str) else str(text)
    if text in PLAIN_TYPES:
        return PLAIN_TYPES[text]
    head, _, inner = text.partition("[" if text.startswith(("timestamp", "decimal")) else "<")
    if head == "timestamp" and inner.endswith("]"):
        unit, _, zone = inner[:-1].partition(", tz=")
        if unit in EPOCH_UNITS and (not zone or _is_zone(zone)):
            return pa.timestamp(unit, zone or None)
    if head in ("list", "large_list") and inner.endswith(">"):
        return pa.list_(arrow_type(inner[:-1].partition(": ")[2] or inner[:-1]))
    if match := re.fullmatch(r"decimal128\((\d{1,2}), ?(\d{1,2})\)", text):
        precision, scale = int(match[1]), int(match[2])
        if scale <= precision and 1 <= precision <= 38:
            return pa.decimal128(precision, scale)
    raise ProjectError(
        f"{text!r} is not a type that a column can have",
        hint="write one such as int64, float64, string, bool, timestamp[us, tz=UTC] or "
        "list<item: string>",
    )
