"""Whether an A/B test, as planned, has a fair chance to find what it looks for. Pure."""

from __future__ import annotations

from penstock.errors import SettingsError
from penstock.rollout.judge.ab import AbPlan
from penstock.stats.power import Design, SampleSize, detection_power, sample_size


def require_power(plan: AbPlan, *, mean: float, sd: float, power: float) -> SampleSize:
    """The units that find the plan's lift with `power`. Raises `SettingsError` for fewer.

    `mean` and `sd` (between units) are the baseline's, of the primary metric. The test waits for
    the plan's `min_units`, whatever its time.
    """
    _require_base(plan, mean, sd)
    design = Design(
        mean, sd, plan.lift, plan.relative, plan.two_sided_alpha, power, plan.split, plan.looks
    )
    needed = sample_size(design)
    units = plan.min_units
    if units >= needed.total:
        return needed
    lift = f"{plan.lift:.2%} of {mean:.4g}" if plan.relative else f"{plan.lift:.4g}"
    reached = detection_power(design, units)
    raise SettingsError(
        f"{plan.primary}: {units:,.0f} units find a lift of {lift} in {reached:.0%} of such tests; "
        f"power {power:.0%} was asked for",
        hint=f"it takes {needed.total:,} units ({needed.control:,} in the baseline, "
        f"{needed.treatment:,} in the candidate): raise ab.min_units, or state a larger ab.lift",
    )


def _require_base(plan: AbPlan, mean: float, sd: float) -> None:
    if plan.relative and mean <= 0:
        raise SettingsError(
            f"{plan.primary}: the baseline's mean is {mean:.4g}; a relative lift needs one above 0",
            hint='set ab.lift_is = "absolute", or ab.baseline_mean',
        )
    if sd <= 0:
        raise SettingsError(
            f"{plan.primary}: the baseline's spread between units is {sd:.4g}, expected above 0",
            hint="set ab.baseline_sd",
        )
