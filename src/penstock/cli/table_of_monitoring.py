"""The commands about looking at what is served."""

from __future__ import annotations

from penstock.cli.command import Command

MONITORING_COMMANDS: tuple[Command, ...] = ()
