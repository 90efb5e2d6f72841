"""Opens the project that a command is about, and reads what is typed with it."""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from pathlib import Path

from penstock.errors import SettingsError, UsageError
from penstock.project import Project, bare_project, open_project


def project_of(options: argparse.Namespace) -> Project:
    return open_project(_folder(options), options.environment)


def project_whatever_it_says(options: argparse.Namespace) -> Project:
    """With default settings where its own cannot be read, which is said."""
    try:
        return project_of(options)
    except SettingsError as error:
        print(f"not read: {error.message}", file=sys.stderr)
        return bare_project(_folder(options), options.environment)


def _folder(options: argparse.Namespace) -> Path | None:
    return Path(options.project) if options.project else None


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
