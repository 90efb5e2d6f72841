"""The decisions of the gates: pure functions from what was measured to a check."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping

from penstock.records import Check
from penstock.setting_types import Rule
from penstock.settings import ChampionSettings
from penstock.stats.bootstrap import Interval

# Checks against the champion: of every model, and of one that a trigger made.
CHAMPION, BETTER = "champion", "better than the champion"
HOLDS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def judge(name: str, metrics: Mapping[str, float], rule: Rule) -> Check:
    """Whether a metric keeps to its threshold. What was not measured does not pass."""
    observed = metrics.get(name)
    if observed is None or not math.isfinite(observed):
        return Check(
            name=name,
            passed=False,
            observed="not measured",
            expected=str(rule),
            reason=f"{name} is {observed}"
            if observed is not None
            else f"{name} was not measured; there are {', '.join(sorted(metrics)) or 'none'}",
        )
    passed = HOLDS[rule.op](observed, rule.value)
    distance = abs(observed - rule.value)
    reason = (
        f"{observed:.4g} keeps to {rule}"
        if passed
        else f"{observed:.4g} misses {rule} by {distance:.4g}"
    )
    return Check(
        name=name, passed=passed, observed=f"{observed:.4g}", expected=str(rule), reason=reason
    )


def judge_better(
    difference: Interval, champion: str, metric: str, by: float, *, smaller_is_better: bool
) -> Check:
    """A model that nobody asked for must gain more than `by`; else the champion may as well stay.

    `difference` is challenger − champion in the metric; `judge_champion` says what is sure of it.
    """
    gain = -difference.estimate if smaller_is_better else difference.estimate
    passed = bool(gain > by)  # NaN compares false
    more = f" by more than {by:g}" if by else ""
    reason = (
        f"{metric} is {gain:.4f} better than that of {champion}"
        if passed
        else f"the retrained model is no better{more} than {champion}, which stays: {metric} "
        f"{difference.estimate:+.4f}"
    )
    return Check(
        name=BETTER,
        passed=passed,
        observed=f"{difference.estimate:+.4f}",
        expected=f"better than {champion}{more} in {metric}",
        reason=reason,
    )


def judge_champion(
    difference: Interval, champion: str, settings: ChampionSettings, *, smaller_is_better: bool
) -> Check:
    """The challenger passes when the interval excludes a loss beyond the margin (non-inferiority).

    `difference` is challenger − champion in the metric. (Wellek 2010, Testing Statistical
    Hypotheses of Equivalence and Noninferiority, ch. 2.)
    """
    worst = -difference.high if smaller_is_better else difference.low
    gain = -difference.estimate if smaller_is_better else difference.estimate
    interval = (difference.low, difference.high)
    expected = f"no worse than {champion} by more than {settings.margin:g}"
    if not math.isfinite(worst):
        reason = f"{settings.metric} cannot be compared on these rows"
    else:
        reason = (
            f"{settings.metric} is {abs(gain):.4f} "
            f"{'better' if gain >= 0 else 'worse'} than that of {champion}; "
            f"at worst {abs(worst):.4f} {'better' if worst >= 0 else 'worse'} "
            f"({settings.confidence:.0%} interval, {difference.resamples} resamples)"
        )
    return Check(
        name=CHAMPION,
        passed=bool(worst >= -settings.margin),  # NaN compares false: it does not pass
        observed=f"{difference.estimate:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]",
        expected=expected,
        reason=reason,
        interval=interval if all(map(math.isfinite, interval)) else None,
    )
