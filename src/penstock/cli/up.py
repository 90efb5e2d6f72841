"""`penstock up`, `penstock down` and `penstock logs`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.cli.opening import project_of, project_whatever_it_says
from penstock.cli.output import print_json
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.project import Project


def up(options: argparse.Namespace) -> int:
    from penstock.cli.services_view import viewer
    from penstock.cli.table import COMMANDS
    from penstock.services.standing import Office, plain
    from penstock.services.supervisor import Supervisor

    project = project_of(options)
    if options.detach:
        return _in_background(project, options)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    with viewer(as_json=options.json, terminal=sys.stdout.isatty()) as view:
        commands = {command.name for command in COMMANDS}
        last = Supervisor(project, commands, view.say, Office(project)).run(ended, view.show)
    if options.json:
        print_json(plain(last))
    return 0


def _in_background(project: Project, options: argparse.Namespace) -> int:
    from penstock.services.detached import start
    from penstock.services.standing import plain

    standing = start(project)
    if options.json:
        print_json(plain(standing))
    else:
        print(f"up, kept by process {standing.pid}; `penstock status` shows them")
    return 0


def down(options: argparse.Namespace) -> int:
    from penstock.services.standing import Office
    from penstock.serving import endpoint

    project = project_whatever_it_says(options)
    patience = 2 * project.settings.services.patience.total_seconds()
    ended = Office(project).end(patience)
    left = [
        name
        for name in project.endpoints
        if endpoint.status(project.endpoint(name)).state != "stopped"
    ]
    for name in left:  # a deployment had started them
        endpoint.stop(project.endpoint(name))
    if options.json:
        print_json({"ended": ended, "gateways": left})
        return 0
    print(f"ended what process {ended} kept" if ended else "no services were up")
    for name in left:
        print(f"ended the gateway of {name}")
    return 0


def logs(options: argparse.Namespace) -> int:
    from penstock.services.logs import follow, last_lines

    project = project_whatever_it_says(options)
    found = _logs_of(project, options.service)
    style = "json" if options.json else "named" if len(found) > 1 else "bare"
    for name, log in found.items():
        for line in last_lines(log, options.lines):
            _print_line(name, line, style)
    if not options.follow:
        return 0
    try:
        for name, line in follow(found, threading.Event()):
            _print_line(name, line, style)
    except KeyboardInterrupt:
        return 130
    return 0


def _logs_of(project: Project, service: str | None) -> dict[str, Path]:
    """The log of each service that was ever started here, or of one. Raises `UsageError`."""
    from penstock.services.standing import Office

    office = Office(project)
    written = {path.stem: path for path in sorted(office.log_of("").parent.glob("*.log"))}
    now = {one.name: Path(one.log) for one in office.standing().services}
    found = {**written, **now}
    if service is None:
        return found
    if service not in found:
        raise UsageError(
            f"{service!r} is no service that was started here",
            hint=f"there are {', '.join(found)}" if found else "`penstock up` starts them",
        )
    return {service: found[service]}


def _print_line(name: str, line: str, style: str) -> None:
    if style == "json":
        print(json.dumps({"service": name, "line": line}, ensure_ascii=False), flush=True)
    else:
        print(f"{name} | {line}" if style == "named" else line, flush=True)
