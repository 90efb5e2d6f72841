"""Classical tests and sample sizes, against statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.stats.group_sequential import lan_demets_bounds
from penstock.stats.lift import Undefined
from penstock.stats.moments import moments_of, moments_of_counts
from penstock.stats.power import (
    Design,
    detection_power,
    proportions_design,
    sample_size,
    success_probability,
    t_test_power,
    t_test_units,
)
from penstock.stats.two_sample_tests import Significance, holm, two_proportion_z, welch_t


def test_two_proportions_of_statsmodels() -> None:
    # statsmodels, proportions_ztest([5, 12], [83, 99]) in its documentation
    tested = two_proportion_z((5, 12), (83, 99))
    assert isinstance(tested, Significance)
    assert tested == pytest.approx((-1.40783, 0.159182), abs=5e-6)


def test_welch_of_statsmodels() -> None:
    # statsmodels 0.15.0: ttest_ind(x, y, usevar="unequal")
    first = moments_of([3.1, 2.2, 4.5, 5.0, 1.2, 3.3])
    second = moments_of([2.0, 1.1, 2.9, 3.0, 0.4, 2.2, 1.9, 2.8])
    tested = welch_t(first, second)
    assert isinstance(tested, Significance)
    assert tested == pytest.approx((1.7853222169413958, 0.11167369800645943))


@pytest.mark.parametrize(
    "tested",
    [
        two_proportion_z((0, 0), (10, 10)),
        two_proportion_z((0, 1), (0, 10)),
        welch_t(moments_of([1.0]), moments_of([1.0, 2.0])),
        welch_t(moments_of_counts(5, 5), moments_of_counts(5, 5)),
    ],
)
def test_nothing_to_test_is_no_p_value_of_one(tested: Significance | Undefined) -> None:
    assert isinstance(tested, Undefined)


def test_holm_of_statsmodels() -> None:
    # statsmodels 0.15.0: multipletests([.012, .04, .03, .004, .6], method="holm")
    p_values = dict(zip("abcde", (0.012, 0.04, 0.03, 0.004, 0.6), strict=True))
    assert list(holm(p_values).values()) == pytest.approx([0.048, 0.09, 0.09, 0.02, 0.6])
    assert holm({}) == {}


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1))
@settings(max_examples=60, deadline=None)
def test_holm_lies_between_none_and_bonferroni(p_values: dict[str, float]) -> None:
    for name, adjusted in holm(p_values).items():
        assert p_values[name] <= adjusted <= min(1.0, len(p_values) * p_values[name]) + 1e-15


def test_units_of_a_t_test() -> None:
    # statsmodels TTestIndPower, solve_power(0.5, alpha=0.05, power=0.8), power(0.3, 50, 0.05)
    assert t_test_units(0.5, 0.05, 0.8) == pytest.approx(63.7656, abs=5e-5)
    assert t_test_power(0.3, 50, 0.05) == pytest.approx(0.31780220491946193)
    assert t_test_units(0.02, 0.05, 0.8) == pytest.approx(39245.2629344, rel=1e-6)


def test_units_of_a_test_with_one_look_are_those_of_statsmodels() -> None:
    # statsmodels 0.15.0: NormalIndPower().solve_power(0.02 / sqrt(0.25), alpha=0.05, power=0.8)
    # = 9811.0757 in each arm: sd 0.5, a lift of 0.02.
    design = Design(mean=0.5, sd=0.5, lift=0.02, relative=False)
    assert sample_size(design) == (9812, 9812)
    assert sample_size(design._replace(mean=0.4, lift=0.05, relative=True)) == (9812, 9812)


def test_a_share_brings_its_own_spread() -> None:
    # (1.959964 + 0.841621)²·(0.2·0.8 + 0.22·0.78)/0.02² = 6506.4
    design = proportions_design(0.2, 0.1, relative=True)
    assert sample_size(design).control == 6507
    assert proportions_design(0.2, 0.02, relative=False) == pytest.approx(
        design._replace(lift=0.02, relative=False)
    )


@pytest.mark.parametrize("split", [0.5, 0.1])
@pytest.mark.parametrize("looks", [1, 5])
def test_the_units_found_have_the_power_asked_for(split: float, looks: int) -> None:
    design = Design(10.0, 8.0, 0.02, relative=True, split=split, looks=looks, power=0.9)
    needed = sample_size(design)
    assert detection_power(design, needed.total) == pytest.approx(0.9, abs=1e-3)
    assert needed.treatment / needed.total == pytest.approx(split, abs=1e-3)
    assert needed.days(needed.total / 3) == pytest.approx(3.0)
    assert needed.days(0) == math.inf


def test_looks_cost_two_and_a_half_percent_of_units() -> None:
    one = Design(10.0, 8.0, 0.02, relative=True)
    five = one._replace(looks=5)
    assert sample_size(five).total / sample_size(one).total == pytest.approx(1.0247, abs=1e-3)


def test_the_odds_of_success_are_those_of_simulated_experiments() -> None:
    # Success: significant, and estimated at 2 % or more. The true lift is 2 %.
    design = Design(10.0, 8.0, 0.02, relative=True, looks=5)
    units = sample_size(design).total
    said = success_probability(design, units, 0.02)
    error = math.sqrt(design.variance_per_unit() / units)
    generator = np.random.default_rng(11)
    times = np.array(design.fractions)
    steps = generator.normal(size=(40_000, 5)) * np.sqrt(0.2) + 0.2 / error * 0.2
    z = steps.cumsum(axis=1) / np.sqrt(times)
    better = z >= np.array(lan_demets_bounds(design.fractions, 0.05))
    enough = z / np.sqrt(times) * error >= 0.2
    worse = z <= -np.array(lan_demets_bounds(design.fractions, 0.05))
    assert not worse.any()
    found = (better & enough).any(axis=1).mean()
    assert found == pytest.approx(said, abs=0.0082)  # 3.29·√(0.5·0.5/40,000)
    assert success_probability(design, units, 0.03) > 0.9
    assert success_probability(design, units, 0.0) < 0.025
