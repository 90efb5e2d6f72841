"""Bins of answers that fit every model."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stats.population_stability import population_stability
from penstock.stats.score_bins import NOT_A_NUMBER, equal_shares, score_bins


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=50))
def test_bins_ascend_with_values(values: list[float]) -> None:
    ordered = np.array(sorted(values))
    bins = score_bins(ordered)
    assert (np.diff(bins) >= 0).all()
    assert bins.min() > NOT_A_NUMBER


histograms = st.dictionaries(st.integers(-600, 600), st.integers(1, 500), min_size=1)


@given(histograms, histograms, st.integers(0, 3))
def test_groups_lose_nothing(one: dict[int, int], other: dict[int, int], missing: int) -> None:
    other = {**other, NOT_A_NUMBER: missing}
    grouped = equal_shares(one, other)
    assert [sum(group.values()) for group in grouped] == [sum(one.values()), sum(other.values())]
    assert grouped[1].get(NOT_A_NUMBER, 0) == missing
    assert len({*grouped[0], *grouped[1]}) <= 11


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({10: 900}, {90: 30}),  # two constants
        ({10: 450, 90: 450}, {50: 30}),  # nothing in between before
        ({10: 900}, {NOT_A_NUMBER: 30}),
        ({150: 900}, {190: 30}),  # beyond 1, as regressions answer
    ],
)
def test_what_lies_elsewhere_is_told_apart(one: dict[int, int], other: dict[int, int]) -> None:
    found = population_stability(*equal_shares(one, other), confidence=0.999)
    assert found is not None
    assert found.low > 0.2


def test_the_same_distribution_is_no_distance_however_skewed() -> None:
    generator = np.random.default_rng(5)
    far = 0
    for _ in range(200):
        one, other = (Counter(score_bins(generator.beta(0.4, 8, n)).tolist()) for n in (9000, 1000))
        found = population_stability(*equal_shares(one, other), confidence=0.999)
        assert found is not None
        far += found.low > 0.02
    assert far == 0
