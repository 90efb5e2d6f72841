"""`penstock predictions list|show|export`: what an endpoint answered, from its log."""

from __future__ import annotations

import argparse
import contextlib
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, table
from penstock.errors import UsageError
from penstock.project import STAGING, Project
from penstock.setting_types import in_utc, parse_duration

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

    from penstock.serving.prediction_log.reading import Selection

TIMES = ("parse", "features", "queue", "model", "total")


def list_predictions(options: argparse.Namespace) -> int:
    from penstock.serving.prediction_log.reading import answer, records

    endpoint, selection = _selection(options)
    folder = project_of(options).endpoint(endpoint) / "predictions"
    latest = "arrived_at DESC, prediction_id, row_index"
    found = answer(
        [folder], selection, lambda rows: records(rows.order(latest).limit(options.limit))
    )
    if options.json:
        print_json(found)
    elif not found:
        print(f"{endpoint} has answered nothing in that time")
    else:
        rows = [
            (
                moment(row["arrived_at"]),
                _name(row),
                row["release"],
                row["model"],
                row["arm"],
                _output(row["output"]),
                _ms(row["total_us"]),
                f"{row['status']} {row['error']}".rstrip(),
            )
            for row in found
        ]
        heads = ("time", "prediction", "release", "model", "arm", "output", "took", "status")
        print(table(heads, rows))
    return 0


def show_prediction(options: argparse.Namespace) -> int:
    found = rows_of_prediction(project_of(options), options.id, options.endpoint)
    if options.json:
        print_json(found)
        return 0
    _print_request(found[0])
    for row in found:
        _print_row(row)
    if left_out := found[0]["rows_left_out"]:
        print(f"{left_out:,} more rows of this request were not logged")
    return 0


def rows_of_prediction(project: Project, name: str, endpoint: str | None) -> list[dict[str, Any]]:
    """The logged rows of a prediction, one at least; of any endpoint unless one is given.

    Raises `UsageError` where none is logged.
    """
    from penstock.serving.prediction_log.finding import rows_of

    names = [endpoint] if endpoint else project.endpoints
    found = rows_of([project.endpoint(one) / "predictions" for one in names], name)
    if not found:
        raise UsageError(
            f"no prediction {name!r} is logged" + (f" at {', '.join(names)}" if names else ""),
            hint="see `penstock predictions list`; old ones may have been deleted",
        )
    return found


def export_predictions(options: argparse.Namespace) -> int:
    from penstock.digests import written_whole
    from penstock.serving.prediction_log.reading import answer

    target = Path(options.output)
    if target.suffix not in (".parquet", ".csv"):
        raise UsageError(
            f"{target} is neither Parquet nor CSV", hint="end the name in .parquet or .csv"
        )
    endpoint, selection = _selection(options)
    folder = project_of(options).endpoint(endpoint) / "predictions"
    with written_whole(target) as part:
        answer([folder], selection, partial(_write, part, target.suffix))
    count = _count(target)
    if options.json:
        print_json({"endpoint": endpoint, "rows": count, "path": str(target)})
    else:
        print(f"{count:,} rows of {endpoint} → {target}")
    return 0


def _write(part: Path, suffix: str, found: DuckDBPyRelation) -> None:
    rows = found.order("arrived_at, prediction_id, row_index")
    if suffix == ".csv":
        rows.write_csv(str(part))
    else:
        rows.write_parquet(str(part), compression="zstd")


def _selection(options: argparse.Namespace) -> tuple[str, Selection]:
    from penstock.serving.prediction_log.reading import Selection

    since = since_of(options.since) if options.since else None
    return options.endpoint or STAGING, Selection(since=since, release=options.release or "")


def since_of(text: str) -> datetime:
    """A time, or a span before now."""
    with contextlib.suppress(ValueError):
        span: timedelta = parse_duration(text)
        return datetime.now(UTC) - span
    try:
        return in_utc(datetime.fromisoformat(text))
    except ValueError:
        raise UsageError(
            f"{text!r} is neither a time nor a span", hint='write "2h", "7d" or an ISO 8601 time'
        ) from None


def _count(file: Path) -> int:
    import duckdb

    read = "read_csv" if file.suffix == ".csv" else "read_parquet"
    found = duckdb.connect().execute(f"SELECT count(*) FROM {read}($1)", [str(file)]).fetchone()
    return int(found[0]) if found else 0


def _name(row: dict[str, Any]) -> str:
    return (
        f"{row['prediction_id']} #{row['row_index']}"
        if row["request_rows"] > 1
        else str(row["prediction_id"])
    )


def _print_request(row: dict[str, Any]) -> None:
    print(f"prediction {row['prediction_id']} of {row['arrived_at']:%Y-%m-%d %H:%M:%S.%f} UTC")
    print(f"endpoint {row['endpoint']}, release {row['release'] or '–'}, arm {row['arm'] or '–'}")
    print(f"model {row['model'] or '–'}, digest {row['model_digest'][:12] or '–'}")
    print(f"unit {row['unit'] or '–'}, request digest {row['request_digest'][:12] or '–'}")
    print(f"status {row['status']} {row['error']}".rstrip())
    print(", ".join(f"{name} {_ms(row[f'{name}_us'])}" for name in TIMES))


def _print_row(row: dict[str, Any]) -> None:
    if row["request_rows"] > 1:
        print(f"row {row['row_index']}")
    if row["entities"]:
        print("  " + ", ".join(f"{key}={value}" for key, value in row["entities"].items()))
    for name, value in (row["features"] or {}).items():
        print(f"  {name} = {'missing' if value is None else value}")
    for view, at in (row["event_times"] or {}).items():
        print(f"  newest event of {view}: {at or 'none'}")
    if row["output"] is not None:
        print(f"  → {_output(row['output'])}")


def _output(values: list[float | None] | None) -> str:
    return ", ".join("nan" if value is None else f"{value:.6g}" for value in values or ())


def _ms(microseconds: int) -> str:
    return f"{microseconds / 1000:.2f} ms"
