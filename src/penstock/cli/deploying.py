"""What `penstock init --deploy` writes."""

from __future__ import annotations

from penstock.project import Project

RULES = "deploy/prometheus/rules.yml"


def write_deployment(project: Project) -> list[str]:
    """The files' paths in the project. Raises `UsageError` where others are in their place.

    The rules follow the settings, and are written anew.
    """
    from penstock.cli.alerts_rules import write_rules
    from penstock.cli.table import COMMANDS
    from penstock.services.deployment import deployment, write

    files = deployment(project, {command.name for command in COMMANDS})
    write(project, files)
    tests, _ = write_rules(project.settings, project.root / RULES)
    return sorted((*files, RULES, tests.relative_to(project.root).as_posix()))
