"""The commands about what starts a run."""

from __future__ import annotations

from penstock.cli.command import Command

TRIGGER_COMMANDS: tuple[Command, ...] = ()
