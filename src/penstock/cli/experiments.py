"""`penstock experiments list|compare|plot`: the runs in MLflow, side by side and as pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, seconds, table
from penstock.errors import DataError, UsageError
from penstock.project import Project

if TYPE_CHECKING:
    from penstock.training.comparison import Comparison, ExperimentRun
    from penstock.training.experiment_plots import Picture

COLUMNS = 3  # parameters and metrics that a list shows of each run
PANELS = 6  # metrics that are drawn where none is named


def list_experiments(options: argparse.Namespace) -> int:
    from penstock.training.comparison import compare, run_as_json, shown
    from penstock.training.experiments import directions, list_runs

    project = project_of(options)
    known = directions(project)
    runs = list_runs(
        project,
        limit=_positive(options.limit),
        experiment=options.experiment,
        where=options.where,
        sort=options.sort,
        directions=known,
    )
    if options.json:
        print_json([run_as_json(run) for run in runs])
        return 0
    if not runs:
        print("no run fits; `penstock run` tracks one each time that it trains")
        return 0
    found = compare(runs, known)
    params = [row.name for row in found.differing().rows if row.kind == "param"][:COLUMNS]
    metrics = _main_metrics(project, found, options.sort)
    rows = [
        (
            run.short,
            run.name,
            moment(run.started),
            seconds(run.seconds),
            run.status.lower(),
            *(_short(run.params.get(name)) for name in params),
            *(shown(run.metrics.get(name)) for name in metrics),
        )
        for run in runs
    ]
    print(table(("run", "name", "started", "took", "status", *params, *metrics), rows))
    return 0


def compare_runs(options: argparse.Namespace) -> int:
    from penstock.digests import written_whole
    from penstock.training.comparison import as_csv, as_json, as_markdown, compare
    from penstock.training.experiments import directions, find_runs

    if len(options.run) < 2:
        raise UsageError("one run has nothing to be compared with", hint="name two or more")
    project = project_of(options)
    found = compare(find_runs(project, options.run, options.experiment), directions(project))
    chosen = found.differing() if options.differing else found
    form = "json" if options.json else options.format
    if form == "json" and options.output is None:
        print_json(as_json(chosen))
        return 0
    if form == "json":
        import json

        text = json.dumps(as_json(chosen), indent=2) + "\n"
    else:
        text = as_csv(chosen) if form == "csv" else as_markdown(chosen) + "\n"
    if options.output is None:
        print(text, end="")
        return 0
    with written_whole(Path(options.output)) as part:
        part.write_text(text, encoding="utf-8")
    print(f"→ {options.output}")
    return 0


def plot(options: argparse.Namespace) -> int:
    from penstock.training.comparison import compare
    from penstock.training.experiment_plots import FORMATS, write
    from penstock.training.experiments import directions, find_runs, list_runs

    file = Path(options.output)
    if file.suffix not in FORMATS:
        raise UsageError(
            f"{options.output!r} is no picture and no page", hint=f"end it in {', '.join(FORMATS)}"
        )
    project = project_of(options)
    if options.run:
        runs = find_runs(project, options.run, options.experiment)
    else:
        limit = _positive(options.limit)
        runs = list_runs(project, limit=limit, experiment=options.experiment)
    compared = compare(runs, directions(project))
    kinds = (options.kind,) if options.kind else ("parallel", "curves")
    if options.kind is None and file.suffix != ".html":
        kinds = ("parallel",)
    pictures = [p for kind in kinds if (p := _picture(kind, project, compared, options.metric))]
    if not pictures:
        raise DataError(
            "there is nothing to draw: no parameter or metric differs, and none has a history",
            hint="name other runs, or --metric",
        )
    write(file, pictures, compared)
    if options.json:
        print_json({"file": str(file), "runs": [run.id for run in runs],
                    "pictures": [picture.title for picture in pictures]})  # fmt: skip
    else:
        print(f"→ {file}")
    return 0


def _picture(
    kind: str, project: Project, compared: Comparison, metric: str | None
) -> Picture | None:
    if metric and not any(metric in run.metrics for run in compared.runs):
        known = sorted({name for run in compared.runs for name in run.metrics})
        raise UsageError(f"no run has a metric {metric!r}", hint=f"they have {', '.join(known)}")
    if kind == "curves":
        return _curves(project, compared.runs, metric)
    return _parallel(project, compared, metric)


def _parallel(project: Project, compared: Comparison, metric: str | None) -> Picture | None:
    """Of the runs; of one run alone, the trials of its search."""
    from penstock.training.experiment_plots import Line, parallel_coordinates

    if len(compared.runs) == 1:
        return _trials(project, compared.runs[0])
    params = [row.name for row in compared.differing().rows if row.kind == "param"]
    metrics = [metric] if metric else _main_metrics(project, compared, None)[:1]
    if not metrics:
        return None
    lines = [Line(run.short, {**run.params, **run.metrics}) for run in compared.runs]
    return parallel_coordinates(f"{len(lines)} runs", [*params, *metrics], lines)


def _trials(project: Project, run: ExperimentRun) -> Picture | None:
    from penstock.training.experiment_plots import Line, parallel_coordinates
    from penstock.training.experiments import search_trials

    trials = search_trials(project, run)
    if not trials:
        return None
    metric = project.settings.training.metric
    lines = [Line(str(t.number), {**t.params, metric: t.value}) for t in trials]
    axes = [*sorted({name for trial in trials for name in trial.params}), metric]
    return parallel_coordinates(f"{len(trials)} trials of {run.short}", axes, lines)


def _curves(project: Project, runs: Sequence[ExperimentRun], metric: str | None) -> Picture | None:
    """Of metrics that were logged more than once; where none was, of the searches."""
    from penstock.training.experiment_plots import Curve, curves
    from penstock.training.experiments import metric_history, search_trials

    panels: dict[str, list[Curve]] = {}
    names = [metric] if metric else sorted({name for run in runs for name in run.metrics})
    for name in names:
        for run in runs:
            points = metric_history(project, run, name) if name in run.metrics else []
            if len(points) > 1:
                drawn = [(float(point.step), point.value) for point in points]
                panels.setdefault(name, []).append(Curve(run.short, drawn))
        if len(panels) == PANELS:
            break
    if panels:
        return curves("Metrics by step", "step", panels)
    found = {run.short: search_trials(project, run) for run in runs} if not metric else {}
    searched = [
        Curve(name, [(float(t.number), t.value) for t in trials])
        for name, trials in found.items()
        if trials
    ]
    if not searched:
        return None
    return curves("Searches", "trial", {project.settings.training.metric: searched})


def _main_metrics(project: Project, found: Comparison, first: str | None) -> list[str]:
    """The few that a reader looks for: the one asked for, the search's metric, what differs."""
    names = [row.name for row in found.rows if row.kind == "metric"]
    differing = [row.name for row in found.differing().rows if row.kind == "metric"]
    metric = project.settings.training.metric
    wanted = [first or "", f"holdout_{metric}", f"validation_{metric}", metric, *differing, *names]
    return list(dict.fromkeys(name for name in wanted if name in names))[:COLUMNS]


def _short(param: str | None) -> str:
    """A parameter's value, a long number cut to six digits."""
    try:
        return f"{float(param or ''):.6g}"
    except ValueError:
        return param or ""


def _positive(limit: int) -> int:
    if limit < 1:
        raise UsageError(f"--limit is {limit}", hint="write 1 or more")
    return limit
