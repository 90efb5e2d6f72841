"""What `penstock up` shows: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self, TextIO

from penstock.cli.output import moment, table

if TYPE_CHECKING:
    from penstock.services.alarms import Alarms
    from penstock.services.standing import Standing

STATES = {
    "running": "●",
    "starting": "◌",
    "elsewhere": "○",
    "waiting": "…",
    "failed": "✗",
    "stopped": "–",
}
WIDTH = 60  # of a service's last line


def viewer(*, as_json: bool, terminal: bool) -> PlainView:
    """Plain lines go to standard error, so that `--json` leaves standard output to the result."""
    if terminal and not as_json:
        return LiveView()
    return PlainView(sys.stderr if as_json else sys.stdout)


def lines(standing: Standing, now: datetime) -> Iterator[str]:
    """What a person reads of the services as they are."""
    rows = [
        (
            STATES[one.state],
            one.name,
            one.state,
            one.pid or "",
            _span(now - one.since) if one.since else "",
            one.restarts or "",
            one.url,
            one.said[:WIDTH],
        )
        for one in standing.services
    ]
    yield table(("", "service", "state", "process", "for", "restarts", "at", "said last"), rows)
    if standing.next_run:
        yield f"next run: {moment(standing.next_run)}, in {_span(standing.next_run - now)}"
    yield alarms_line(standing.alarms, now)
    if standing.trouble:
        yield f"trouble: {standing.trouble}"


def alarms_line(alarms: Alarms, now: datetime) -> str:
    """2 alerts fire, 1 page, 1 ticket; the newest since 5 min: drift(tenure) of churn@3"""
    silent = f" ({alarms.silent} silent)" if alarms.silent else ""
    if not alarms.firing:
        return f"no alert fires{silent}"
    newest, count = alarms.firing[0], len(alarms.firing)
    fire = "1 alert fires" if count == 1 else f"{count} alerts fire"
    counts = ", ".join(f"{number} {severity}" for severity, number in alarms.counts.items())
    since = _span(now - newest.since)
    return (
        f"{fire}{silent}: {counts}; the newest, for {since}: {newest.name}\n"
        "  → penstock alerts list"
    )


class PlainView:
    """A line for what happens."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def say(self, text: str) -> None:
        print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}", file=self._stream, flush=True)

    def show(self, standing: Standing) -> None:
        """What is shown all the time, where there is a terminal."""


class LiveView(PlainView):
    """A table of the services, over which what happens scrolls up."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(f"{datetime.now(UTC):%H:%M:%S} {text}", markup=False, soft_wrap=True)

    def show(self, standing: Standing) -> None:
        from rich.text import Text

        text = "\n".join((*lines(standing, datetime.now(UTC)), "Ctrl-C ends them all"))
        self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)


def _span(value: timedelta) -> str:
    seconds = max(int(value.total_seconds()), 0)
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    if seconds < 172_800:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86_400} d"
