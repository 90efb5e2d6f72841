"""Which services a project has, and the command line of each."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from penstock.processes.command_line import penstock
from penstock.project import Project
from penstock.registry.client import server_arguments


@dataclass(frozen=True)
class Service:
    """A process to keep alive."""

    name: str  # scheduler, gateway-staging, …
    command: tuple[str, ...]
    endpoint: str = ""  # of a gateway
    url: str = ""  # where it answers, as far as settings tell
    variables: Mapping[str, str] = field(default_factory=dict)  # beside those of this process


def roster(
    project: Project, endpoints: Collection[str], commands: Collection[str]
) -> list[Service]:
    """The services that `[services] run` names and the project has use for.

    `endpoints`: those that have something to serve. `commands`: those that this Penstock has.
    """
    return [
        service
        for kind in project.settings.services.run
        for service in _of_kind(kind, project, endpoints, commands)
    ]


def _of_kind(
    kind: str, project: Project, endpoints: Collection[str], commands: Collection[str]
) -> Iterator[Service]:
    settings = project.settings
    if kind == "gateway":
        for name in sorted(endpoints):
            command = [*penstock("serve", project), "--endpoint", name]
            yield Service(f"gateway-{name}", tuple(command), endpoint=name)
    elif kind == "scheduler" and settings.pipeline.schedule:
        if settings.pipeline.orchestrator == "local":  # else its schedule is Airflow's or Prefect's
            yield Service("scheduler", tuple(penstock("scheduler", project)))
    elif kind == "controller":
        host, port = settings.services.controller_host, settings.services.controller_port
        command = [*penstock("controller", project), "--host", host, "--port", str(port)]
        yield Service("controller", tuple(command), url=f"http://{host}:{port}")
    elif kind == "monitor" and "monitor loop" in commands:
        host, port = settings.services.monitor_host, settings.services.monitor_port
        command = [*penstock("monitor loop", project), "--host", host, "--port", str(port)]
        yield Service("monitor", tuple(command), url=f"http://{host}:{port}/metrics")
    elif kind == "mlflow" and (given := server_arguments(project, settings.services.mlflow_port)):
        command = [sys.executable, "-m", *given.arguments]
        yield Service("mlflow", tuple(command), url=given.url, variables=given.variables)
