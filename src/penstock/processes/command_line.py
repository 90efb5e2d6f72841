"""Penstock's own commands, for whoever starts one in a process of its own."""

from __future__ import annotations

import sys

from penstock.project import Project


def penstock(command: str, project: Project) -> list[str]:
    """A command for a project and environment, as a command line."""
    at = ["--project", str(project.root), "--environment", project.environment]
    return [sys.executable, "-m", "penstock", *command.split(), *at]
