"""Files that keep the services alive on a server: systemd units, and a Compose file."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from string import Template

from penstock import __version__, templates
from penstock.digests import written_whole
from penstock.errors import UsageError
from penstock.project import PRODUCTION, STAGING, Project
from penstock.services.roster import Service, roster

FOLDER = "deploy"
TEMPLATES = Path(templates.__file__).parent / FOLDER
COPIED = (
    "compose.yaml",
    "Dockerfile",
    "prometheus/prometheus.yml",
    "alertmanager.yml",
    ".env.example",
)
# Never committed, nor sent to whoever builds the image.
SECRETS = (".env", "alertmanager.key")


def deployment(project: Project, commands: Collection[str]) -> dict[str, str]:
    """The files by their path in the project. `commands`: those that this Penstock has.

    Units are for this machine: with the project's folder and the Python that are here.
    """
    units = list(_units(project, commands))
    target = f"penstock-{project.settings.project.name}.target"
    values = _values(project)
    files = {name: _filled(name, values) for name in COPIED}
    files |= {f"systemd/{name}": text for name, text in units}
    files[f"systemd/{target}"] = _filled(
        "services.target", {**values, "UNITS": " ".join(name for name, _ in units)}
    )
    for ignoring in (".gitignore", ".dockerignore"):
        files[ignoring] = "\n".join((*SECRETS, ""))
    return {f"{FOLDER}/{name}": text for name, text in files.items()}


def write(project: Project, files: dict[str, str]) -> None:
    """Raises `UsageError` before a file that is there and differs would be overwritten."""
    paths = {project.root / name: text for name, text in files.items()}
    for path, text in paths.items():
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"{path} exists and is another", hint="move it away, and bring your changes over"
            )
    for path, text in paths.items():
        with written_whole(path) as part:
            part.write_text(text, encoding="utf-8")


def _units(project: Project, commands: Collection[str]) -> Iterator[tuple[str, str]]:
    """One a service; the gateways are those of all endpoints that have a port."""
    endpoints = (STAGING, *project.settings.serving.ports)
    for service in roster(project, endpoints, commands):
        values = {**_values(project), "SERVICE": service.name, "COMMAND": _command(service)}
        name = f"penstock-{project.settings.project.name}-{service.name}.service"
        yield name, _filled("service.unit", values)


def _command(service: Service) -> str:
    given = [f"{name}={value}" for name, value in service.variables.items()]
    words = ["/usr/bin/env", *given, *service.command] if given else service.command
    return " ".join(_quoted(word).replace("$", "$$") for word in words)


def _quoted(word: str) -> str:
    """As systemd.syntax(7) reads it; % stands for itself when it is doubled."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[\s\"'\\;]", word) else escaped


def _name_of(user: int) -> str:
    """Or its number, which systemd takes too, where nobody has it (a mounted folder)."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _values(project: Project) -> dict[str, str]:
    serving, services = project.settings.serving, project.settings.services
    return {
        "NAME": project.settings.project.name,
        "LOWER_NAME": project.settings.project.name.lower(),  # as images and Compose want it
        "ENVIRONMENT": project.environment,
        "VERSION": __version__,
        "PROJECT": str(project.root).replace("%", "%%"),
        "QUOTED_PROJECT": _quoted(str(project.root)),
        "USER": _name_of(os.stat(project.root).st_uid),
        "STAGING": str(serving.of(STAGING).port),
        "PRODUCTION": str(serving.of(PRODUCTION).port),
        "CONTROLLER": str(services.controller_port),
        "MONITOR": str(services.monitor_port),
    }


def _filled(name: str, values: dict[str, str]) -> str:
    return Template((TEMPLATES / name).read_text(encoding="utf-8")).substitute(values)
