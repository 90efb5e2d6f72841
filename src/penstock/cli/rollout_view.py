"""A rollout on a terminal: arms, evidence, verdicts, and what happens next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from penstock.cli.output import moment, table

if TYPE_CHECKING:
    from penstock.rollout.service import Desk, View

MARKS = {"PASS": "✓", "FAIL": "✗", "INSUFFICIENT": "…", "ERROR": "!"}


def lines(found: View) -> Iterator[str]:
    """What a person reads."""
    from penstock.rollout.described import arms, verdicts

    state, decision = found.state, found.decision
    spec, now = state.spec, datetime.now(UTC)
    yield (
        f"{state.id}: {spec.settings.strategy} of {spec.candidate.model} against "
        f"{spec.baseline.model} on {state.endpoint}"
    )
    yield f"{_where(found)}, since {moment(state.since)} ({_span(now - state.since)})"
    if state.reason:
        yield f"  {state.reason}"
    rows = [_row(arm) for arm in arms(found)]
    if rows:
        yield ""
        heads = ("arm", "units", "requests", "errors", "95 % interval", "p50", "p95", "p99")
        yield table(heads, rows)
    told = verdicts(found)
    if told:
        yield ""
        yield from (f"{MARKS[v.judgement.name]} {v.metric}: {v.reason}" for v in told)
    if not state.ended:
        yield ""
        yield f"now:  {decision.reason or 'nothing is waited for'}"
        if decision.next_what:
            when = (
                f"{moment(decision.next_at)} (in {_span(decision.next_at - now)})"
                if (decision.next_at)
                else "then"
            )
            yield f"next: {when}: {decision.next_what}"


def _where(found: View) -> str:
    from penstock.rollout.described import plan_of

    state = found.state
    if state.ended:
        return str(state.outcome or state.status)
    if state.stage < 0 or state.stage >= len(plan_of(found)):
        return str(state.status)
    weight = plan_of(found)[state.stage].weight
    return f"{state.status}, stage {state.stage + 1} of {len(plan_of(found))} at {weight:.0%}"


def _row(arm: dict[str, Any]) -> tuple[str, ...]:
    rate = "" if arm["error_rate"] is None else f"{arm['errors']:,} ({arm['error_rate']:.2%})"
    low, high = arm["error_rate_low"], arm["error_rate_high"]
    between = "" if low is None else f"{low:.2%} – {high:.2%}"
    latencies = ("" if ms is None else f"{ms:.1f} ms" for ms in arm["latency_ms"].values())
    return (arm["model"], f"{arm['share']:.0%}", f"{arm['requests']:,}", rate, between, *latencies)


def _span(value: timedelta) -> str:
    seconds = max(int(value.total_seconds()), 0)
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def print_view(found: View) -> None:
    print("\n".join(lines(found)))


def watch(desk: Desk, rollout: str, interval: float) -> int:
    """A live view until the rollout ends; plain changes where there is no terminal."""
    import sys

    from penstock.rollout import service

    if not sys.stdout.isatty():
        return _watch_plainly(desk, rollout, interval)
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        while True:
            found = service.view(desk, rollout)
            live.update(Text("\n".join(lines(found))), refresh=True)
            if found.state.ended:
                return 0
            time.sleep(interval)


def _watch_plainly(desk: Desk, rollout: str, interval: float) -> int:
    """A line for everything that happens."""
    from penstock.rollout import service
    from penstock.rollout.events import action_of

    seen = 0
    while True:
        found = service.view(desk, rollout)
        for event in found.remembered.events[seen:]:
            reason = getattr(event, "reason", "")
            stage = getattr(event, "stage", None)
            where = f" {stage}" if stage is not None else ""
            what = action_of(event).removeprefix("rollout.").replace("_", " ")
            print(f"{moment(event.at)}  {what}{where}{f': {reason}' if reason else ''}", flush=True)
        seen = len(found.remembered.events)
        if found.state.ended:
            print()
            print_view(found)
            return 0
        time.sleep(interval)
