"""The commands about alerts."""

from __future__ import annotations

from penstock.cli.command import Command

ALERT_COMMANDS: tuple[Command, ...] = ()
