"""`make bench-monitor`: a full report of a window, against reading its Parquet once with DuckDB.

The window is what a compacted prediction log holds: answers with their features as text of JSON.
A full report is data, features and predictions. Beside it, the same rows as a table with a column
a feature; and Evidently's data drift preset on a sample, with what our report takes on it.

BENCH_MONITOR_ROWS (default 10000000), BENCH_MONITOR_FEATURES (50), BENCH_MONITOR_SAMPLE (100000).
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from datetime import UTC, datetime
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
SAMPLE = int(os.environ.get("BENCH_MONITOR_SAMPLE", "100000"))
REFERENCE = 100_000  # rows of the reference
KEPT = ("data", "features", "predictions")
FOUND = Found("bench", 1, "", "", (), {}, 0)


def main() -> int:
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as desk:
        folder = Path(desk)
        project = new_project(folder / "project")
        connection = duckdb.connect()
        learned = folder / "learned.parquet"
        write_rows(connection, learned, REFERENCE, typed=True)
        columns = profiled(connection.from_parquet(str(learned)), [*names(), PREDICTION])
        reference = Profile(rows=REFERENCE, columns=columns[:-1], prediction=columns[-1])
        rows = []
        for typed in (False, True):
            file = folder / f"{'table' if typed else 'log'}.parquet"
            write_rows(connection, file, ROWS, typed=typed)
            rows.append(against_reading(project, reference, file, typed=typed))
            file.unlink()
        rows += against_evidently(project, reference, learned, folder)
    write("monitor", rows)
    return 0 if all(one.holds for one in rows) else 1


def against_reading(project: Project, reference: Profile, file: Path, *, typed: bool) -> Row:
    kind = "a column a feature" if typed else "features as JSON"
    size = file.stat().st_size / 2**30
    print(f"{ROWS:,} rows, {kind}: {size:.2f} GB of Parquet", flush=True)
    work = f"report on {ROWS:,} × {FEATURES}, {kind}; reading it once"
    return compare(
        work,
        lambda: report_seconds(project, reference, file),
        lambda: read_seconds(file),
        aim=5.0,
        pairs=3,
        warmup=0,
    )


def against_evidently(
    project: Project, reference: Profile, learned: Path, folder: Path
) -> list[Row]:
    if fault := install("evidently"):
        print(f"Evidently cannot be installed: {fault.splitlines()[-1]}", flush=True)
        return []
    file = folder / "sample.parquet"
    write_rows(duckdb.connect(), file, SAMPLE, typed=True)
    ours = report_seconds(project, reference, file)
    theirs = evidently_on(pq.read_table(learned), pq.read_table(file))["seconds"]
    work = f"report on {SAMPLE:,} × {FEATURES}; Evidently's drift preset"
    return [row(work, ours, theirs, ours / theirs, 1 / 20)]


def report_seconds(project: Project, reference: Profile, file: Path) -> float:
    """All kinds on a window that nothing is known of yet."""
    begun = time.perf_counter()
    look = Look(project, None, FOUND, "", window_of_file(file), datetime.now(UTC))  # type: ignore[arg-type]
    look.__dict__["reference"] = reference
    reports = [KINDS[kind](look) for kind in KEPT]
    seconds = time.perf_counter() - begun
    assert all(report.rows for report in reports), reports
    assert not any(report.found for report in reports), reports
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
    return time.perf_counter() - begun


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


if __name__ == "__main__":
    sys.exit(main())
