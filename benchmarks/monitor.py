"""`make bench-monitor`: a full report of a window, against reading its Parquet once with DuckDB.

The window is what a compacted prediction log holds: answers with their features as text of JSON.
A full report is data, features and predictions. Beside it, the same rows as a table with a column
a feature; Evidently's data drift preset on a sample, with what our report takes on it; what the
gateway pays for being observed; what Airflow pays for a project's DAG, and adds to its run.

    monitor.py [log] [table] [evidently] [gateway] [parse] [overhead]    all where none is named

BENCH_MONITOR_ROWS (default 10000000), BENCH_MONITOR_FEATURES (50), BENCH_MONITOR_SAMPLE (100000),
BENCH_MONITOR_PAIRS (2). Files of one part are deleted before the next; 10M rows need 7 GB.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
from drift import evidently_on
from serving_peers import install
from side_by_side import Row, compare, row, write

from penstock.monitoring.looking import KINDS, Look
from penstock.monitoring.window import window_of_file
from penstock.profiles.counting import profiled
from penstock.profiles.profile import PREDICTION, Profile
from penstock.project import Project, open_project
from penstock.registry.versions import Found

ROWS = int(os.environ.get("BENCH_MONITOR_ROWS", "10000000"))
FEATURES = int(os.environ.get("BENCH_MONITOR_FEATURES", "50"))
PAIRS = int(os.environ.get("BENCH_MONITOR_PAIRS", "2"))
SAMPLE = int(os.environ.get("BENCH_MONITOR_SAMPLE", "100000"))
REFERENCE = 100_000  # rows of the reference
KEPT = ("data", "features", "predictions")
FOUND = Found("bench", 1, "", "", (), {}, 0)


@dataclass(frozen=True)
class Desk:
    """A project, and the profile of what its model learned."""

    folder: Path
    project: Project
    learned: Path
    reference: Profile

    @classmethod
    def of(cls, folder: Path) -> Desk:
        connection = duckdb.connect()
        learned = folder / "learned.parquet"
        write_rows(connection, learned, REFERENCE, typed=True)
        columns = profiled(connection.from_parquet(str(learned)), [*names(), PREDICTION])
        reference = Profile(rows=REFERENCE, columns=columns[:-1], prediction=columns[-1])
        return cls(folder, new_project(folder / "project"), learned, reference)


def main(wanted: Sequence[str]) -> int:
    """All parts, or those that are named."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        desk = Desk.of(Path(folder))
        for name in wanted or PARTS:
            begun = time.perf_counter()
            print(f"-- {name}", flush=True)
            rows += PARTS[name](desk)
            print(f"   {time.perf_counter() - begun:.0f} s", flush=True)
            # After each part: what was measured is not lost with a later one.
            write("_".join(["monitor", *wanted]), rows)
    return 0 if all(one.holds for one in rows) else 1


def against_reading(desk: Desk, *, typed: bool) -> list[Row]:
    kind = "a column a feature" if typed else "features as JSON"
    file = desk.folder / "window.parquet"
    print(f"writing {ROWS:,} rows, {kind}", flush=True)
    write_rows(duckdb.connect(), file, ROWS, typed=typed)
    print(f"{file.stat().st_size / 2**30:.2f} GB of Parquet", flush=True)
    work = f"report on {ROWS:,} × {FEATURES}, {kind}; reading it once"
    found = compare(
        work,
        lambda: report_seconds(desk, file),
        lambda: read_seconds(file),
        aim=5.0,
        pairs=PAIRS,
        warmup=0,
    )
    file.unlink()
    return [found]


def against_evidently(desk: Desk) -> list[Row]:
    if fault := install("evidently"):
        print(f"Evidently cannot be installed: {fault.splitlines()[-1]}", flush=True)
        return []
    file = desk.folder / "sample.parquet"
    write_rows(duckdb.connect(), file, SAMPLE, typed=True)
    ours = statistics.median(report_seconds(desk, file) for _ in range(5))
    theirs = evidently_on(pq.read_table(desk.learned), pq.read_table(file))["seconds"]
    work = f"report on {SAMPLE:,} × {FEATURES}; Evidently's drift preset"
    return [row(work, ours, theirs, ours / theirs, 1 / 20)]


def report_seconds(desk: Desk, file: Path) -> float:
    """All kinds on a window that nothing is known of yet."""
    begun = time.perf_counter()
    look = Look(desk.project, None, FOUND, "", window_of_file(file), datetime.now(UTC))  # type: ignore[arg-type]
    look.__dict__["reference"] = desk.reference
    reports = [KINDS[kind](look) for kind in KEPT]
    seconds = time.perf_counter() - begun
    assert all(report.rows for report in reports), reports
    assert not any(report.found for report in reports), reports
    print(f"  a report took {seconds:.2f} s", flush=True)
    return seconds


def read_seconds(file: Path) -> float:
    """Every value of every column is read: text by its length, numbers by their sum."""
    begun = time.perf_counter()
    found = duckdb.connect().from_parquet(str(file))
    asked = [
        f"sum(strlen({name}))" if str(kind) == "VARCHAR" else f"count({name})"
        if str(kind).endswith("]") or "TIME" in str(kind) else f"sum({name})"
        for name, kind in zip(found.columns, found.types, strict=True)
    ]  # fmt: skip
    found.aggregate(", ".join(asked)).fetchall()
    seconds = time.perf_counter() - begun
    print(f"  reading took {seconds:.2f} s", flush=True)
    return seconds


def names() -> list[str]:
    return [f"f{place}" for place in range(FEATURES)]


def write_rows(
    connection: duckdb.DuckDBPyConnection, file: Path, rows: int, *, typed: bool
) -> None:
    """Numbers, every tenth feature with zeros, every fifth with few digits; answers of 0 to 1."""
    drawn = []
    for place, name in enumerate(names()):
        value = f"random() * {place + 1}"
        if place % 10 == 0:
            value = f"CASE WHEN random() < 0.5 THEN 0 ELSE {value} END"
        elif place % 5 == 0:
            value = f"round({value}, 1)"
        drawn.append(f"{value} AS {name}")
    table = f"SELECT {', '.join(drawn)}, random() AS {PREDICTION} FROM range({rows})"
    if typed:
        query = table
    else:
        packed = ", ".join(f"{name} := {name}" for name in names())
        query = (
            f"SELECT now() AS arrived_at, 'bench@1' AS model, 200::INT AS status, "
            f"to_json(struct_pack({packed}))::VARCHAR AS features, [{PREDICTION}] AS output, "
            f"'{{\"id\": ' || (random() * 1e9)::BIGINT || '}}' AS entities FROM ({table})"
        )
    connection.execute(f"COPY ({query}) TO '{file}' (FORMAT parquet, COMPRESSION zstd)")


def new_project(folder: Path) -> Project:
    folder.mkdir()
    (folder / "penstock.toml").write_text('[project]\nname = "bench"\n')
    return open_project(folder)


def gateway(_: Desk) -> list[Row]:
    import observing

    return observing.rows()


def parse(_: Desk) -> list[Row]:
    import airflow_parse

    return airflow_parse.rows()


def overhead(_: Desk) -> list[Row]:
    import airflow_overhead

    return airflow_overhead.rows()


PARTS: Mapping[str, Callable[[Desk], list[Row]]] = {
    "table": partial(against_reading, typed=True),
    "log": partial(against_reading, typed=False),
    "evidently": against_evidently,
    "gateway": gateway,
    "parse": parse,
    "overhead": overhead,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
