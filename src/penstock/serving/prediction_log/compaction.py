"""Finished segments become Parquet, by date and endpoint.

A segment counts until it is deleted, and its Parquet files, which bear its name, only from then on.
So a compaction that was killed anywhere is done again from the segment, and nothing is lost or
there twice meanwhile. Any number of compactions may run beside writers and readers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from penstock.digests import written_whole
from penstock.errors import ResourceError
from penstock.serving.prediction_log.columns import SCHEMA, table_of
from penstock.serving.prediction_log.rows import Line, decode
from penstock.serving.prediction_log.segments import (
    LogFolder,
    held_if_finished,
    lines_of,
    sync_folder,
)

LINES_AT_ONCE = 4096


@dataclass(frozen=True)
class Compacted:
    """What became of a segment."""

    segment: str
    rows: int
    damaged: int  # lines, kept in `damaged/`
    files: tuple[Path, ...]


@dataclass(frozen=True)
class SegmentContent:
    """The rows of a segment, and the lines that are none."""

    table: pa.Table
    damaged: tuple[bytes, ...]


def compact(folder: Path) -> list[Compacted]:
    """Compacts every finished segment; those that are written now are left alone.

    Raises `ResourceError` when the disk is full or cannot be written; doing it again goes on.
    """
    log = LogFolder(folder)
    done = []
    for segment in log.list_segments():
        try:
            with held_if_finished(segment) as held:
                if held is not None:
                    done.append(_compact(log, segment))
        except OSError as error:
            raise ResourceError(
                f"{segment} cannot be compacted: {error}",
                hint="its rows are safe; make room, and compact again",
            ) from error
    return done


def read_segment(segment: Path, containing: bytes = b"") -> SegmentContent:
    """All rows, or those whose line holds some bytes. Raises `FileNotFoundError`."""
    tables, damaged = [SCHEMA.empty_table()], []
    for chunk in _decoded(segment, containing):
        tables.append(table_of([line for line in chunk if isinstance(line, Line)]))
        damaged += [line for line in chunk if isinstance(line, bytes)]
    return SegmentContent(pa.concat_tables(tables), tuple(damaged))


def _decoded(segment: Path, containing: bytes) -> Iterator[list[Line | bytes]]:
    chunk: list[Line | bytes] = []
    for line, whole in lines_of(segment):
        if containing and containing not in line:
            continue
        try:
            chunk.append(decode(line) if whole else line)
        except msgspec.MsgspecError:
            chunk.append(line)
        if len(chunk) == LINES_AT_ONCE:
            yield chunk
            chunk = []
    yield chunk


def _compact(log: LogFolder, segment: Path) -> Compacted:
    content = read_segment(segment)
    files = []
    for (date, endpoint), part in _partitions(content.table):
        target = log.parquet / f"date={date}" / f"endpoint={endpoint}" / f"{segment.stem}.parquet"
        _write(part, target)
        files.append(target)
    if content.damaged:
        with written_whole(log.damaged / segment.name) as kept:
            kept.write_bytes(b"\n".join(content.damaged) + b"\n")
        sync_folder(log.damaged)
    segment.unlink()
    sync_folder(log.segments)
    return Compacted(segment.stem, content.table.num_rows, len(content.damaged), tuple(files))


def _partitions(table: pa.Table) -> Iterator[tuple[tuple[str, str], pa.Table]]:
    dates = pc.strftime(table["arrived_at"], "%Y-%m-%d")
    keys = pa.table({"date": dates, "endpoint": table["endpoint"]})
    for key in keys.group_by(["date", "endpoint"]).aggregate([]).to_pylist():
        chosen = pc.and_(pc.equal(dates, key["date"]), pc.equal(table["endpoint"], key["endpoint"]))
        yield (key["date"], key["endpoint"]), table.filter(chosen).sort_by("arrived_at")


def _write(table: pa.Table, target: Path) -> None:
    for left in target.parent.glob(f".{target.name}.*.part"):
        left.unlink()  # of a compaction that was killed: this one holds the segment
    with written_whole(target) as part:
        pq.write_table(table, part, compression="zstd")
    for folder in (target.parent, target.parent.parent, target.parent.parent.parent):
        sync_folder(folder)
