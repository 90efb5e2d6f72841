"""How much each feature moves a model's answers: the same question for every kind of model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

ROWS = 2_000  # that are looked at, at most


def importance(
    predict: Callable[[pd.DataFrame], NDArray[np.float64]], frame: pd.DataFrame, seed: int
) -> dict[str, float]:
    """The share of each feature in how far answers move when its values change places.

    Permutation importance (Breiman 2001, Random Forests) of the answers themselves, so that it
    needs no labels. Empty where nothing moves them.
    """
    generator = np.random.default_rng(seed)
    rows = frame.sample(min(ROWS, len(frame)), random_state=seed)
    before = predict(rows)
    moved = {}
    for name in rows.columns:
        values = rows[name].iloc[generator.permutation(len(rows))].set_axis(rows.index)
        moved[str(name)] = float(np.abs(predict(rows.assign(**{name: values})) - before).mean())
    total = sum(moved.values())
    return {name: far / total for name, far in moved.items()} if total > 0 else {}
