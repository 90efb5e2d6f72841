"""How many units an experiment needs, and what its chances are with those that it gets."""

from __future__ import annotations

import math
from typing import NamedTuple

from penstock.stats.group_sequential import crossing, inflation, lan_demets_bounds
from penstock.stats.normal import quantile


class SampleSize(NamedTuple):
    """Units of each arm that find the lift with the wanted power."""

    control: int
    treatment: int

    @property
    def total(self) -> int:
        return self.control + self.treatment

    def days(self, units_per_day: float) -> float:
        """At so many new units a day in both arms together."""
        return self.total / units_per_day if units_per_day > 0 else math.inf


class Design(NamedTuple):
    """An A/B test of a difference of means, two-sided, with evenly spaced looks."""

    mean: float  # of the baseline
    sd: float  # between units of the baseline; of a yes-or-no metric √(p(1−p))
    lift: float  # the smallest worth finding
    relative: bool  # the lift is a share of the mean
    alpha: float = 0.05
    power: float = 0.8
    split: float = 0.5  # the treatment's share of the units
    looks: int = 1
    # The treatment's spread; NaN: as the baseline's
    treatment_sd: float = math.nan

    @property
    def difference(self) -> float:
        return abs(self.lift * self.mean if self.relative else self.lift)

    @property
    def fractions(self) -> list[float]:
        return [k / self.looks for k in range(1, self.looks + 1)]

    def variance_per_unit(self) -> float:
        """Of the difference, times the units of both arms together."""
        treatment = self.sd if math.isnan(self.treatment_sd) else self.treatment_sd
        return self.sd**2 / (1 - self.split) + treatment**2 / self.split


def proportions_design(
    baseline: float,
    lift: float,
    *,
    relative: bool,
    alpha: float = 0.05,
    power: float = 0.8,
    split: float = 0.5,
    looks: int = 1,
) -> Design:
    """The design for a share of units (0 to 1), whose spread follows from itself."""
    raised = baseline * (1 + lift) if relative else baseline + lift
    spread = [math.sqrt(max(p * (1 - p), 0.0)) for p in (baseline, raised)]
    return Design(baseline, spread[0], lift, relative, alpha, power, split, looks, spread[1])


def sample_size(design: Design) -> SampleSize:
    """The most units it can take to find the lift, looks included (normal approximation)."""
    wanted = quantile(1 - design.alpha / 2) + quantile(design.power)
    more = inflation(design.fractions, design.alpha, design.power) if design.looks > 1 else 1.0
    total = more * (wanted / design.difference) ** 2 * design.variance_per_unit()
    return SampleSize(math.ceil(total * (1 - design.split)), math.ceil(total * design.split))


def detection_power(design: Design, units: float) -> float:
    """P(the difference is significant at some look), with so many units in both arms at the end."""
    drift = design.difference / math.sqrt(design.variance_per_unit() / units)
    bounds = lan_demets_bounds(design.fractions, design.alpha)
    return sum(up for _, up in crossing(design.fractions, bounds, drift=drift))


def success_probability(design: Design, units: float, true_lift: float) -> float:
    """P(at some look the difference is significant and its estimate at least the design's lift).

    A true lift that just equals the stated one is estimated below it half of the time: this is
    then near ½ however many units there are.
    """
    error = math.sqrt(design.variance_per_unit() / units)  # at the end
    bounds = lan_demets_bounds(design.fractions, design.alpha)
    upper = [
        max(bound, design.difference * math.sqrt(at) / error)
        for bound, at in zip(bounds, design.fractions, strict=True)
    ]
    lower = [-bound for bound in bounds]
    drift = (true_lift * design.mean if design.relative else true_lift) / error
    return sum(up for _, up in crossing(design.fractions, upper, lower, drift))


def t_test_power(effect: float, units: float, alpha: float) -> float:
    """Of the two-sided t-test with `units` in each arm; the effect is in standard deviations."""
    from scipy.special import nctdtr, stdtrit

    freedom, shift = 2 * units - 2, effect * math.sqrt(units / 2)
    critical = stdtrit(freedom, 1 - alpha / 2)
    return float(1 - nctdtr(freedom, shift, critical) + nctdtr(freedom, shift, -critical))


def t_test_units(effect: float, alpha: float, power: float) -> float:
    """Units in each arm of the two-sided t-test, not rounded.

    >>> round(t_test_units(0.5, 0.05, 0.8), 4)
    63.7656
    """
    from scipy.optimize import brentq

    def excess(units: float) -> float:
        return t_test_power(effect, units, alpha) - power

    by_normal = 2 * ((quantile(1 - alpha / 2) + quantile(power)) / effect) ** 2
    return float(brentq(excess, 1.01, by_normal + 10, xtol=1e-9))
