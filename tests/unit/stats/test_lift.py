"""Lifts from sums that add, against GrowthBook's gbstats, and what holds for any data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.stats.confidence_sequences import asymptotic_interval
from penstock.stats.lift import Lift, Undefined, lift, share_interval
from penstock.stats.moments import Moments, merged, moments_of, moments_of_counts

CONTROL = Moments(
    5000, 10250.0, 42100.0, 30100.0, 260300.0, 77400.0, 9900.0, 40000.0, 36500.0
)  # n, y, yy, d, dd, yd, x, xx, xy
TREATMENT = Moments(5200, 10920.0, 45900.0, 31100.0, 268900.0, 82000.0, 10300.0, 41700.0, 38900.0)


def plain(sums: Moments) -> Moments:
    return Moments(sums.n, sums.y, sums.yy)


def ratio(sums: Moments) -> Moments:
    return sums._replace(x=0.0, xx=0.0, xy=0.0)


def with_covariate(sums: Moments) -> Moments:
    return Moments(sums.n, sums.y, sums.yy, x=sums.x, xx=sums.xx, xy=sums.xy)


def lift_of(control: Moments, treatment: Moments, *, relative: bool = False) -> Lift:
    found = lift(control, treatment, relative=relative)
    assert isinstance(found, Lift), found
    return found


# gbstats 0.8.0 (numpy 1.26.4), run apart: TwoSidedTTest on SampleMeanStatistic, RatioStatistic and
# RegressionAdjustedStatistic of the sums above: `expected` and `uplift.stddev`.
GBSTATS = [
    (plain, False, 0.050000000000000266, 0.04114900238081618),
    (plain, True, 0.024390243902439157, 0.02031809416427548),
    (ratio, False, 0.01059384046746642, 0.00661853926176104),
    (ratio, True, 0.031109716884950168, 0.019736438555874498),
    (with_covariate, False, 0.04938243411890264, 0.025696296502219582),
    # gbstats leaves the square of the lift times the variance that the covariate explains out of
    # the delta method: 0.012687876 there, 0.012686292 in full.
    (with_covariate, True, 0.02408899225312324, 0.012687876147999079),
]


@pytest.mark.parametrize(("metric", "relative", "estimate", "error"), GBSTATS)
def test_a_lift_is_that_of_gbstats(
    metric: object, relative: bool, estimate: float, error: float
) -> None:
    assert callable(metric)
    found = lift_of(metric(CONTROL), metric(TREATMENT), relative=relative)
    assert found.estimate == pytest.approx(estimate, rel=1e-9)
    exact = not (relative and metric is with_covariate)
    assert found.error == pytest.approx(error, rel=1e-9 if exact else 2e-4)


def test_the_slope_of_the_covariate_is_that_of_gbstats() -> None:
    found = lift_of(with_covariate(CONTROL), with_covariate(TREATMENT))
    assert found.slope == pytest.approx(0.8028356454267574)  # theta


def test_an_always_valid_interval_is_that_of_gbstats() -> None:
    # gbstats 0.8.0, SequentialTwoSidedTTest with sequential_tuning_parameter 5000 on the means
    found = lift_of(plain(CONTROL), plain(TREATMENT))
    interval = asymptotic_interval(
        found.estimate, found.error, 10_200, alpha=0.05, tightest_at=5000
    )
    assert interval == pytest.approx((-0.07603652385021112, 0.17603652385021165))


numbers = st.floats(-50, 50).map(lambda number: round(number, 3))
units = st.lists(
    st.tuples(numbers, st.floats(0.5, 9).map(lambda v: round(v, 3)), numbers), min_size=3
)
Unit = tuple[float, float, float]


def of_units(rows: list[Unit]) -> Moments:
    return moments_of([y for y, _, _ in rows], [d for _, d, _ in rows], [x for _, _, x in rows])


@given(units, st.data())
@settings(max_examples=60, deadline=None)
def test_sums_of_parts_are_the_sums_of_all(rows: list[Unit], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(rows)))
    parts = [of_units(rows[:cut]), of_units(rows[cut:]), Moments()]
    assert merged(parts) == pytest.approx(of_units(rows), rel=1e-9, abs=1e-9)
    assert merged([]) == Moments()


@given(units, units)
@settings(max_examples=60, deadline=None)
def test_a_covariate_that_does_not_vary_changes_nothing(
    control: list[Unit], treatment: list[Unit]
) -> None:
    bare = [moments_of([y for y, _, _ in rows]) for rows in (control, treatment)]
    zero = [
        moments_of([y for y, _, _ in rows], x=[0.0] * len(rows)) for rows in (control, treatment)
    ]
    assert lift(*bare, relative=False) == lift(*zero, relative=False)


@given(units, units)
@settings(max_examples=60, deadline=None)
def test_a_ratio_with_one_event_a_unit_is_a_mean(
    control: list[Unit], treatment: list[Unit]
) -> None:
    means = [moments_of([y for y, _, _ in rows]) for rows in (control, treatment)]
    ratios = [
        moments_of([y for y, _, _ in rows], d=[1.0] * len(rows)) for rows in (control, treatment)
    ]
    of_means, of_ratios = lift(*means, relative=False), lift(*ratios, relative=False)
    assert type(of_means) is type(of_ratios)
    if isinstance(of_means, Lift):
        assert of_ratios == pytest.approx(of_means, rel=1e-6, abs=1e-9)


def test_a_covariate_that_explains_half_saves_half_of_the_variance() -> None:
    generator = np.random.default_rng(3)

    def arm() -> Moments:
        before = generator.normal(5, 1, 20_000)
        return moments_of(before + generator.normal(0, 1, 20_000), x=before)  # type: ignore[arg-type]

    control, treatment = arm(), arm()
    adjusted = lift_of(control, treatment)
    assert adjusted.slope == pytest.approx(1.0, abs=0.02)
    unadjusted = lift_of(plain(control), plain(treatment))
    assert (adjusted.error / unadjusted.error) ** 2 == pytest.approx(0.5, abs=0.02)


def test_errors_of_relative_lifts_are_those_of_repeated_experiments() -> None:
    # Ratio metric with 1 to 10 events a unit and a covariate behind it: 1,500 experiments.
    generator = np.random.default_rng(4)

    def arm() -> Moments:
        events = generator.integers(1, 11, 400).astype(float)
        taste = generator.normal(0.4, 0.1, 400)
        hits = events * np.clip(taste + generator.normal(0, 0.1, 400), 0, 1)
        return moments_of(hits, events, taste)  # type: ignore[arg-type]

    lifts = [lift_of(arm(), arm(), relative=True) for _ in range(1_500)]
    spread = np.std([found.estimate for found in lifts])
    assert np.mean([found.error for found in lifts]) == pytest.approx(spread, rel=0.06)
    beyond = np.mean([abs(found.estimate) > 1.96 * found.error for found in lifts])
    assert 0.0315 < beyond < 0.0685  # 0.05 ± 3.29·√(0.05·0.95/1,500)


@pytest.mark.parametrize(
    ("control", "treatment", "relative", "reason"),
    [
        (Moments(), moments_of_counts(9, 3), False, "0 units"),
        (moments_of_counts(1, 1), moments_of_counts(9, 3), False, "1 units"),
        (moments_of_counts(9, 0), moments_of_counts(9, 0), False, "does not vary"),
        (moments_of([math.inf, 1.0]), moments_of([1.0, 2.0]), False, "not finite"),
        (moments_of([1.0, -1.1]), moments_of([1.0, 2.0]), True, "not clearly above 0"),
        (moments_of_counts(100, 3), moments_of_counts(100, 9), True, "not clearly above 0"),
        (moments_of([1.0, 2.0], [1.0, -1.0]), moments_of_counts(9, 3), False, "nothing"),
    ],
)
def test_what_cannot_be_computed_says_why(
    control: Moments, treatment: Moments, relative: bool, reason: str
) -> None:
    found = lift(control, treatment, relative=relative)
    assert isinstance(found, Undefined)
    assert reason in found.reason


def test_an_interval_of_a_share_is_wilsons() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81/263, 15/148, 0/20, 1/29 (score method)
    for hits, trials, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        found = share_interval(moments_of_counts(trials, hits), 1.959964)
        assert found == pytest.approx((low, high), abs=1e-4)


def test_clustered_events_widen_the_interval_of_a_share() -> None:
    # 200 units of 10 answers; all slow answers are of 20 units that have nothing else
    clustered = moments_of([10.0] * 20 + [0.0] * 180, [10.0] * 200)
    independent = moments_of_counts(2_000, 200)
    wide, narrow = share_interval(clustered, 1.96), share_interval(independent, 1.96)
    assert wide[1] - wide[0] > 2.5 * (narrow[1] - narrow[0])
