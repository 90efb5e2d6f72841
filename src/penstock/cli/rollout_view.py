"""A rollout on a terminal: arms, evidence, verdicts, and what happens next."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.cli.output import moment, table
from penstock.rollout import service
from penstock.rollout.described import arms, plan_of, verdicts
from penstock.rollout.events import Event, Judged, Outcome
from penstock.rollout.judge.verdicts import Judgement, Verdict
from penstock.rollout.service import Desk, View
from penstock.rollout.timeline import sentence

MARKS = {
    Judgement.PASS: "✓",
    Judgement.FAIL: "✗",
    Judgement.INSUFFICIENT: "…",
    Judgement.ERROR: "!",
}


def lines(found: View) -> Iterator[str]:
    """What a person reads."""
    state, now = found.state, datetime.now(UTC)
    spec = state.spec
    yield (
        f"{state.id}: {spec.settings.strategy} of {spec.candidate.model} against "
        f"{spec.baseline.model} on {state.endpoint}"
    )
    yield f"{_where(found)}, since {moment(state.since)} ({_span(now - state.since)})"
    if stages := _stages(found):
        yield stages
    if state.reason and (state.ended or state.held or state.ending):
        yield f"  {state.reason}"
    rows = [_row(arm) for arm in arms(found)]
    if rows:
        yield ""
        heads = ("arm", "units", "requests", "errors", "95 % interval", "p50", "p95", "p99")
        yield table(heads, rows)
    told = verdicts(found)
    if told:
        yield ""
        yield from (f"{MARKS[v.judgement]} {v.metric}: {v.reason}{_e_value(v)}" for v in told)
    if not state.ended:
        yield ""
        yield from _what_next(found, told, now)


def _stages(found: View) -> str:
    """✓ 10 %   ● 25 %   · 50 %   · 100 %"""
    state, plan = found.state, plan_of(found)
    if len(plan) == 1:
        return ""
    fallen = (state.ending or state.outcome) in (Outcome.ROLLED_BACK, Outcome.ABORTED)
    present = "✗" if fallen else "●"
    marks = (
        "✓" if number < state.stage else present if number == state.stage else "·"
        for number in range(len(plan))
    )
    weights = (f"{round(100 * stage.weight, 2):g} %" for stage in plan)
    return "   ".join(f"{mark} {weight}" for mark, weight in zip(marks, weights, strict=True))


def _e_value(verdict: Verdict) -> str:
    """The evidence against a candidate that passes; the other verdicts tell it themselves."""
    numbers = verdict.numbers
    if verdict.judgement is not Judgement.PASS or not {"e", "bound"} <= numbers.keys():
        return ""
    return f" (to roll back: e-value {numbers['e']:.3g} of {numbers['bound']:.3g})"


def _what_next(found: View, told: Sequence[Verdict], now: datetime) -> Iterator[str]:
    state, decision = found.state, found.decision
    waits = decision.reason or "nothing is waited for"
    if any(verdict.reason in waits for verdict in told):  # it stands above
        lacking = [v.metric for v in told if v.judgement is not Judgement.PASS]
        waits = f"waits for {' and '.join(lacking)}" if lacking else "every verdict is a PASS"
    if state.ending:
        waits = f"everything goes back to {state.spec.baseline.model}"
    elif state.held:
        waits = f"a person decides: `penstock rollout resume {state.id}`, or abort, or rollback"
    yield f"now:  {waits}"
    if decision.next_what:
        at = decision.next_at
        when = f"in {_span(at - now)}, at {moment(at)}" if at else "then"
        yield f"next: {when}: {decision.next_what}"


def _where(found: View) -> str:
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
    """Goes on until the rollout ends: a live view, over which what happened scrolls up.

    Where there is no terminal, what happens alone, and the view at the end.
    """
    try:
        (_watch_live if sys.stdout.isatty() else _watch_plainly)(desk, rollout, interval)
    except KeyboardInterrupt:
        print(f"{rollout} goes on; see it again with `penstock rollout status --watch`")
        return 130
    return 0


def _watch_live(desk: Desk, rollout: str, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console, seen = Console(highlight=False), 0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not (found := service.view(desk, rollout)).state.ended:
            for line in _happened(found, seen, Judged):
                console.print(Text(line))
            seen = len(found.remembered.events)
            live.update(Text("\n".join(lines(found))), refresh=True)
            time.sleep(interval)
    for line in (*_happened(found, seen, Judged), "", *lines(found)):
        console.print(Text(line))


def _watch_plainly(desk: Desk, rollout: str, interval: float) -> None:
    seen = 0
    while True:
        found = service.view(desk, rollout)
        for line in _happened(found, seen):
            print(line, flush=True)
        seen = len(found.remembered.events)
        if found.state.ended:
            print()
            print_view(found)
            return
        time.sleep(interval)


def _happened(found: View, seen: int, *without: type[Event]) -> Iterator[str]:
    """A line for each event after those seen."""
    for event in found.remembered.events[seen:]:
        if not isinstance(event, without):
            yield f"{moment(event.at)}  {sentence(event, found.state.spec)}"
