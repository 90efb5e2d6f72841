"""The pictures that go with a model: ROC, precision-recall, calibration, importance, search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.training.search import SearchResult

INK, ACCENT, FAINT = "#1f2933", "#0b7285", "#adb5bd"
SIZE = (5.2, 4.2)


def draw_all(
    folder: Path,
    label: NDArray[np.int8],
    probability: NDArray[np.float64],
    shares: Mapping[str, float],
    search: SearchResult | None,
    metric: str,
) -> list[Path]:
    """Writes one PNG a picture, of the validation period, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [
        _roc(folder / "roc.png", label, probability),
        _precision_recall(folder / "precision_recall.png", label, probability),
        _calibration(folder / "calibration.png", label, probability),
    ]
    if shares:
        drawn.append(_importance(folder / "feature_importance.png", shares))
    if search:
        drawn.append(_search(folder / "search.png", search, metric))
    return drawn


def _axes(title: str, x: str, y: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained", dpi=110)
    axes = figure.subplots()
    axes.set_title(title, color=INK, loc="left", fontsize=11)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=FAINT, alpha=0.35, linewidth=0.6)
    return figure, axes


def _roc(file: Path, label: NDArray[np.int8], probability: NDArray[np.float64]) -> Path:
    from sklearn.metrics import roc_auc_score, roc_curve

    false_positive, true_positive, _ = roc_curve(label, probability)
    area = roc_auc_score(label, probability)
    figure, axes = _axes(f"ROC, area {area:.3f}", "false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1)
    axes.plot(false_positive, true_positive, color=ACCENT)
    figure.savefig(file)
    return file


def _precision_recall(
    file: Path, label: NDArray[np.int8], probability: NDArray[np.float64]
) -> Path:
    from sklearn.metrics import average_precision_score, precision_recall_curve

    precision, recall, _ = precision_recall_curve(label, probability)
    average = average_precision_score(label, probability)
    figure, axes = _axes(f"Precision and recall, average {average:.3f}", "recall", "precision")
    axes.axhline(label.mean(), color=FAINT, linestyle="--", linewidth=1)
    axes.plot(recall, precision, color=ACCENT)
    axes.set_ylim(0, 1.02)
    figure.savefig(file)
    return file


def _calibration(file: Path, label: NDArray[np.int8], probability: NDArray[np.float64]) -> Path:
    from sklearn.calibration import calibration_curve

    observed, predicted = calibration_curve(label, probability, n_bins=10, strategy="quantile")
    figure, axes = _axes("Calibration in tenths", "predicted probability", "observed share")
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1)
    axes.plot(predicted, observed, color=ACCENT, marker="o", markersize=4)
    figure.savefig(file)
    return file


def _importance(file: Path, shares: Mapping[str, float]) -> Path:
    top = sorted(shares.items(), key=lambda item: item[1])[-20:]
    figure, axes = _axes("Feature importance", "share of what the model uses", "")
    axes.barh([name for name, _ in top], [value for _, value in top], color=ACCENT, height=0.65)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(visible=False, axis="y")
    figure.savefig(file)
    return file


def _search(file: Path, search: SearchResult, metric: str) -> Path:
    figure, axes = _axes(f"Search, best {search.value:.4f}", "trial", metric)
    values = [trial.value for trial in search.trials]
    axes.plot(range(1, len(values) + 1), values, color=FAINT, marker="o", linewidth=0.8)
    best = np.maximum.accumulate(values) if search.value >= max(values) else None
    if best is not None:
        axes.step(range(1, len(values) + 1), best, where="post", color=ACCENT)
    figure.savefig(file)
    return file
