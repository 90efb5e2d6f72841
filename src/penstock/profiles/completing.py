"""A model's profile: the rows that it was judged on, what it answered to them, and what moves it.

They are the latest that are known, and were never trained on; a mean over years of training would
differ from the present by the passing of time alone. Only what has never been seen is told by all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from penstock.profiles.counting import profile_of
from penstock.profiles.profile import PREDICTION, Column, Profile, Scores
from penstock.stats.outcomes_by_score import condensed, counted


def completed(
    learned: Profile,
    judged: Profile,
    probability: NDArray[np.float64],
    label: NDArray[np.int8],
    *,
    threshold: float,
    importance: Mapping[str, float],
    model: str,
) -> Profile:
    """Of a training set, the rows of it that a model was judged on, and its answers to them.

    Answers and labels have shape (n,), as the rows that were judged; `importance` is by feature;
    `model` is a digest.
    """
    answers = profile_of(pa.table({PREDICTION: probability}), [PREDICTION])
    columns = tuple(
        with_all_seen(column, learned.column(column.name)).model_copy(
            update={"importance": _rounded(importance.get(column.name))}
        )
        for column in judged.columns
    )
    return judged.model_copy(
        update={
            "columns": columns,
            "training_set": learned.training_set,
            "prediction": answers.columns[0],
            "scores": _scores(probability, label, threshold),
            "model": model,
        }
    )


def with_all_seen(judged: Column, learned: Column | None) -> Column:
    """The rows of one column, with the range and the categories of another added."""
    if learned is None:
        return judged
    numbers, words = judged.numbers, judged.words
    if numbers and learned.numbers:
        ends = (numbers.least, numbers.greatest, learned.numbers.least, learned.numbers.greatest)
        there = [end for end in ends if end is not None]
        numbers = numbers.model_copy(
            update={"least": min(there, default=None), "greatest": max(there, default=None)}
        )
    if words and learned.words and not words.buckets:
        seen = dict.fromkeys(learned.words.counts, 0) | words.counts
        words = words.model_copy(update={"counts": dict(sorted(seen.items()))})
    return judged.model_copy(update={"numbers": numbers, "words": words})


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 6)


def _scores(probability: NDArray[np.float64], label: NDArray[np.int8], threshold: float) -> Scores:
    there = np.isfinite(probability)
    found = condensed(counted(probability[there], label[there]), threshold)
    return Scores(
        score=tuple(found.score.round(6).tolist()),
        positives=tuple(found.positives.astype(int).tolist()),
        negatives=tuple(found.negatives.astype(int).tolist()),
        threshold=threshold,
    )
