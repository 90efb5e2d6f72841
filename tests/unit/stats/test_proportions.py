"""Intervals of shares, and how far two samples of predictions are apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stats.population_stability import null_mean, population_stability
from penstock.stats.proportions import clustering_factor, wilson


@pytest.mark.parametrize(
    ("bad", "trials", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, table I, method 3 (score without continuity)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_is_that_of_newcombe(bad: int, trials: int, low: float, high: float) -> None:
    assert wilson(bad, trials) == pytest.approx((low, high), abs=5e-5)


def test_without_trials_nothing_is_known() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("bad", "units", "factor"), [(30, 10, 3.0), (10, 10, 1.0), (0, 0, 1.0), (4, 0, 1.0)]
)
def test_the_clustering_factor(bad: int, units: int, factor: float) -> None:
    assert clustering_factor(bad, units) == factor


def test_the_index_of_samples_that_do_not_differ_is_chi_square() -> None:
    # 10 bins, 20,000 against 5,000: mean 9·(1/20,000 + 1/5,000) = 0.00225, and the 95 % quantile
    # 16.919·0.00025 = 0.00423 (Yurdakul and Naranjo 2020).
    assert null_mean(10, 20_000, 5_000) == pytest.approx(0.00225)
    generator = np.random.default_rng(5)
    even = np.full(10, 0.1)
    observed, lows = [], []
    for _ in range(2000):
        found = population_stability(
            dict(enumerate(generator.multinomial(20_000, even).tolist())),
            dict(enumerate(generator.multinomial(5_000, even).tolist())),
            confidence=0.95,
        )
        assert found
        observed.append(found.observed)
        lows.append(found.low)
    assert np.mean(observed) == pytest.approx(0.00225, rel=0.05)
    assert np.quantile(observed, 0.95) == pytest.approx(0.00423, rel=0.07)
    assert np.mean(np.array(lows) > 0) < 0.05  # so often is drift seen where there is none


def test_the_interval_holds_the_distance_that_there_is() -> None:
    # PSI of (.5, .3, .2) and (.4, .3, .3): .1·ln(.5/.4) + .1·ln(.3/.2) = 0.06286
    generator = np.random.default_rng(6)
    inside = 0
    for _ in range(500):
        found = population_stability(
            dict(enumerate(generator.multinomial(4000, [0.5, 0.3, 0.2]).tolist())),
            dict(enumerate(generator.multinomial(1000, [0.4, 0.3, 0.3]).tolist())),
            confidence=0.95,
        )
        assert found
        inside += found.low <= 0.06286 <= found.high
    assert inside >= 500 * 0.92


def test_missing_and_outside_are_bins_like_others() -> None:
    # Half of the predictions are missing in one sample: 0.5·ln(0.5/ε) + …, far above any threshold
    found = population_stability({5: 5000}, {5: 2500, -1: 1000, 20: 1500}, confidence=0.95)
    assert found
    assert found.low > 0.2


def test_an_empty_sample_has_no_index() -> None:
    assert population_stability({1: 5}, {}, confidence=0.95) is None
    assert population_stability({1: 0}, {1: 5}, confidence=0.95) is None


@given(
    st.dictionaries(st.integers(-1, 20), st.integers(0, 10**6), min_size=1),
    st.dictionaries(st.integers(-1, 20), st.integers(0, 10**6), min_size=1),
)
def test_limits_are_in_order_and_not_negative(one: dict[int, int], two: dict[int, int]) -> None:
    found = population_stability(one, two, confidence=0.99)
    if found:
        assert 0 <= found.low <= found.estimate <= found.high
