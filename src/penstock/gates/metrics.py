"""Metrics of predicted probabilities, by the names that settings use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.errors import SettingsError

METRICS = (
    "auc_roc",
    "average_precision",
    "precision",
    "recall",
    "f1",
    "accuracy",
    "log_loss",
    "brier",
)
SMALLER_IS_BETTER = {"log_loss", "brier"}


def score(
    label: NDArray[np.int8], probability: NDArray[np.float64], threshold: float
) -> dict[str, float]:
    """All metrics of binary labels (n,) and probabilities (n,); `threshold` makes the classes.

    Precision is 0 where nothing is predicted positive, as scikit-learn has it with zero_division.
    """
    from sklearn import metrics

    chosen = probability >= threshold
    return {
        "auc_roc": float(metrics.roc_auc_score(label, probability)),
        "average_precision": float(metrics.average_precision_score(label, probability)),
        "precision": float(metrics.precision_score(label, chosen, zero_division=0)),
        "recall": float(metrics.recall_score(label, chosen)),
        "f1": float(metrics.f1_score(label, chosen)),
        "accuracy": float(metrics.accuracy_score(label, chosen)),
        "log_loss": float(metrics.log_loss(label, np.clip(probability, 1e-15, 1 - 1e-15))),
        "brier": float(metrics.brier_score_loss(label, probability)),
    }


def require_metric(name: str, setting: str) -> None:
    if name not in METRICS:
        raise SettingsError(
            f"{setting} is {name!r}, which is no metric", hint=f"choose one of {', '.join(METRICS)}"
        )
