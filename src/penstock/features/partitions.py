"""Rows by the hash of their key, in files: so that a join needs memory for one part at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from penstock.features.facts import Facts

WORK_BYTES = 120  # a row's share of the arrays that the kernels work with, beside its columns
PART_ROWS = 4_000_000  # larger parts leave the processor's cache too often
AT_ONCE = 2  # parts that are worked on at the same time
POSITION = "__position"  # int64: a row's place before rows were parted


def part_of(columns: Sequence[pa.ChunkedArray | pa.Array], parts: int) -> np.ndarray:
    """The part of each row, from 0; equal keys have equal parts."""
    mixed = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        mixed = (mixed ^ _hashes(column)) * np.uint64(0x9E3779B97F4A7C15)
    part: np.ndarray = (mixed >> np.uint64(33)) % np.uint64(parts)
    return part


def _hashes(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Of each distinct value once; a null, which matches nothing, is hashed as some other."""
    if pa.types.is_integer(column.type):
        numbers: np.ndarray = column.fill_null(0).to_numpy(zero_copy_only=False)
        return numbers.astype(np.uint64)
    encoded = column.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    values = encoded.dictionary.to_numpy(zero_copy_only=False)
    if not len(values):
        return np.zeros(len(column), dtype=np.uint64)
    hashed: np.ndarray = pd.util.hash_array(values, categorize=False)
    rows: np.ndarray = hashed[encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)]
    return rows


def parts_for(facts: Facts, names: Sequence[str], memory: int) -> int:
    """In how many parts rows are to be worked on, so that those at once take half the memory."""
    width = WORK_BYTES + sum(_width(facts.schema.field(name).type) for name in names)
    most = min(memory // 2 // AT_ONCE // width, PART_ROWS)
    return max(1, -(-facts.count() // max(most, 1)))


def _width(kind: pa.DataType) -> int:
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return 32  # text: a guess


def in_parts(
    facts: Facts, names: Sequence[str], keys: Sequence[str], parts: int, among: Any = None
) -> Iterator[pa.Table]:
    """Some columns of all rows and their `POSITION`, one table a part, in the order of the parts.

    All rows of a key are in one part, in their order.
    """
    if parts == 1:
        table = facts.table(tuple(names), among)
        yield table.append_column(POSITION, pa.array(np.arange(table.num_rows, dtype=np.int64)))
        return
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        for file in _spilled(facts.batches(tuple(names), among), keys, parts, Path(folder)):
            with pa.memory_map(str(file)) as mapped:
                yield pa.ipc.open_file(mapped).read_all()
            file.unlink()


def _spilled(
    batches: Iterator[pa.RecordBatch], keys: Sequence[str], parts: int, folder: Path
) -> list[Path]:
    """One Arrow file a part."""
    files = [folder / f"{number}.arrow" for number in range(parts)]
    start = 0
    with ExitStack() as stack:
        writers: list[pa.RecordBatchWriter] = []
        for batch in batches:
            numbers = np.arange(start, start + batch.num_rows, dtype=np.int64)
            numbered = batch.append_column(POSITION, pa.array(numbers))
            start += batch.num_rows
            if not writers:
                opened = (pa.ipc.new_file(file, numbered.schema) for file in files)
                writers = [stack.enter_context(writer) for writer in opened]
            for number, rows in _parted(numbered, keys, parts).items():
                writers[number].write_batch(rows)
    return files if start else []


def _parted(batch: pa.RecordBatch, keys: Sequence[str], parts: int) -> Mapping[int, pa.RecordBatch]:
    part = part_of([batch[key] for key in keys], parts)
    small = part.astype(np.uint16 if parts <= 2**16 else np.int64)  # the former sorts by radix
    order = np.argsort(small, kind="stable")
    ends = np.cumsum(np.bincount(small, minlength=parts))
    ordered = batch.take(pa.array(order))
    starts = np.concatenate(([0], ends[:-1]))
    return {
        number: ordered.slice(low, high - low)
        for number, (low, high) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True))
        if high > low
    }
