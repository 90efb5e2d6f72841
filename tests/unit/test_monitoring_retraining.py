"""When retraining pays: on drifting rates with known truth, and on real purchases."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from penstock.monitoring.retraining import decide
from penstock.monitoring_settings import PerformanceSettings
from penstock.stats.outcomes_by_score import Outcomes, counted

SETTINGS = PerformanceSettings()
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def labelled(size: int, share: float, seed: int) -> Outcomes:
    """Scores of which only a share comes true."""
    generator = np.random.default_rng(seed)
    score = generator.beta(0.8, 2.5, size).round(4)
    return counted(score, (generator.random(size) < score * share).astype(np.int8))


def test_scores_that_mean_what_they_say_are_rarely_called_worth_replacing() -> None:
    told = [decide(labelled(3_000, 1.0, seed), SETTINGS).pays for seed in range(200)]

    assert sum(map(bool, told)) <= 5  # at most one in twenty would be, with no gain asked for


def test_a_rate_that_fell_by_a_third_is() -> None:
    told = [decide(labelled(3_000, 0.66, seed), SETTINGS).pays for seed in range(50)]

    assert sum(map(bool, told)) >= 48


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (labelled(60, 1.0, 1), "60 labelled predictions; 100 are needed to tell"),
        (labelled(500, 0.0, 1), "all 500 rows are of one class"),
    ],
)
def test_what_cannot_be_told_is_not_decided(known: Outcomes, why: str) -> None:
    decision = decide(known, SETTINGS)

    assert (decision.pays, decision.reason) == (None, why)


def test_constant_scores_are_worth_replacing_when_their_one_value_is_wrong() -> None:
    always = Outcomes(np.array([0.5]), np.array([100.0]), np.array([900.0]))

    assert decide(always, SETTINGS).pays


@pytest.mark.slow
def test_cdnow_wins_most_of_retraining_each_month_with_a_few_retrainings() -> None:
    """A model of how long ago the last purchase was, and how many there were: seconds."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import cdnow_walk as cdnow
    finally:
        sys.path.remove(str(BENCHMARKS))
    if not cdnow.CSV.is_file():
        pytest.skip("the CDNOW purchases are not here; CDNOW_CSV may name the file")
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    def features(rows: pd.DataFrame) -> pd.DataFrame:
        return np.log1p(rows[["purchases_90d", "purchases", "recency_days", "amount_usd_90d"]])

    def fit(known: pd.DataFrame) -> cdnow.Model:
        model = LogisticRegression(max_iter=300).fit(features(known), known.buys_again)
        return lambda rows: model.predict_proba(features(rows))[:, 1]

    table = cdnow.rows()
    rates = table.groupby("event_timestamp").buys_again.mean()
    assert (rates.iloc[0].round(2), rates.iloc[-1].round(2)) == (0.23, 0.14)
    months = cdnow.walk(table, SETTINGS, fit)

    never, each, told = (
        np.mean([one.losses[name] for one in months])
        for name in ("never", "each month", "when told")
    )
    times = sum(one.retrained for one in months)
    assert 1 <= times <= 4 < len(months) - 1
    assert never - told > 0.6 * (never - each)
