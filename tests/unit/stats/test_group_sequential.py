"""Bounds of repeated looks, against their published tables and against simulated experiments."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.stats.group_sequential import (
    crossing,
    inflation,
    lan_demets_bounds,
    obrien_fleming_bounds,
    obrien_fleming_spending,
    spending_bounds,
)
from penstock.stats.normal import quantile

FIFTHS = [0.2, 0.4, 0.6, 0.8, 1.0]


def test_lan_demets_bounds_are_those_of_the_literature() -> None:
    # Reboussin, DeMets, Kim and Lan 2000 (the ldbounds program), O'Brien-Fleming type, K = 5,
    # two-sided 0.05; the program integrates on a coarser grid, which shows in the fourth decimal.
    published = [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]
    assert lan_demets_bounds(FIFTHS, 0.05) == pytest.approx(published, abs=2e-4)


@pytest.mark.parametrize(
    ("looks", "constant"),
    # Jennison and Turnbull 2000, table 2.3: C_B(K, 0.05)
    [(1, 1.960), (2, 1.977), (3, 2.004), (4, 2.024), (5, 2.040), (10, 2.087)],
)
def test_classical_bounds_have_the_constants_of_jennison_and_turnbull(
    looks: int, constant: float
) -> None:
    bounds = obrien_fleming_bounds(looks, 0.05)
    assert bounds[-1] == pytest.approx(constant, abs=6e-4)
    assert bounds[0] == pytest.approx(bounds[-1] * math.sqrt(looks))


@pytest.mark.parametrize(
    ("looks", "power", "factor"),
    # Jennison and Turnbull 2000, table 2.4: R_B(K, 0.05, β), classical bounds
    [(2, 0.8, 1.008), (5, 0.8, 1.028), (5, 0.9, 1.026)],
)
def test_power_of_the_classical_bounds_is_that_of_the_table(
    looks: int, power: float, factor: float
) -> None:
    times = [k / looks for k in range(1, looks + 1)]
    fixed = quantile(0.975) + quantile(power)
    ups = crossing(times, obrien_fleming_bounds(looks, 0.05), drift=fixed * math.sqrt(factor))
    assert sum(up for _, up in ups) == pytest.approx(power, abs=4e-4)


def test_spending_costs_little_power() -> None:
    assert inflation(FIFTHS, 0.05, 0.8) == pytest.approx(1.0247, abs=1e-4)
    assert inflation([1.0], 0.05, 0.8) == pytest.approx(1.0, abs=1e-6)


def test_one_look_is_the_test_without_looks() -> None:
    assert lan_demets_bounds([1.0], 0.05) == pytest.approx([quantile(0.975)])


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8, unique=True), st.floats(0.001, 0.2))
@settings(max_examples=50, deadline=None)
def test_all_looks_together_spend_what_the_last_may(times: list[float], alpha: float) -> None:
    fractions = sorted(times)
    crossed = crossing(fractions, lan_demets_bounds(fractions, alpha))
    spent = sum(low + high for low, high in crossed)
    # never more; less only where looks are so close that they are moved apart
    assert spent == pytest.approx(obrien_fleming_spending(fractions[-1], alpha), rel=1e-6)
    assert all(low == pytest.approx(high, abs=1e-12) for low, high in crossed)


def test_information_counts_by_its_ratios_only() -> None:
    spent = [0.01, 0.03, 0.05]
    assert spending_bounds([100, 250, 600], spent) == pytest.approx(
        spending_bounds([1.0, 2.5, 6.0], spent)
    )


def test_looks_without_news_hardly_differ() -> None:
    # The same data thrice: the error that each may add is that of a lower bound on the same z.
    bounds = spending_bounds([1000.0, 1000.0, 1000.0], [0.01, 0.02, 0.05])
    assert bounds == pytest.approx([quantile(1 - a / 2) for a in (0.01, 0.02, 0.05)], abs=0.02)


def test_a_look_with_nothing_to_spend_cannot_reject() -> None:
    assert spending_bounds([1.0, 2.0], [0.0, 0.05])[0] == math.inf
    assert spending_bounds([1.0, 2.0], [0.0, 0.05])[1] == pytest.approx(quantile(0.975))


def test_falling_information_is_refused() -> None:
    with pytest.raises(ValueError, match="rise"):
        spending_bounds([2.0, 1.0], [0.01, 0.05])


def test_simulated_experiments_reject_as_often_as_was_said() -> None:
    # 40,000 experiments without effect at uneven looks: 99.9 % of such simulations reject in
    # 0.0500 ± 3.29·√(0.05·0.95/40,000) = 0.0464 to 0.0536 of them.
    times = np.array([0.13, 0.2, 0.55, 0.6, 1.0])
    generator = np.random.default_rng(5)
    steps = generator.normal(size=(40_000, 5)) * np.sqrt(np.diff(times, prepend=0.0))
    z = steps.cumsum(axis=1) / np.sqrt(times)
    rejected = (np.abs(z) >= np.array(lan_demets_bounds(times.tolist(), 0.05))).any(axis=1)
    assert 0.0464 < rejected.mean() < 0.0536


def test_power_is_that_of_simulated_experiments() -> None:
    drift = 2.8
    generator = np.random.default_rng(6)
    times = np.array(FIFTHS)
    steps = generator.normal(size=(40_000, 5)) * np.sqrt(0.2) + drift * 0.2
    z = steps.cumsum(axis=1) / np.sqrt(times)
    bounds = lan_demets_bounds(FIFTHS, 0.05)
    found = (z >= np.array(bounds)).any(axis=1).mean()
    said = sum(up for _, up in crossing(FIFTHS, bounds, drift=drift))
    assert found == pytest.approx(said, abs=0.0066)  # 3.29·√(0.8·0.2/40,000)
