"""What a command is doing, told while it is done."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator

Progress = Callable[..., None]  # (text, done: float | None = None)


@contextlib.contextmanager
def progress_of(options: argparse.Namespace) -> Iterator[Progress]:
    """A line that is written over on a terminal, a line for each new doing elsewhere."""
    if options.json:
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.status import Status

    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        with Status("", console=console) as status:
            yield lambda text, done=None: status.update(_said(text, done))
        return
    last = ""

    def say(text: str, done: float | None = None) -> None:
        nonlocal last
        if text != last:
            last = text
            print(text, file=sys.stderr, flush=True)

    yield say


def _said(text: str, done: float | None) -> str:
    return text if done is None else f"{text}: {done:.0%}"
