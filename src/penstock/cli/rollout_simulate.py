"""`penstock rollout simulate`: what a plan does with good versions, and with bad ones."""

from __future__ import annotations

import argparse
import math
from typing import Any

from penstock.cli.output import print_json, table
from penstock.cli.rollout import desk_of, plan_of
from penstock.errors import UsageError

MOST = 20_000


def simulate(options: argparse.Namespace) -> int:
    from penstock.rollout.simulation.fleet import Fate
    from penstock.rollout.simulation.fleet import simulate as simulated
    from penstock.rollout.simulation.pilot import MachinePilot
    from penstock.rollout.simulation.traffic import World

    plan = plan_of(options, desk_of(options))
    _require(options)
    if plan.strategy != "canary":
        raise UsageError(
            f"a {plan.strategy} is not simulated",
            hint="add --strategy canary; `penstock rollout check` tells the power of an A/B test",
        )
    bad = options.error_rate * 2 if options.candidate is None else options.candidate
    units: Any = "users" if plan.unit.header or plan.unit.field else "request"
    found = {}
    for name, candidate in (("as good", options.error_rate), ("worse", bad)):
        world = World(
            requests_per_minute=options.rate,
            error_rate=options.error_rate,
            error_ratio=candidate / options.error_rate,
            units=units,
        )
        said = simulated(
            plan, world, MachinePilot(plan), rollouts=options.rollouts, seed=options.seed
        )
        requests = said.median_requests(Fate.ROLLED_BACK)
        found[name] = {
            "error_rate": candidate,
            "promoted": said.share(Fate.PROMOTED),
            "rolled_back": said.share(Fate.ROLLED_BACK),
            "held": said.share(Fate.HELD) + said.share(Fate.RUNNING),
            "median_requests_to_rollback": requests if math.isfinite(requests) else None,
        }
    if options.json:
        print_json({"rollouts": options.rollouts, "units": units, "candidates": found})
        return 0
    print(
        f"{options.rollouts:,} simulated rollouts each, {options.rate:,.0f} requests a minute, "
        f"unit: {units}; alpha {plan.alpha:g}"
    )
    heads = ("candidate", "errors", "promoted", "rolled back", "held", "requests until then")
    print(table(heads, [_row(name, one) for name, one in found.items()]))
    return 0


def _row(name: str, one: dict[str, Any]) -> tuple[str, ...]:
    requests = one["median_requests_to_rollback"]
    shares = (f"{one[fate]:.1%}" for fate in ("promoted", "rolled_back", "held"))
    until = "" if requests is None else f"{requests:,.0f}"
    return (name, f"{one['error_rate']:.2%}", *shares, until)


def _require(options: argparse.Namespace) -> None:
    for name in ("error_rate", "candidate"):
        value = getattr(options, name)
        if value is not None and not 0 < value < 1:
            raise UsageError(f"--{name.replace('_', '-')} {value:g}: a share between 0 and 1")
    if not 0 < options.rate < math.inf:
        raise UsageError(f"--rate {options.rate:g}: requests a minute are above 0")
    if not 1 <= options.rollouts <= MOST:
        raise UsageError(f"--rollouts {options.rollouts}: 1 to {MOST:,} are simulated")
