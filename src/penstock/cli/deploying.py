"""What `penstock init --deploy` writes."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from penstock.project import Project

RULES = "deploy/prometheus/rules.yml"
NO_RULES = "groups: []\n"


def write_deployment(project: Project) -> list[str]:
    """The files' paths in the project. Raises `UsageError` where others are in their place."""
    from penstock.cli.table import COMMANDS
    from penstock.services.deployment import deployment, write

    commands = {command.name for command in COMMANDS}
    files = deployment(project, commands)
    write(project, files)
    rules = project.root / RULES
    if "alerts rules" in commands:
        _write_rules(project, rules)
    elif not rules.exists():
        rules.write_text(NO_RULES, encoding="utf-8")
    return sorted((*files, RULES))


def _write_rules(project: Project, file: Path) -> None:
    from penstock.cli.main import run

    at = ["--project", str(project.root), "--environment", project.environment]
    with contextlib.redirect_stdout(io.StringIO()):
        run(["alerts", "rules", "--prometheus", str(file), *at])
