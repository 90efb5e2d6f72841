"""The commands about the processes that go on by themselves."""

from __future__ import annotations

from penstock.access.roles import Permission
from penstock.cli.command import Command, Option

SERVICE_COMMANDS: tuple[Command, ...] = (
    Command(
        "scheduler",
        "Start a run for each slot of [pipeline] schedule, until told to end",
        "penstock.cli.scheduler:scheduler",
        details="Any number may run: one leads, the others stand by.",
    ),
    Command(
        "up",
        "Start the services, keep them alive and show them, until told to end",
        "penstock.cli.up:up",
        (Option("--detach", action="store_true", help="in the background"),),
        "Scheduler, gateways, controller, monitor and MLflow's web pages: see [services].",
    ),
    Command(
        "down",
        "End the services, and the gateways of this project",
        "penstock.cli.up:down",
        # To end a process is the operating system's to allow, and must be possible when neither
        # settings nor state database can be read.
        permission=Permission.READ,
    ),
    Command(
        "logs",
        "Show what the services said",
        "penstock.cli.up:logs",
        (
            Option("service", metavar="SERVICE", nargs="?", help="(default: all)"),
            Option("--follow", action="store_true", help="go on with what they say from now on"),
            Option("--lines", type=int, metavar="N", default=20, help="of each (default: 20)"),
        ),
        "With --json, an object for each line.",
        permission=Permission.READ,
    ),
)
