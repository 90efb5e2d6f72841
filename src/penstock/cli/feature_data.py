"""`penstock features history|materialize|push|skew`: rows out of and into the feature store."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from penstock.cli.opening import project_of
from penstock.cli.output import print_json, table
from penstock.cli.recording import recorded
from penstock.errors import UsageError
from penstock.setting_types import in_utc, parse_duration


def history(options: argparse.Namespace) -> int:
    from penstock.features.training_history import write_history

    project = project_of(options)
    written = write_history(project, _rows_or_query(options.rows), options.output, options.service)
    if options.json:
        print_json(written.model_dump(mode="json"))
    else:
        print(f"{written.rows:,} rows with {len(written.features)} features → {written.path}")
        print(f"digest {written.digest[:12]}, definitions {written.definitions[:12]}")
        for source in written.sources:
            if not source.digest:
                print(f"the content of source {source.name} is {source.of}")
    return 0


def materialize(options: argparse.Namespace) -> int:
    from penstock.features.backfill import backfill

    end = _time(options.end) if options.end else datetime.now(UTC)
    start = _time(options.start) if options.start else None
    every = _every(options.every) if options.every is not None else None
    project = project_of(options)
    done = backfill(
        project,
        start,
        end,
        every,
        options.view,
        again=options.force,
        quiet=options.json,
    )
    for view in sorted({interval.view for interval in done}):
        spans = [interval for interval in done if interval.view == view]
        recorded(
            project,
            "features.materialised",
            view,
            since=min(one.start for one in spans).isoformat(),
            until=max(one.end for one in spans).isoformat(),
        )
    if options.json:
        print_json([interval._asdict() for interval in done])
    else:
        print(f"{len(done)} intervals materialised" if done else "nothing to do: it is all there")
    return 0


def push(options: argparse.Namespace) -> int:
    from penstock.features.pushing import push_rows
    from penstock.frames.convert import read_rows

    project = project_of(options)
    count = push_rows(project, options.source, read_rows(Path(options.rows)))
    recorded(project, "features.pushed", options.source, rows=count)
    if options.json:
        print_json({"pushed": count})
    else:
        print(f"{count:,} rows of {options.source} count from now on")
    return 0


def show_skew(options: argparse.Namespace) -> int:
    from penstock.features.served_log import served_since
    from penstock.features.skew import skew
    from penstock.features.store import open_store, service_for

    project = project_of(options)
    store = open_store(project.root)
    service = service_for(store, project.settings, options.service)
    served = list(served_since(project.root, service.name, _since(options.since)))
    found = skew(store, service, served)
    differing = [one for one in found if one.differing]
    if options.json:
        print_json(
            {
                "vectors": len(served),
                "features": [
                    {**vars(one), "examples": [vars(e) for e in one.examples]} for one in found
                ],
            }
        )
    else:
        _print_skew(service.name, len(served), found)
    return 1 if differing else 0


def _print_skew(service: str, vectors: int, found: list[Any]) -> None:
    if not vectors:
        print(f"no vectors of {service} were served in that time; [features] log_served says how")
        print("many are logged")
        return
    print(f"{vectors:,} served vectors of {service}, computed again at the times they were asked")
    rows = [(one.feature, one.compared, one.differing) for one in found]
    print(table(("feature", "compared", "differing"), rows))
    for one in found:
        for example in one.examples:
            keys = ", ".join(f"{key}={value}" for key, value in example.keys.items())
            print(f"  {one.feature} of {keys} at {example.at:%Y-%m-%d %H:%M:%S}: served "
                  f"{example.served}, offline {example.offline}")  # fmt: skip


def _rows_or_query(text: str) -> Any:
    """A file's rows, or a query."""
    from penstock.frames.convert import read_rows

    if not text.strip():
        raise UsageError(
            "neither a file nor a query is given for the rows",
            hint="name a Parquet or CSV file with keys and event_timestamp, or write a SELECT",
        )
    path = Path(text)
    return read_rows(path) if path.suffix in (".parquet", ".csv") else text


def _time(text: str) -> datetime:
    try:
        return in_utc(datetime.fromisoformat(text))
    except ValueError:
        raise UsageError(f"{text!r} is no time", hint="write 2026-03-01 or an ISO 8601") from None


def _span(text: str) -> timedelta:
    try:
        span: timedelta = parse_duration(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(str(error), hint='write "7d", "12h" or "30m"') from None
    return span


def _every(text: str) -> timedelta:
    """The length of an interval."""
    span = _span(text)
    if not span:
        raise UsageError(f"intervals of {text!r} have no length", hint='write "7d", "12h" or "30m"')
    return span


def _since(text: str) -> datetime:
    """A time, or a span before now."""
    try:
        return datetime.now(UTC) - _span(text)
    except OverflowError:
        raise UsageError(
            f"{text!r} is before all time", hint='write "7d", "12h" or a time'
        ) from None
    except UsageError:
        return _time(text)
