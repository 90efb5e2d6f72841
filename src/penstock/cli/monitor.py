"""`penstock monitor KIND`: whether the world still is what the model learned."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, table
from penstock.errors import UsageError
from penstock.project import STAGING, Project

if TYPE_CHECKING:
    from penstock.monitoring.looking import Sight
    from penstock.monitoring.report import Measure, Report
    from penstock.monitoring.window import Window
    from penstock.registry.versions import Found

MARKS = {"found": "✗", "error": "!", "insufficient": "?", "fine": "✓"}  # worst first


def features(options: argparse.Namespace) -> int:
    from penstock.monitoring.looking import features_report

    project = project_of(options)
    seen = sight(project, options)
    return show([features_report(seen, project.settings.monitoring, datetime.now(UTC))], options)


def predictions(options: argparse.Namespace) -> int:
    from penstock.monitoring.looking import predictions_report

    project = project_of(options)
    seen = sight(project, options)
    return show([predictions_report(seen, project.settings.monitoring, datetime.now(UTC))], options)


def sight(project: Project, options: argparse.Namespace) -> Sight:
    """The window that the options name, in the shape of its model's reference."""
    from penstock.monitoring.looking import sight_of

    endpoint = options.endpoint or STAGING
    window = _window(project, endpoint, options)
    return sight_of(project, _version(project, window, options), endpoint, window)


def show(reports: list[Report], options: argparse.Namespace) -> int:
    """Exit status 3 where something was found, so that scripts can act on it."""
    if options.json:
        print_json([as_json(one) for one in reports])
    else:
        print("\n\n".join(_text(one) for one in reports))
    return 3 if any(one.found for one in reports) else 0


def as_json(report: Report) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(report)


def _window(project: Project, endpoint: str, options: argparse.Namespace) -> Window:
    from penstock.cli.predictions import since_of
    from penstock.monitoring.window import window_of_file, window_of_log

    if options.rows:
        return window_of_file(Path(options.rows))
    until = since_of(options.until) if options.until else datetime.now(UTC)
    span = project.settings.monitoring.window
    since = since_of(options.since) if options.since else until - span
    if since >= until:
        raise UsageError(
            f"the window from {moment(since)} to {moment(until)} is empty",
            hint="--since is the earlier one",
        )
    return window_of_log(project, endpoint, since, until)


def _version(project: Project, window: Window, options: argparse.Namespace) -> Found:
    """The one asked for; else the one that answered last; else the newest there is."""
    from penstock.registry.versions import find, versions
    from penstock.rollout.candidate import version_of

    if options.model:
        return version_of(project, options.model)
    if names := window.models():
        return find(project, int(names[0].rpartition("@")[2]))
    known = versions(project)
    if not known:
        raise UsageError(
            f"{project.settings.model_name} has no version yet", hint="`penstock run` makes one"
        )
    return known[0]


def _text(report: Report) -> str:
    window = f"{moment(report.since)} to {moment(report.until)}" if report.since else "all of it"
    head = f"{report.kind} of {report.model}: {report.rows:,} rows, {report.source}, {window}"
    order = list(MARKS)
    measures = sorted(report.measures, key=lambda one: (order.index(one.verdict), -_weight(one)))
    rows = [(MARKS[one.verdict], one.name, one.subject, one.reason) for one in measures]
    return f"{head}\n{table(('', 'measure', 'of', 'finding'), rows)}"


def _weight(measure: Measure) -> float:
    return measure.value or 0.0
