"""Judges a model on the held-out rows: against thresholds, and against the champion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.gates.metrics import SMALLER_IS_BETTER, require_metric, score
from penstock.gates.thresholds import CHAMPION, judge, judge_better, judge_champion
from penstock.records import Check, ModelReport
from penstock.settings import GateSettings
from penstock.stats.bootstrap import paired_difference, weighted_metric


@dataclass(frozen=True)
class Champion:
    label: str  # name@version
    probability: NDArray[np.float64] | None  # on the same held-out rows; None: it has none
    reason: str = ""  # why it has none


def evaluate(
    label: NDArray[np.int8],
    probability: NDArray[np.float64],
    gates: GateSettings,
    *,
    threshold: float,
    subject: str,
    seed: int,
    champion: Champion | None = None,
    extra: dict[str, float] | None = None,
    better_by: float | None = None,
) -> ModelReport:
    """All metrics, one check a threshold, and one for the champion where there is one.

    `label` and `probability` have shape (n,); `extra` are metrics of the project's own evaluate().
    `better_by`: what it must gain on the champion; None: it may be as good.
    """
    metrics = {**score(label, probability, threshold), **(extra or {})}
    checks = [judge(name, metrics, rule) for name, rule in gates.model.items()]
    if champion and gates.champion.metric:
        checks += _against(champion, label, probability, gates, threshold, seed, better_by)
    if not checks:
        checks = [_nothing_asked()]
    return ModelReport(
        subject=subject,
        checks=tuple(checks),
        metrics=metrics,
        rows=len(label),
        champion=champion.label if champion else "",
    )


def _against(
    champion: Champion,
    label: NDArray[np.int8],
    probability: NDArray[np.float64],
    gates: GateSettings,
    threshold: float,
    seed: int,
    better_by: float | None,
) -> list[Check]:
    settings = gates.champion
    require_metric(settings.metric, "[gates.champion] metric")
    if champion.probability is None:
        incomparable = Check(
            name=CHAMPION,
            passed=False,
            observed="not comparable",
            expected=f"no worse than {champion.label} by more than {settings.margin:g}",
            reason=f'{champion.reason}; set [gates.champion] metric = "" to go without',
        )
        return [incomparable]
    difference = paired_difference(
        weighted_metric(settings.metric, label, probability, threshold),
        weighted_metric(settings.metric, label, champion.probability, threshold),
        len(label),
        resamples=settings.resamples,
        confidence=settings.confidence,
        seed=seed,
    )
    smaller, name = settings.metric in SMALLER_IS_BETTER, champion.label
    found = [judge_champion(difference, name, settings, smaller_is_better=smaller)]
    if better_by is not None:
        metric = settings.metric
        found.append(judge_better(difference, name, metric, better_by, smaller_is_better=smaller))
    return found


def _nothing_asked() -> Check:
    return Check(
        name="no thresholds",
        passed=True,
        observed="no [gates.model] in the settings",
        expected="nothing",
        reason="any model passes; set thresholds in [gates.model]",
    )
