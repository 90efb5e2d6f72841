"""The runs of an experiment, read from the project's MLflow as it stands: its own or a server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from penstock.errors import DataError, UsageError
from penstock.gates.metrics import METRICS, SMALLER_IS_BETTER
from penstock.project import Project
from penstock.registry.client import open_client, translated
from penstock.training.comparison import Direction, ExperimentRun

PAGE = 200
LOOKED_THROUGH = 5_000  # runs, for one that goes by a beginning of its id
TRIALS = "search/trials.json"  # where the training step keeps its search


@dataclass(frozen=True)
class Trial:
    number: int
    value: float
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    step: int
    value: float


def list_runs(
    project: Project,
    *,
    limit: int,
    experiment: str | None = None,
    where: str = "",
    sort: str | None = None,
    directions: Mapping[str, Direction] | None = None,
) -> list[ExperimentRun]:
    """The latest runs, or the best by a metric; `where` is a filter in MLflow's language.

    Raises `DataError` for an experiment that is not there, and for a metric that no run has.
    """
    order = ["attributes.start_time DESC"]
    if sort is not None:
        lower = (directions or {}).get(sort) == "lower"
        order = [f"metrics.`{sort}` {'ASC' if lower else 'DESC'}", *order]
    runs = list(_runs(project, experiment, where, order, limit))
    if sort is not None:
        runs = [run for run in runs if sort in run.metrics]
        if not runs:
            raise DataError(
                f"no run has a metric {sort!r}",
                hint="`penstock experiments list --json` shows what the runs have",
            )
    return runs


def find_runs(
    project: Project, names: Sequence[str], experiment: str | None = None
) -> list[ExperimentRun]:
    """Runs by MLflow's id, a beginning of it, the id of Penstock's run, NAME@VERSION, or `last`.

    Raises `UsageError` for a name that fits none of the runs, or several.
    """
    found = [_find(project, name, experiment) for name in names]
    if len({run.id for run in found}) < len(found):
        raise UsageError("a run is named twice", hint="name different runs")
    return found


def directions(project: Project) -> dict[str, Direction]:
    """What is known of the metrics: by the gates of the project, and of Penstock's own."""
    own: dict[str, Direction] = {
        name: "lower" if name in SMALLER_IS_BETTER else "higher" for name in METRICS
    }
    gates = project.settings.gates
    for name, rule in {**gates.integration, **gates.model}.items():
        own[name] = "higher" if rule.op in (">", ">=") else "lower"
    return own


def metric_history(project: Project, run: ExperimentRun, metric: str) -> list[Point]:
    """All values that were logged of a metric, in order of step and time."""
    with translated():
        logged = open_client(project).get_metric_history(run.id, metric)
    ordered = sorted(logged, key=lambda m: (m.step, m.timestamp))
    return [Point(int(m.step), float(m.value)) for m in ordered]


def search_trials(project: Project, run: ExperimentRun) -> list[Trial]:
    """The trials of the search behind a run's model; none where it was made without."""
    with translated():
        client = open_client(project)
        if TRIALS not in {file.path for file in client.list_artifacts(run.id, "search")}:
            return []
        with TemporaryDirectory(prefix="penstock-") as folder:
            text = Path(client.download_artifacts(run.id, TRIALS, folder)).read_text()
    return [
        Trial(one.pop("trial"), float(one.pop("value")), one)
        for one in json.loads(text)
        if one.get("value") is not None
    ]


def _find(project: Project, name: str, experiment: str | None) -> ExperimentRun:
    if match := re.fullmatch(r"(.+)@(\d+)", name):
        return _of_model(project, match[1], int(match[2]))
    found = {}
    for run in _runs(project, experiment, "", ["attributes.start_time DESC"], LOOKED_THROUGH):
        own = run.tags.get("penstock.run", "")
        if name == "last" or name in (run.id, own, run.name):
            return run
        if name and (run.id.startswith(name) or own.startswith(name)):
            found[run.id] = run
    if len(found) == 1:
        return next(iter(found.values()))
    fault = f"fits {len(found)} runs" if found else "fits no run of the experiment"
    raise UsageError(
        f"{name!r} {fault}", hint="`penstock experiments list` shows the runs and their ids"
    )


def _of_model(project: Project, name: str, version: int) -> ExperimentRun:
    with translated():
        client = open_client(project)
        run_id = str(client.get_model_version(name, str(version)).run_id)
        return _as_ours(client.get_run(run_id))


def _runs(
    project: Project, experiment: str | None, where: str, order: list[str], limit: int
) -> Iterator[ExperimentRun]:
    """Page by page, so that a large experiment need not be held whole."""
    with translated():
        client, token, left = open_client(project), None, limit
        name = experiment or project.settings.project.name
        there = client.get_experiment_by_name(name)
        if there is None:
            raise DataError(
                f"MLflow has no experiment {name!r}",
                hint="`penstock run` makes it; --experiment NAME names another",
            )
        while left > 0:
            page = client.search_runs(
                [there.experiment_id],
                filter_string=where,
                max_results=min(left, PAGE),
                order_by=order,
                page_token=token,
            )
            for run in page:
                yield _as_ours(run)
            left, token = left - len(page), page.token
            if not token:
                return


def _as_ours(run: Any) -> ExperimentRun:
    begun, ended = run.info.start_time, run.info.end_time
    return ExperimentRun(
        id=str(run.info.run_id),
        name=str(run.info.run_name or ""),
        status=str(run.info.status),
        started=datetime.fromtimestamp(begun / 1000, UTC) if begun else None,
        seconds=(ended - begun) / 1000 if begun and ended else None,
        params=dict(run.data.params),
        metrics={name: float(value) for name, value in run.data.metrics.items()},
        tags=dict(run.data.tags),
    )
