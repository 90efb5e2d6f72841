"""A training set's profile becomes a model's: with what the model answered, and what moves it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from penstock.profiles.counting import profile_of
from penstock.profiles.profile import PREDICTION, Profile, Scores
from penstock.stats.score_bins import score_bins


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
    bins = score_bins(probability)
    columns = tuple(
        column.model_copy(update={"importance": _rounded(importance.get(column.name))})
        for column in profile.columns
    )
    return profile.model_copy(
        update={
            "columns": columns,
            "prediction": answers.columns[0],
            "scores": Scores(
                rows=_counted(bins), positives=_counted(bins[label == 1]), threshold=threshold
            ),
            "model": model,
        }
    )


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 6)


def _counted(bins: NDArray[np.int64]) -> dict[int, int]:
    numbers, counts = np.unique(bins, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))
