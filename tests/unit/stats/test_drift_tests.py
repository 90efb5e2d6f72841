"""Tests of two samples in bins: exact where they are small, at their nominal rate everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from penstock.profiles.edges import edges_from, shares_of
from penstock.stats.binned_samples import kolmogorov_smirnov, wasserstein
from penstock.stats.categories import chi_square, drawn_together
from penstock.stats.lift import Undefined
from penstock.stats.population_stability import null_mean, population_stability
from penstock.stats.two_sample_tests import Significance, benjamini_hochberg, holm
from penstock.stats.unseen_values import beyond_range_p, unseen_categories_p

Values = np.ndarray[Any, np.dtype[Any]]
Draw = Callable[[np.random.Generator, int], Values]
ALPHA, REPEATS = 0.05, 200
MOST = int(stats.binom.ppf(0.999, REPEATS, ALPHA))  # false alarms, once in a thousand


def binned(edges: Values, values: Values) -> list[int]:
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return [int(count) for count in counts]


def p_of(tested: Significance | Undefined) -> float:
    return 1.0 if isinstance(tested, Undefined) else tested.p


@pytest.mark.parametrize(("n", "m"), [(60, 50), (300, 7), (12, 90)])
def test_with_a_bin_a_value_small_samples_are_tested_as_scipy_does(n: int, m: int) -> None:
    generator = np.random.default_rng(n)
    for shift in (0.0, 0.4):
        before, now = generator.normal(size=n), generator.normal(shift, size=m)
        values = np.sort(np.concatenate([before, now]))
        tested = kolmogorov_smirnov(binned(values, before), binned(values, now))
        exact = stats.ks_2samp(before, now, method="exact")
        assert isinstance(tested, Significance)
        assert tested.statistic == pytest.approx(exact.statistic)
        assert tested.p == pytest.approx(exact.pvalue, abs=1e-9)


def test_large_samples_in_many_bins_are_tested_as_kolmogorov_has_it() -> None:
    generator = np.random.default_rng(5)
    before, now = generator.random(100_000), generator.random(50_000) ** 1.01
    edges = np.linspace(0, 1, 400)[1:-1]
    tested = kolmogorov_smirnov(binned(edges, before), binned(edges, now))
    assert isinstance(tested, Significance)
    expected = stats.kstwobign.sf(tested.statistic * (1e5 * 5e4 / 1.5e5) ** 0.5)
    # The bridge is looked at in 400 places, and not everywhere.
    assert expected * 0.8 < tested.p < expected


DRAWS: dict[str, Draw] = {
    "normal": lambda g, n: g.normal(size=n),
    "Cauchy": lambda g, n: g.standard_cauchy(n),
    "counts": lambda g, n: g.poisson(1.0, n).astype(float),
    "half zeros": lambda g, n: np.where(g.random(n) < 0.5, 0.0, g.lognormal(0, 1, n)),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize(("n", "m"), [(50, 50), (1000, 200), (3000, 1000)])
@pytest.mark.slow
def test_samples_of_one_distribution_differ_as_often_as_is_said(name: str, n: int, m: int) -> None:
    generator = np.random.default_rng([n, m, len(name)])
    alarms = 0
    for _ in range(REPEATS):
        before, now = DRAWS[name](generator, n), DRAWS[name](generator, m)
        quantiles = np.quantile(before, shares_of(n), method="inverted_cdf")
        edges = np.array(edges_from(quantiles.tolist()))
        tested = kolmogorov_smirnov(binned(edges, before), binned(edges, now))
        alarms += p_of(tested) <= ALPHA
    assert alarms <= MOST
    assert alarms >= 2  # it is a test, and not one that never speaks


@pytest.mark.parametrize(("count", "skew"), [(2, 0.0), (10, 0.0), (500, 0.0), (200, 1.2)])
@pytest.mark.parametrize("size", [50, 1000])
def test_categories_of_one_distribution_differ_as_often_as_is_said(
    count: int, skew: float, size: int
) -> None:
    generator = np.random.default_rng([count, size])
    weights = 1 / np.arange(1, count + 1) ** skew
    alarms = 0
    for _ in range(REPEATS):
        before, now = (generator.multinomial(size, weights / weights.sum()) for _ in range(2))
        pooled = drawn_together(dict(enumerate(before.tolist())), dict(enumerate(now.tolist())))
        alarms += p_of(chi_square(*pooled)) <= ALPHA
    assert alarms <= MOST


def test_psi_without_drift_is_as_published() -> None:
    """Yurdakul and Naranjo 2020: B = 10, 20,000 against 5,000: mean 0.00225, 95 % 0.00423."""
    n, m, bins = 20_000, 5_000, 10
    assert null_mean(bins, n, m) == pytest.approx(0.00225)
    assert stats.chi2.ppf(0.95, bins - 1) * (1 / n + 1 / m) == pytest.approx(0.00423, abs=5e-6)
    generator, even = np.random.default_rng(1), [1 / bins] * bins
    seen = [
        population_stability(
            *(dict(enumerate(generator.multinomial(size, even).tolist())) for size in (n, m)),
            confidence=0.95,
        )
        for _ in range(2000)
    ]
    observed = [one.observed for one in seen if one is not None]
    assert np.mean(observed) == pytest.approx(0.00225, rel=0.03)
    assert np.quantile(observed, 0.95) == pytest.approx(0.00423, rel=0.05)


def test_wasserstein_is_as_scipy_has_it_where_nothing_lies_beyond_the_edges() -> None:
    generator = np.random.default_rng(2)
    before, now = generator.normal(size=50_000), generator.normal(0.2, 1.3, size=20_000)
    edges = np.linspace(-7, 7, 120)
    found = wasserstein(edges.tolist(), binned(edges, before), binned(edges, now))
    assert found == pytest.approx(stats.wasserstein_distance(before, now) / before.std(), rel=0.01)


def test_one_value_far_out_does_not_decide_the_distance() -> None:
    generator = np.random.default_rng(3)
    before = generator.normal(size=10_000)
    edges = edges_from(np.quantile(before, shares_of(10_000)).tolist())
    alike = binned(np.array(edges), np.concatenate([before[:999], [1e12]]))
    found = wasserstein(edges, binned(np.array(edges), before), alike)
    assert found is not None
    assert found < 0.05


@given(st.dictionaries(st.text(min_size=1), st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_hochberg_lies_between_no_adjustment_and_holm(p_values: dict[str, float]) -> None:
    adjusted, stricter = benjamini_hochberg(p_values), holm(p_values)
    assert list(adjusted) == list(p_values)
    for name, p in p_values.items():
        assert p - 1e-12 <= adjusted[name] <= 1
        assert adjusted[name] <= stricter[name] + 1e-12
    expected = stats.false_discovery_control(list(p_values.values()))
    assert list(adjusted.values()) == pytest.approx(list(expected))


def test_values_beyond_all_seen_before_come_by_chance_as_often_as_is_said() -> None:
    generator, alarms = np.random.default_rng(4), 0
    for _ in range(2000):
        before, now = generator.normal(size=300), generator.normal(size=200)
        beyond = int(((now < before.min()) | (now > before.max())).sum())
        alarms += beyond_range_p(beyond, 200, 300) <= ALPHA
    assert alarms <= stats.binom.ppf(0.999, 2000, ALPHA)
    assert beyond_range_p(20, 200, 300) < 1e-6


@pytest.mark.parametrize(
    ("categories", "rows", "later"),
    [(500, 500, 500), (50, 200, 200), (50, 200, 2_000), (500, 2_000, 200)],
)
def test_categories_never_seen_come_by_chance_where_the_reference_is_small(
    categories: int, rows: int, later: int
) -> None:
    """Of 500 even categories a sample of 500 lacks a third: a like one brings many new ones."""
    generator, alarms = np.random.default_rng(6), 0
    for _ in range(500):
        before, now = (
            np.bincount(generator.integers(categories, size=size), minlength=categories)
            for size in (rows, later)
        )
        once, twice = ((before == count).sum() for count in (1, 2))
        unseen = int(now[before == 0].sum())
        alarms += unseen_categories_p(unseen, later, int(once), int(twice), rows) <= ALPHA
    assert alarms <= stats.binom.ppf(0.999, 500, ALPHA)
    assert unseen_categories_p(10, 500, 0, 0, 500) < 0.02
