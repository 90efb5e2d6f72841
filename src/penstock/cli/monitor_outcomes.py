"""`penstock monitor performance|skew|freshness`: what became of what was predicted."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from penstock.cli.monitor import _version, _window, show
from penstock.cli.opening import project_of
from penstock.project import STAGING


def performance(options: argparse.Namespace) -> int:
    from penstock.monitoring.performance import Look
    from penstock.monitoring.performance import performance as looked
    from penstock.state.database import open_database

    project, now = project_of(options), datetime.now(UTC)
    endpoint = options.endpoint or STAGING
    window = _window(project, endpoint, options)
    found = _version(project, window, options)
    look = Look(
        project,
        open_database(project),
        endpoint,
        found,
        window.since or now,
        window.until or now,
        now,
        options.by or "",
    )
    return show([looked(look)], options)
