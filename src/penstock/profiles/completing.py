"""A training set's profile becomes a model's: with what the model answered, and what moves it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from penstock.profiles.counting import profile_of
from penstock.profiles.profile import PREDICTION, Profile, Scores
from penstock.stats.outcomes_by_score import condensed, counted


def completed(
    profile: Profile,
    probability: NDArray[np.float64],
    label: NDArray[np.int8],
    *,
    threshold: float,
    importance: Mapping[str, float],
    model: str,
) -> Profile:
    """With a model's held-out answers, shape (n,), and what came true of them.

    `importance` is by feature; `model` is a digest.
    """
    answers = profile_of(pa.table({PREDICTION: probability}), [PREDICTION])
    columns = tuple(
        column.model_copy(update={"importance": _rounded(importance.get(column.name))})
        for column in profile.columns
    )
    return profile.model_copy(
        update={
            "columns": columns,
            "prediction": answers.columns[0],
            "scores": _scores(probability, label, threshold),
            "model": model,
        }
    )


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
