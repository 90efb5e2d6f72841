"""`penstock monitor KIND`: whether the world still is what the model learned."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.cli.monitor_view import text_of
from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json
from penstock.errors import UsageError
from penstock.project import STAGING, Project

if TYPE_CHECKING:
    from penstock.monitoring.looking import Look
    from penstock.monitoring.report import Report
    from penstock.monitoring.window import Window
    from penstock.registry.versions import Found

FOUND = 3  # the exit status, so that scripts can act on it


def data(options: argparse.Namespace) -> int:
    return look_at(["data"], options)


def features(options: argparse.Namespace) -> int:
    return look_at(["features"], options)


def predictions(options: argparse.Namespace) -> int:
    return look_at(["predictions"], options)


def performance(options: argparse.Namespace) -> int:
    return look_at(["performance"], options)


def skew(options: argparse.Namespace) -> int:
    return look_at(["skew"], options)


def freshness(options: argparse.Namespace) -> int:
    return look_at(["freshness"], options)


def all_kinds(options: argparse.Namespace) -> int:
    from penstock.monitoring.looking import KINDS

    return look_at(list(KINDS), options)


def look_at(kinds: Sequence[str], options: argparse.Namespace) -> int:
    from penstock.monitoring.history import as_json
    from penstock.monitoring.looking import looked

    look = look_of(options)
    reports = looked(look, kinds)
    if options.html:
        _write_page(Path(options.html), look, reports)
    if options.json:
        print_json([as_json(one) for one in reports])
    else:
        print("\n\n".join(text_of(one) for one in reports))
        if options.html:
            print(f"\n→ {options.html}")
    return FOUND if any(one.found for one in reports) else 0


def look_of(options: argparse.Namespace) -> Look:
    """What the options name; without any, the latest window of what is served in staging."""
    from penstock.cli.predictions import since_of
    from penstock.monitoring.looking import Look
    from penstock.state.database import open_database

    if options.at and (options.since or options.until or options.live):
        raise UsageError(
            "--at is the end of a window of its own", hint="leave out --since, --until and --live"
        )
    project = project_of(options)
    now = since_of(options.at) if options.at else datetime.now(UTC)
    endpoint = options.endpoint or STAGING
    window = _window(project, endpoint, options, now)
    chosen = options.rows or options.since or options.until or options.live
    look = Look(
        project=project,
        engine=open_database(project),
        found=_version(project, window, options.model),
        endpoint=options.endpoint or "" if options.rows else endpoint,
        window=window,
        now=now,
        regular=bool(options.at) or not chosen,
        by=getattr(options, "by", None) or "",
    )
    return _live(look) if options.live else look


def _live(look: Look) -> Look:
    from penstock.monitoring.live import LiveLook

    if look.window.since is None:
        raise UsageError("--live and --rows are two places to look at", hint="name one")
    return LiveLook(**vars(look))


def _window(project: Project, endpoint: str, options: argparse.Namespace, now: datetime) -> Window:
    from penstock.cli.predictions import since_of
    from penstock.monitoring.window import window_of_file, window_of_log

    if options.rows:
        found = window_of_file(Path(options.rows))
        since = now - project.settings.monitoring.window
        return replace(found, since=since, until=now) if options.at else found
    if options.endpoint and options.endpoint not in project.endpoints:
        known = ", ".join(project.endpoints) or "none"
        raise UsageError(f"no endpoint is called {endpoint!r}", hint=f"there are: {known}")
    until = since_of(options.until) if options.until else now
    since = since_of(options.since) if options.since else until - project.settings.monitoring.window
    if since >= until:
        raise UsageError(
            f"the window from {moment(since)} to {moment(until)} is empty",
            hint="--since is the earlier one",
        )
    return window_of_log(project, endpoint, since, until)


def _version(project: Project, window: Window, named: str | None) -> Found:
    """The one asked for; else the one that answered last; else the newest there is."""
    from penstock.registry.versions import find, versions
    from penstock.rollout.candidate import version_of

    if named:
        return version_of(project, named)
    if names := window.models():
        return find(project, int(names[0].rpartition("@")[2]))
    if known := versions(project):
        return known[0]
    raise UsageError(
        f"{project.settings.model_name} has no version yet", hint="`penstock run` makes one"
    )


def _write_page(file: Path, look: Look, reports: Sequence[Report]) -> None:
    from penstock.digests import written_whole
    from penstock.monitoring.history import earlier
    from penstock.monitoring.html import page

    since, model = look.window.since, look.found.label
    before = earlier(look.engine, "performance", model, look.endpoint, since) if since else []
    text = page(look.reference, look.columns, reports, before[::-1])
    with written_whole(file) as part:
        part.write_text(text, encoding="utf-8")
