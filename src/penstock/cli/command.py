"""What a command of the table is."""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

from penstock.access.roles import Permission


class Option:
    """One argument, as argparse takes it. With `asks`, whoever gives it needs that permission."""

    def __init__(self, *names: str, asks: Permission = Permission.READ, **settings: Any) -> None:
        self.names, self.asks, self.settings = names, asks, settings

    @property
    def attribute(self) -> str:
        return str(self.settings.get("dest") or self.names[0].lstrip("-").replace("-", "_"))


class Command(NamedTuple):
    name: str
    help: str
    handler: str  # module:function(options) -> exit status
    options: tuple[Option, ...] = ()
    details: str = ""
    # What it takes once there are users. Who reads on the command line is not asked who they are.
    permission: Permission = Permission.OPERATE

    def asks(self, given: argparse.Namespace) -> Permission:
        """The permission that it takes as it was typed."""
        asked = (one.asks for one in self.options if getattr(given, one.attribute, None))
        return max([self.permission, *asked], key=list(Permission).index)
