"""The commands about the processes that go on by themselves."""

from __future__ import annotations

from penstock.cli.command import Command

SERVICE_COMMANDS: tuple[Command, ...] = ()
