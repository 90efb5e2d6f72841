"""`penstock load`: load on an endpoint of this machine, and what its clients would see."""

from __future__ import annotations

import argparse
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from penstock.cli.opening import project_of
from penstock.cli.output import print_json, table
from penstock.errors import ServingError, UsageError
from penstock.project import Project
from penstock.setting_types import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.gates.load.plan import LoadPlan
    from penstock.gates.load.questions import Interface, Questions
    from penstock.gates.load.report import LoadReport
    from penstock.gates.load.tally import Seen

TIMEOUT = 10.0  # seconds, to say what it takes
DEFAULT_DURATION = timedelta(seconds=10)
SEED = 1  # of made-up rows where there is no project


@dataclass(frozen=True)
class Target:
    """Who is asked."""

    url: str  # without a path
    path: str = ""  # empty: the protocol's
    project: Project | None = None
    certificate: str = ""


def load(options: argparse.Namespace) -> int:
    from penstock.gates.load.report import report_of, write_files
    from penstock.gates.load.run import run

    target = _target(options)
    questions, source = _questions(options, target)
    plan = _plan(options, target, questions)
    began = datetime.now(UTC)
    with _progress(plan, options) as show:
        report = report_of(plan, began, run(plan, show, stop_on_interrupt=True))
    files = write_files(report, Path(options.output)) if options.output else ()
    if options.json:
        asked = {"protocol": options.protocol, "questions": source}
        print_json({**asked, **report.plain(), "files": [str(file) for file in files]})
    else:
        _print(report, source, files)
    return 0 if report.answers else 1


# What to ask.


def _target(options: argparse.Namespace) -> Target:
    if options.url:
        from penstock.gates.load.plan import LoadPlan

        LoadPlan(options.url, (b"",), owned=options.i_own_this_host)  # refuses before it is asked
        parts = urlsplit(options.url)
        return Target(f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/"))
    from penstock.gates.load.plan import LoadPlan
    from penstock.serving.endpoint import status

    project = project_of(options)
    running = status(project.endpoint(options.endpoint))
    if not running.live:
        raise ServingError(
            f"the endpoint {options.endpoint} is not running",
            hint="`penstock run` or `penstock serve` starts it; --url asks another server",
        )
    LoadPlan(running.url, (b"",), owned=options.i_own_this_host)
    return Target(running.url, "", project, project.settings.serving.tls_certificate)


def _plan(options: argparse.Namespace, target: Target, questions: Questions) -> LoadPlan:
    from penstock.gates.load.plan import LONGEST, LoadPlan

    duration = DEFAULT_DURATION if options.requests is None else LONGEST
    if options.duration:
        try:
            duration = parse_duration(options.duration)
        except ValueError as error:
            raise UsageError(f"--duration: {error}") from None
    return LoadPlan(
        target.url + (target.path or questions.path),
        questions.bodies,
        connections=options.connections,
        duration=duration,
        requests=options.requests,
        rate=options.rate,
        headers=tuple(_header(text) for text in options.header or ()),
        processes=options.processes,
        certificate=target.certificate,
        owned=options.i_own_this_host,
    )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise UsageError(f"{text!r} is no header", hint="write --header 'X-User: {n}'")
    return name.strip(), value.strip()


def _questions(options: argparse.Namespace, target: Target) -> tuple[Questions, str]:
    """What is asked, and where it is from."""
    from penstock.gates.load import questions as made

    if options.rows and options.entities:
        raise UsageError("give either --rows or --entities, not both")
    if options.entities:
        if options.protocol != "predict":
            raise UsageError(f"{options.protocol} takes rows only", hint="use --protocol predict")
        entities = _some(made.rows_in(Path(options.entities)), options.entities)
        return made.of_entities(entities), f"{len(entities):,} entities of {options.entities}"
    if options.rows:
        rows = _some(made.rows_in(Path(options.rows)), options.rows)
        return _of_rows(options, target, rows), f"{len(rows):,} rows of {options.rows}"
    takes = made.interface_of(_get(target, "/openapi.json"))
    found = _held_out(options, target.project, takes) if target.project else None
    if found is not None:
        entities, rows = found
        if entities:
            return made.of_entities(entities), f"{len(entities):,} held-out entities"
        return _of_rows(options, target, rows, takes), f"{len(rows):,} held-out rows"
    rows = made.made_up(takes, target.project.seed if target.project else SEED)
    return _of_rows(options, target, rows, takes), f"{len(rows):,} rows made up from its schema"


def _held_out(
    options: argparse.Namespace, project: Project, takes: Interface
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]] | None:
    """Entities, or rows, of the training set; None where it does not fit what is served."""
    from penstock.gates.load.questions import held_out, keys_of, records_of, rows_of
    from penstock.records import FeatureSet, TrainedModel, from_json
    from penstock.state.cache import StepCache
    from penstock.state.database import open_database

    cache = StepCache(open_database(project))
    entries = [cache.latest(step) for step in ("feature_engineering", "train_model")]
    features, trained = (None if entry is None else from_json(entry.record) for entry in entries)
    if not isinstance(features, FeatureSet) or not isinstance(trained, TrainedModel):
        return None
    if {column.name for column in features.features} != set(takes.features):
        return None
    if not project.absolute(features.path).is_file():
        return None
    sample = held_out(project, features, trained)
    if not len(sample):
        return None
    if options.protocol == "predict" and takes.entities:
        return records_of(keys_of(features, sample)), []
    return [], rows_of(features, sample)


def _of_rows(
    options: argparse.Namespace,
    target: Target,
    rows: list[dict[str, Any]],
    takes: Interface | None = None,
) -> Questions:
    from penstock.gates.load.questions import interface_of, of_rows

    if options.protocol != "v2":
        return of_rows(options.protocol, rows)
    takes = takes or interface_of(_get(target, "/openapi.json"))
    said = _get(target, f"/v2/models/{quote(takes.model, safe='')}")
    datatypes = {one["name"]: one["datatype"] for one in said["inputs"]}
    return of_rows("v2", rows, takes.model, datatypes)


def _some(rows: list[dict[str, Any]], file: str) -> list[dict[str, Any]]:
    if not rows:
        raise UsageError(f"{file} holds no rows")
    return rows


def _get(target: Target, path: str) -> Any:
    url = target.url + path
    try:
        context = ssl.create_default_context() if url.startswith("https:") else None
        if context is not None and target.certificate:
            context.load_verify_locations(target.certificate)
            context.check_hostname = False
        with urllib.request.urlopen(url, timeout=TIMEOUT, context=context) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise ServingError(
            f"{url} answered {error.code}", hint="give the rows to ask with --rows FILE"
        ) from error
    except (OSError, ValueError) as error:
        raise ServingError(f"{url} did not say what it takes: {error}") from error


# What is seen of it.


@contextmanager
def _progress(
    plan: LoadPlan, options: argparse.Namespace
) -> Iterator[Callable[[Seen], None] | None]:
    """A bar on a terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False)
    if options.json or not console.is_terminal:
        yield None
        return
    columns = (BarColumn(bar_width=24), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("connecting", total=1.0)

        def show(seen: Seen) -> None:
            asked = seen.answers + seen.errors
            share = seen.seconds / plan.duration.total_seconds()
            if plan.requests is not None:
                share = max(share, asked / plan.requests)
            rate = seen.answers / max(seen.seconds, 1e-9)
            text = f"{seen.answers:,} answers, {rate:,.0f}/s, {seen.errors:,} errors"
            bar.update(task, completed=min(share, 1.0), description=text, refresh=True)

        yield show


def _print(report: LoadReport, source: str, files: tuple[Path, ...]) -> None:
    plan = report.plan
    loop = "each as fast as it is answered" if plan.rate is None else f"{plan.rate:,.6g} a second"
    print(f"POST {plan.url}: {source}, {plan.connections} connections, {loop}")
    errors = f"{report.errors:,} errors ({report.error_rate:.2%})" if report.errors else "no errors"
    print(
        f"{report.requests:,} requests in {report.seconds:.1f} s, "
        f"{report.requests_per_second:,.0f} answers/s, {errors}"
        + (" (stopped)" if report.stopped else "")
    )
    if report.answers:
        found = {name: value for name, value in report.latency_ms().items() if value is not None}
        cells = [f"{value:.3f}" if value < 100 else f"{value:.1f}" for value in found.values()]
        print()
        print(table(("latency", *found), [("ms", *cells)]))
    if report.errors:
        _print_errors(report)
    if report.unsent:
        print(
            f"\n{report.unsent:,} requests were due and not sent: all connections were waiting; "
            f"the endpoint does not keep up with {plan.rate:,.6g} a second"
        )
    if files:
        print()
        print("\n".join(f"→ {file}" for file in files))


def _print_errors(report: LoadReport) -> None:
    counted = {f"HTTP {status}": count for status, count in report.statuses.items()}
    counted |= report.failures
    worst = sorted(counted.items(), key=lambda item: -item[1])
    print()
    print(table(("errors", "requests"), [(name, f"{count:,}") for name, count in worst]))
    print(f"first: {report.examples[0]}")
    if 401 in report.statuses:
        print("  → give a key with --header 'Authorization: Bearer TOKEN'")
