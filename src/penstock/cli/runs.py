"""`penstock runs list` and `penstock runs show`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from penstock.cli.opening import project_of
from penstock.cli.output import MARKS, moment, print_json, seconds, table
from penstock.cli.sentences import sentence
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.state.runs import RunRow

SHOWN = 60  # characters of a text in a table


def list_runs(options: argparse.Namespace) -> int:
    from penstock.state.database import open_database
    from penstock.state.runs import Runs

    found = Runs(open_database(project_of(options))).list(options.limit)
    if options.json:
        print_json([asdict(run) for run in found])
    elif not found:
        print("no runs yet; start one with `penstock run`")
    else:
        rows = [
            (
                run.id,
                f"{MARKS[run.status]} {run.status}",
                run.orchestrator,
                run.environment,
                moment(run.started_at),
                shortened(why_of(run)),
                shortened(run.error["message"]) if run.error else "",
            )
            for run in found
        ]
        print(table(("run", "status", "by", "environment", "started", "because of", "error"), rows))
    return 0


def why_of(run: RunRow) -> str:
    """What started a run; empty where somebody typed it, and said no more."""
    return ": ".join(filter(None, (run.trigger, run.reason)))


def shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def show_run(options: argparse.Namespace) -> int:
    from penstock.records import from_json
    from penstock.state.database import open_database
    from penstock.state.runs import Runs

    project = project_of(options)
    runs = Runs(open_database(project))
    latest = runs.list(1) if options.run == "last" else []
    run = runs.get(latest[0].id if latest else options.run)
    if run is None:
        raise UsageError(
            f"no run, or more than one, begins with {options.run!r}",
            hint="see `penstock runs list`",
        )
    if options.json:
        print_json(asdict(run))
        return 0
    print(f"run {run.id}: {run.status}, {run.orchestrator}, {run.environment}")
    if because := why_of(run):
        print(f"because of {because}")
    print(f"started {moment(run.started_at)}, ended {moment(run.finished_at) or '–'}")
    width = max((len(step.step) for step in run.steps), default=0)
    for step in run.steps:
        took = "cached" if step.status == "cached" else seconds(step.seconds)
        said = sentence(from_json(step.record)) if step.record else ""
        print(f"{MARKS[step.status]} {step.step.ljust(width)}  {took.rjust(8)}  {said}".rstrip())
        if step.error:
            print(f"    {step.error['message']}")
            if step.error["hint"]:
                print(f"    → {step.error['hint']}")
    logs = project.folder / "runs" / run.id
    if logs.is_dir():
        print(f"logs: {logs}")
    return 0
