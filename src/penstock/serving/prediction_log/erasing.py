"""What the log knows of one person is destroyed: values, keys, unit; ids and times stay.

A finished part is written anew as a whole and takes the place of the old one, so that a reader sees
either. Segments that a gateway still writes, or that are being compacted, are left alone: they are
compacted when they have ended, and erasing again finishes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from penstock.blanking import blank_lines
from penstock.digests import written_whole
from penstock.errors import ResourceError
from penstock.serving.prediction_log.compaction import compact, read_segment
from penstock.serving.prediction_log.segments import LogFolder

# A digest of a request that holds little else than a key is as good as the key to who guesses.
EMPTIED: dict[str, Any] = {
    "unit": "",
    "request_digest": "",
    "entities": None,
    "features": None,
    "event_times": None,
    "output": None,
    "erased": True,
}
COLUMNS = ["prediction_id", "row_index", "entities", "unit"]  # by which rows are found
ERASED = pa.field("erased", pa.bool_())


@dataclass(frozen=True)
class Whose:
    """Whose rows are meant: by the value of an entity key, or by the hash of a unit."""

    key: str
    value: str  # as text: 123 and "123" are the same person
    units: frozenset[str] = frozenset()

    def has(self, entities: str | None, unit: str) -> bool:
        """Whether a row is theirs; `entities` is the text of JSON."""
        if unit in self.units:
            return True
        if not entities:
            return False
        known = msgspec.json.decode(entities)
        return isinstance(known, dict) and as_text(known.get(self.key)) == self.value


@dataclass(frozen=True)
class Found:
    """A person's rows in one log."""

    things: frozenset[tuple[str, int]]  # id of the prediction, and row
    parts: tuple[Path, ...]  # Parquet files that hold them
    open_rows: int  # in segments that have not ended
    damaged: int  # lines that cannot be read, but name them

    @property
    def rows(self) -> int:
        """That can be erased now."""
        return len(self.things)


def as_text(value: Any) -> str | None:
    """A key's value as text; None for what is no key."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas makes floats of integers beside nulls
    return str(value)


def find(folder: Path, whose: Whose) -> Found:
    """Compacts what has ended, and looks for a person's rows. Raises `ResourceError`."""
    compact(folder)
    log = LogFolder(folder)
    open_rows = 0
    for segment in log.list_segments():
        try:
            table = read_segment(segment).table
        except FileNotFoundError:
            continue  # compacted meanwhile: it is a part now
        open_rows += sum(_mask(table, whose))
    things, parts = set[tuple[str, int]](), []
    for part in log.list_parquet():
        try:
            with part.open("rb") as file:  # whole, though an erasure may replace the part meanwhile
                theirs = things_of(pq.read_table(file, columns=COLUMNS), whose)
        except FileNotFoundError:
            continue  # expired meanwhile
        if theirs:
            things |= theirs
            parts.append(part)
    damaged = sum(
        names(whose)(line)
        for file in sorted(log.damaged.glob("*"))
        for line in file.read_bytes().splitlines()
    )
    return Found(frozenset(things), tuple(parts), open_rows, damaged)


def things_of(table: pa.Table, whose: Whose) -> set[tuple[str, int]]:
    """Id and row of a person's predictions in a table of `COLUMNS`."""
    theirs = table.filter(pa.array(_mask(table, whose)))
    ids, rows = theirs["prediction_id"].to_pylist(), theirs["row_index"].to_pylist()
    return set(zip(ids, rows, strict=True))


def erase_rows(folder: Path, found: Found, whose: Whose) -> None:
    """Erases what was found, part by part. Raises `ResourceError`; doing it again goes on."""
    try:
        for file in sorted(LogFolder(folder).damaged.glob("*")):
            blank_lines(file, names(whose))
        for part in found.parts:
            _rewrite(part, whose)
    except OSError as error:
        raise ResourceError(
            f"predictions in {folder} cannot be erased: {error}",
            hint="what is erased stays so; make room, and erase again",
        ) from error


def without(table: pa.Table, whose: Whose) -> pa.Table:
    """The rows in their order, each as it was but for those of a person.

    The columns are those of the table, which an older Penstock may have written, and `erased`.
    """
    theirs = pa.array(_mask(table, whose))
    if ERASED.name not in table.column_names:
        table = table.append_column(ERASED, pa.nulls(len(table), ERASED.type))
    for name, empty in EMPTIED.items():
        if name in table.column_names:
            field = table.schema.field(name)
            column = pc.if_else(theirs, pa.scalar(empty, field.type), table[name])
            table = table.set_column(table.schema.get_field_index(name), field, column)
    return table


def names(whose: Whose) -> Callable[[bytes], bool]:
    """Tells lines that name a person, though they may be damaged or cut off."""
    pairs = [f'"{whose.key}":'.encode() + text for text in _written(whose.value)]
    units = [f'"unit":"{unit}"'.encode() for unit in whose.units]

    def is_meant(line: bytes) -> bool:
        return any(unit in line for unit in units) or any(
            not line.partition(pair)[2][:1].isalnum() for pair in pairs if pair in line
        )

    return is_meant


def _written(value: str) -> list[bytes]:
    """As JSON has it: a text, or a number that looks alike."""
    return [msgspec.json.encode(value), value.encode()]


def _mask(table: pa.Table, whose: Whose) -> list[bool]:
    """Which rows are theirs; those that were erased before are nobody's."""
    pairs = zip(table["entities"].to_pylist(), table["unit"].to_pylist(), strict=True)
    return [whose.has(entities, unit or "") for entities, unit in pairs]


def _rewrite(part: Path, whose: Whose) -> None:
    try:
        table = pq.read_table(part, partitioning=None)
    except FileNotFoundError:
        return  # expired meanwhile
    with written_whole(part) as new:
        pq.write_table(without(table, whose), new, compression="zstd")
