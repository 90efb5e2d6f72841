"""The commands about looking at what is served."""

from __future__ import annotations

from penstock.cli.command import Command, Option

MONITORING_COMMANDS: tuple[Command, ...] = (
    Command(
        "monitor loop",
        "Look, hold alerts and triggers against what was seen, and again, until told to end",
        "penstock.cli.monitor_loop:loop",
        (Option("--once", action="store_true", help="one round, and end"),),
        "Every [monitoring] every. Any number may run: one works, the others stand by.",
    ),
)
