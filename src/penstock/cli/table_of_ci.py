"""The commands about continuous integration."""

from __future__ import annotations

from penstock.cli.command import Command

CI_COMMANDS: tuple[Command, ...] = ()
