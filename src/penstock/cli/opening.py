"""Opens the project that a command is about, and reads what is typed with it."""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path

from penstock.errors import UsageError
from penstock.project import Project, open_project


def project_of(options: argparse.Namespace) -> Project:
    return open_project(Path(options.project) if options.project else None, options.environment)


def span_of(option: str, text: str) -> timedelta:
    """Raises `UsageError` for what is no span of time."""
    from penstock.setting_types import parse_duration

    try:
        span = parse_duration(text)
    except (ValueError, OverflowError):
        span = text
    if not isinstance(span, timedelta):
        raise UsageError(f"{option} {text!r} is no span of time", hint="write 30m, 4h or 2d")
    return span
