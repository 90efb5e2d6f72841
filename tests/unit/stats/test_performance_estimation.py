"""Performance without labels: published numbers, and truths that are known by construction."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from penstock.stats.outcomes_by_score import Outcomes, condensed, counted, metric
from penstock.stats.performance_estimation import Estimate, Estimates, estimated, realised

SAMPLE = Path(__file__).parents[2] / "vectors" / "nannyml" / "synthetic_sample.csv"
THRESHOLD = 0.475  # what the sample's model predicts positive: 0.48 and above
METRICS = ("accuracy", "f1", "precision", "recall", "auc_roc")


def of_sample(name: str) -> Outcomes:
    with SAMPLE.open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["rows"] == name]
    columns = (
        np.array([float(row[column]) for row in rows])
        for column in ("score", "positives", "negatives")
    )
    return Outcomes(*columns)


def value(found: Estimates, name: str) -> float:
    one = found[name]
    assert isinstance(one, Estimate), one
    return one.value


# NannyML 0.13.1, tests/performance_estimation/CBPE/test_cbpe_metrics.py; its AUC differs from the
# exact one by 3e-6, which its own test allows.
@pytest.mark.parametrize(
    ("rows", "published"),
    [
        (
            "0-19999",
            {
                "accuracy": 0.9478536003143163,
                "f1": 0.9479079222515973,
                "precision": 0.9436121782324026,
                "recall": 0.9522429574319092,
                "auc_roc": 0.9711057564966745,
            },
        ),
        (
            "20000-49999",
            {
                "accuracy": 0.9245926106862006,
                "f1": 0.9278089207836576,
                "precision": 0.9197836255005452,
                "recall": 0.9359754933378336,
                "auc_roc": 0.9636286015592977,
            },
        ),
    ],
)
def test_estimates_are_those_that_nannyml_publishes(rows: str, published: dict[str, float]) -> None:
    reference, sample = of_sample("reference"), of_sample(rows)
    found = estimated(sample.scores, reference, METRICS, THRESHOLD, np.random.default_rng(1))

    for name, expected in published.items():
        assert value(found, name) == pytest.approx(
            expected, rel=1e-5 if name == "auc_roc" else 1e-12
        )


def test_what_was_realised_of_the_published_sample_lies_in_the_interval_of_its_estimate() -> None:
    reference, sample = of_sample("reference"), of_sample("0-19999")
    generator = np.random.default_rng(1)
    found = estimated(sample.scores, reference, METRICS, THRESHOLD, generator)
    known = realised(sample, reference, METRICS, THRESHOLD, generator)

    assert value(known, "accuracy") == pytest.approx(0.94815, abs=1e-12)
    for name in METRICS:
        one = found[name]
        assert isinstance(one, Estimate)
        low, high = one.interval()
        assert low < value(known, name) < high
        assert high - low < 0.015


@pytest.mark.slow
def test_what_comes_true_lies_in_the_interval_as_often_as_is_said() -> None:
    """Overconfident scores, and inputs that moved: 95 % of the intervals hold what is realised."""
    generator, worlds = np.random.default_rng(3), 60
    hits = dict.fromkeys(METRICS, 0)

    def drawn(size: int, *shape: float) -> Outcomes:
        score = generator.beta(*shape, size)
        odds = np.log(score / (1 - score)) / 1.5  # what a score of the model means
        label = generator.random(size) < 1 / (1 + np.exp(-odds))
        return counted(score, label.astype(np.int8))

    for _ in range(worlds):
        reference = condensed(drawn(3_000, 0.7, 1.3), THRESHOLD)
        sample = drawn(1_000, 1.1, 1.0)
        found = estimated(sample.scores, reference, METRICS, THRESHOLD, generator)
        for name in METRICS:
            one = found[name]
            assert isinstance(one, Estimate)
            low, high = one.interval()
            hits[name] += low <= metric(name, sample.score, THRESHOLD)(sample.weights) <= high
    least = stats.binom.ppf(0.001, worlds, 0.95)
    assert all(count >= least for count in hits.values()), hits
