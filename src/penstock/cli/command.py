"""What a command of the table is."""

from __future__ import annotations

from typing import Any, NamedTuple


class Option:
    """One argument, as argparse takes it."""

    def __init__(self, *names: str, **settings: Any) -> None:
        self.names, self.settings = names, settings


class Command(NamedTuple):
    name: str
    help: str
    handler: str  # module:function(options) -> exit status
    options: tuple[Option, ...] = ()
    details: str = ""
