"""Opens the project that a command is about."""

from __future__ import annotations

import argparse
from pathlib import Path

from penstock.project import Project, open_project


def project_of(options: argparse.Namespace) -> Project:
    return open_project(Path(options.project) if options.project else None, options.environment)
