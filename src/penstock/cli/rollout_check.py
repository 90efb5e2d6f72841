"""`penstock rollout check`: whether a plan can be decided with the traffic there is."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.cli.output import print_json, table
from penstock.cli.rollout import desk_of, plan_of
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.rollout.forecast import StageForecast
    from penstock.rollout.service import Desk
    from penstock.rollout_settings import RolloutSettings
    from penstock.stats.power import SampleSize

LOOKED_BACK = timedelta(hours=24)
ASSUMED_RATE, ASSUMED_ERRORS = 100.0, 0.01


class Traffic(NamedTuple):
    """Of an endpoint."""

    rate: float  # requests a minute
    error_rate: float
    source: str


def check(options: argparse.Namespace) -> int:
    desk = desk_of(options)
    plan = plan_of(options, desk)
    traffic = _traffic(options, desk)
    if plan.strategy == "ab":
        return _check_experiment(options, plan, traffic)
    from penstock.rollout.forecast import forecast

    stages = forecast(plan, traffic.rate, traffic.error_rate)
    decidable = all(one.decidable for one in stages)
    if options.json:
        told = [{**asdict(one), "decidable": one.decidable} for one in stages]
        print_json({"traffic": traffic._asdict(), "stages": told, "decidable": decidable})
        return 0 if decidable else 1
    print(_heading(plan, traffic))
    if stages:
        heads = ("stage", "weight", "bake", "max", "good passes after", "2x found after", "power")
        print(table(heads, [_row(one) for one in stages]))
        print(
            f"alpha {plan.alpha:g} for the whole rollout; a good version passes where at least "
            f"{plan.tolerance:g}x the risk is refuted, or a rate above {plan.negligible:.2%}"
        )
    if any(one.weight >= 1 for one in stages):
        print("at 100 % no baseline serves beside it: set holdback to keep one")
    for one in stages:
        if not one.decidable:
            print(
                f"✗ stage {one.stage + 1}: {one.requests:,.0f} requests come within its max, "
                f"{_count(one.to_pass)} are needed: it would be inconclusive "
                f"({plan.on_inconclusive}). Raise max, tolerance or negligible."
            )
    return 0 if decidable else 1


def _heading(plan: RolloutSettings, traffic: Traffic) -> str:
    return (
        f"{plan.strategy} at {traffic.rate:,.0f} requests a minute, {traffic.error_rate:.2%} of "
        f"them errors ({traffic.source})"
    )


def _row(one: StageForecast) -> tuple[str, ...]:
    return (
        str(one.stage + 1),
        f"{one.weight:.0%}",
        _minutes(one.bake),
        _minutes(one.longest),
        _minutes(one.minutes_to_pass),
        _minutes(one.minutes_to_detect),
        f"{one.power:.0%}" if one.weight < 1 else "",
    )


def _minutes(value: float) -> str:
    if not math.isfinite(value):
        return "never"
    if value < 120:
        return f"{value:.0f} min" if value >= 1 else f"{60 * value:.0f} s"
    return f"{value / 60:.1f} h"


def _count(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "endlessly many"


def _traffic(options: argparse.Namespace, desk: Desk) -> Traffic:
    if options.rate is not None and not 0 < options.rate < math.inf:
        raise UsageError(f"--rate {options.rate:g}: requests a minute are above 0")
    if options.error_rate is not None and not 0 <= options.error_rate < 1:
        raise UsageError(f"--error-rate {options.error_rate:g}: a share is from 0 to 1")
    seen = _observed(desk, options.endpoint)
    rate, errors, source = seen or (ASSUMED_RATE, ASSUMED_ERRORS, "assumed: none was observed")
    if options.rate is not None or options.error_rate is not None:
        source = "as given"
    return Traffic(
        options.rate if options.rate is not None else rate,
        options.error_rate if options.error_rate is not None else errors,
        source,
    )


def _observed(desk: Desk, endpoint: str) -> Traffic | None:
    """Of the last day, as the gateways saw it."""
    from penstock.serving.observations.counts import counts_of
    from penstock.state import observations

    now = datetime.now(UTC)
    since = int((now - LOOKED_BACK).timestamp())
    seen = observations.read(desk.engine, endpoint, since, int(now.timestamp()) + 1)
    counts = [counts_of(one.counts) for one in seen if one.arm != "shadow"]
    requests = sum(one.requests - one.refused for one in counts)
    if not requests:
        return None
    minutes = max((seen[-1].second - seen[0].second + 1) / 60, 1 / 60)
    errors = sum(sum(one.errors.values()) for one in counts)
    return Traffic(requests / minutes, errors / requests, "as observed")


def _check_experiment(options: argparse.Namespace, plan: RolloutSettings, traffic: Traffic) -> int:
    """An underpowered A/B test is refused with the sample that it would need."""
    from penstock.errors import SettingsError
    from penstock.rollout.judge.ab_sample import require_power
    from penstock.rollout.plans import ab_plan

    ab = plan.ab
    if ab.baseline_mean is None or ab.baseline_sd is None:
        raise SettingsError(
            f"nothing is known of {ab.primary} in the baseline",
            hint="set ab.baseline_mean and ab.baseline_sd, of one unit",
        )
    needed: SampleSize = require_power(
        ab_plan(plan), mean=ab.baseline_mean, sd=ab.baseline_sd, power=ab.power
    )
    told: dict[str, Any] = {
        "traffic": traffic._asdict(),
        "units": needed.total,
        "control": needed.control,
        "treatment": needed.treatment,
        "min_units": ab.min_units,
        "looks": ab.looks,
        "power": ab.power,
    }
    if options.json:
        print_json(told)
        return 0
    print(_heading(plan, traffic))
    print(
        f"{needed.total:,} units ({needed.control:,} in the baseline, {needed.treatment:,} in the "
        f"candidate) find a {ab.lift_is} lift of {ab.lift:.2%} in {ab.primary} with power "
        f"{ab.power:.0%}, at {ab.looks} looks within {ab.duration}"
    )
    return 0
