"""The commands about the processes that go on by themselves."""

from __future__ import annotations

from penstock.cli.command import Command

SERVICE_COMMANDS: tuple[Command, ...] = (
    Command(
        "scheduler",
        "Start a run for each slot of [pipeline] schedule, until told to end",
        "penstock.cli.scheduler:scheduler",
        details="Any number may run: one leads, the others stand by.",
    ),
)
