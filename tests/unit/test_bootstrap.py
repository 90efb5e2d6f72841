"""Metrics as functions of row weights, and the paired interval built on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from penstock.errors import SettingsError
from penstock.gates.metrics import METRICS, require_metric, score
from penstock.stats.bootstrap import Interval, paired_difference, weighted_metric

THRESHOLD = 0.5
Rows = tuple[NDArray[np.int8], NDArray[np.float64]]


@st.composite
def scored_rows(draw: st.DrawFn) -> Rows:
    """Both classes, and probabilities in tenths: many ties, some at the threshold itself."""
    label = [0, 1, *draw(st.lists(st.integers(0, 1), max_size=30))]
    tenths = draw(st.lists(st.integers(0, 10), min_size=len(label), max_size=len(label)))
    return np.array(label, dtype=np.int8), np.array(tenths) / 10


@pytest.mark.slow  # importing scikit-learn takes seconds
@pytest.mark.parametrize("name", METRICS)
@pytest.mark.filterwarnings("ignore::UserWarning")
@given(rows=scored_rows())
@settings(max_examples=15, deadline=None)  # 20 ms each in scikit-learn
def test_unit_weights_give_scikit_learn_s_metric(name: str, rows: Rows) -> None:
    label, probability = rows
    weighted = weighted_metric(name, label, probability, THRESHOLD)(np.ones(len(label)))
    assert weighted == pytest.approx(score(label, probability, THRESHOLD)[name], abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
@given(rows=scored_rows(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_weight_of_n_is_the_row_n_times(name: str, rows: Rows, data: st.DataObject) -> None:
    label, probability = rows
    counts = data.draw(
        st.lists(st.integers(0, 3), min_size=len(label), max_size=len(label)).filter(any)
    )
    weighted = weighted_metric(name, label, probability, THRESHOLD)(np.array(counts, dtype=float))
    label, probability = np.repeat(label, counts), np.repeat(probability, counts)
    repeated = weighted_metric(name, label, probability, THRESHOLD)(np.ones(len(label)))
    assert weighted == pytest.approx(repeated, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("name", "label"), [("auc_roc", 0), ("auc_roc", 1), ("average_precision", 0)]
)
def test_a_metric_of_one_class_is_undefined_and_not_zero(name: str, label: int) -> None:
    metric = weighted_metric(name, np.full(3, label, np.int8), np.array([0.1, 0.2, 0.3]), 0.5)
    assert np.isnan(metric(np.ones(3)))


def test_an_area_by_hand() -> None:
    # pairs (negative, positive): 0.1<0.4 right, 0.1<0.4 right, 0.4=0.4 tie, 0.4=0.4 tie -> 3/4
    label, probability = np.array([0, 0, 1, 1], np.int8), np.array([0.1, 0.4, 0.4, 0.4])
    assert weighted_metric("auc_roc", label, probability, 0.5)(np.ones(4)) == 0.75


def interval(
    name: str, challenger: NDArray[np.float64], champion: NDArray[np.float64], seed: int = 7
) -> Interval:
    return paired_difference(
        weighted_metric(name, LABEL, challenger, THRESHOLD),
        weighted_metric(name, LABEL, champion, THRESHOLD),
        len(LABEL),
        resamples=200,
        confidence=0.95,
        seed=seed,
    )


GENERATOR = np.random.default_rng(1)
LABEL = GENERATOR.integers(0, 2, 400).astype(np.int8)
GOOD = np.clip(0.5 + 0.3 * (LABEL - 0.5) + GENERATOR.normal(0, 0.1, 400), 0, 1)
POOR = GENERATOR.uniform(0, 1, 400)


@pytest.mark.parametrize("name", METRICS)
def test_a_model_differs_from_itself_by_nothing_at_all(name: str) -> None:
    assert interval(name, GOOD, GOOD) == Interval(0.0, 0.0, 0.0, 200)


def test_a_better_model_is_seen_as_better_and_the_other_way_round() -> None:
    better, worse = interval("auc_roc", GOOD, POOR), interval("auc_roc", POOR, GOOD)
    assert 0 < better.low < better.estimate < better.high
    assert (worse.estimate, worse.low, worse.high) == pytest.approx(
        (-better.estimate, -better.high, -better.low)
    )


def test_the_interval_is_reproduced_by_its_seed() -> None:
    assert interval("auc_roc", GOOD, POOR) == interval("auc_roc", GOOD, POOR)
    assert interval("auc_roc", GOOD, POOR) != interval("auc_roc", GOOD, POOR, seed=8)


def test_resamples_without_a_class_are_left_out() -> None:
    label = np.array([0, 0, 0, 1], np.int8)
    metric = weighted_metric("auc_roc", label, np.array([0.1, 0.2, 0.3, 0.4]), 0.5)
    found = paired_difference(metric, metric, 4, resamples=200, confidence=0.95, seed=0)
    assert 0 < found.resamples < 200  # (3/4)^4 = 32 % of them have no positive
    assert (found.low, found.high) == (0.0, 0.0)


def test_where_nothing_can_be_compared_the_interval_is_not_a_number() -> None:
    metric = weighted_metric("auc_roc", np.zeros(3, np.int8), np.array([0.1, 0.2, 0.3]), 0.5)
    found = paired_difference(metric, metric, 3, resamples=100, confidence=0.95, seed=0)
    assert found.resamples == 0
    assert np.isnan([found.low, found.high, found.estimate]).all()


def test_an_unknown_metric_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="is 'auc', which is no metric") as caught:
        require_metric("auc", "[gates.champion] metric")
    assert "auc_roc" in caught.value.hint
