"""Is a column drawn from the distribution that the model learned? Pure.

Both must say so: a p-value at the sizes of both samples, and an effect that is large enough to
matter. Of millions of rows the effect decides, of few the p-value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.monitoring.quality import too_few
from penstock.monitoring.report import DRIFT, DRIFTED_SHARE, Measure, Verdict
from penstock.monitoring_settings import MonitoringSettings
from penstock.profiles.profile import Column, thinned
from penstock.stats.binned_samples import kolmogorov_smirnov, wasserstein
from penstock.stats.categories import chi_square, drawn_together, moved_share
from penstock.stats.lift import Undefined
from penstock.stats.population_stability import population_stability
from penstock.stats.two_sample_tests import benjamini_hochberg


@dataclass(frozen=True)
class Distance:
    """How far two samples of a column are apart."""

    p: float
    effects: Mapping[str, float]  # by the setting that says how large matters
    test: str


def distance_of(
    reference: Column, window: Column, independent: float = 1.0
) -> Distance | Undefined:
    """Numbers by Kolmogorov-Smirnov and Wasserstein, categories by χ² and PSI. Nulls are apart.

    `independent` is the share of the window's rows that the p-value may count.
    """
    if reference.numbers and window.numbers:
        return _numbers_apart(reference, window, independent)
    if reference.words and window.words:
        return _words_apart(reference, window, independent)
    return Undefined(f"a column of {reference.type} is not compared")


def drift_of(
    reference: Sequence[Column],
    window: Mapping[str, Column],
    settings: MonitoringSettings,
    independent: float = 1.0,
) -> tuple[Measure, ...]:
    """One measure a column, in the order of the reference; p-values are adjusted over all."""
    found = {one.name: _compared(one, window[one.name], settings, independent) for one in reference}
    distances = {name: far for name, far in found.items() if isinstance(far, Distance)}
    adjusted = benjamini_hochberg({name: far.p for name, far in distances.items()})
    measures = []
    for one in reference:
        far, now = found[one.name], window[one.name]
        if isinstance(far, Undefined):
            measures.append(
                Measure(DRIFT, one.name, Verdict.INSUFFICIENT, far.reason, rows=now.filled)
            )
        else:
            measures.append(_measure(one, now, far, adjusted[one.name], settings))
    return tuple(measures)


def drifted_share(measures: Sequence[Measure], settings: MonitoringSettings) -> Measure:
    """How much of what moves the predictions drifted: the importance of its features."""
    judged = [one for one in measures if one.verdict in (Verdict.FOUND, Verdict.FINE)]
    rows = max((one.rows for one in measures), default=0)
    if not judged:
        reason = measures[0].reason if measures else "there is no feature to compare"
        return Measure(DRIFTED_SHARE, "", Verdict.INSUFFICIENT, reason, rows=rows)
    known = any(one.details.get("importance") for one in judged)
    weights = [(one.details.get("importance") or 0.0) if known else 1.0 for one in judged]
    drifted = [one for one in judged if one.verdict is Verdict.FOUND]
    total = sum(weights)
    share = sum(w for w, one in zip(weights, judged, strict=True) if one in drifted) / total
    beyond = bool(drifted) and share >= settings.drifted_share
    of_what = "of the importance" if known else "of the features"
    return Measure(
        DRIFTED_SHARE,
        "",
        Verdict.FOUND if beyond else Verdict.FINE,
        f"{len(drifted)} of {len(judged)} features drifted: {share:.0%} {of_what}, limit "
        f"{settings.drifted_share:.0%}",
        value=share,
        rows=rows,
        details={"drifted": [one.subject for one in drifted]},
    )


def _compared(
    reference: Column, window: Column, settings: MonitoringSettings, independent: float
) -> Distance | Undefined:
    if not reference.filled:
        return Undefined("all null in the reference: there is nothing to compare with")
    count = int(window.filled * independent)
    if count < settings.min_rows:
        return Undefined(too_few(window.filled, count, settings.min_rows))
    return distance_of(reference, window, independent)


def _numbers_apart(reference: Column, window: Column, independent: float) -> Distance | Undefined:
    before, now = reference.numbers, window.numbers
    fewer = thinned(window, independent).numbers
    assert before is not None
    assert now is not None
    assert fewer is not None
    tested = kolmogorov_smirnov(before.counts, fewer.counts)
    if isinstance(tested, Undefined):
        return tested
    effects = {"moved": tested.statistic}
    far = wasserstein(before.edges, before.counts, now.counts)
    if far is not None:
        effects["distance"] = far
    return Distance(tested.p, effects, "Kolmogorov-Smirnov")


def _words_apart(reference: Column, window: Column, independent: float) -> Distance | Undefined:
    pooled = drawn_together(*_categories(reference, thinned(window, independent)))
    tested = chi_square(*pooled)
    if isinstance(tested, Undefined):
        return tested
    stability = population_stability(*pooled, confidence=0.95)
    assert stability is not None, "both samples have rows"
    effects = {"psi": stability.estimate, "moved": moved_share(*pooled)}
    return Distance(tested.p, effects, "chi-square")


def _measure(
    reference: Column, window: Column, far: Distance, p: float, settings: MonitoringSettings
) -> Measure:
    limits = {name: getattr(settings, name) for name in far.effects}
    large = [name for name, effect in far.effects.items() if effect >= limits[name]]
    # The effect that is the farthest beyond its limit tells how far it drifted.
    main = max(far.effects, key=lambda name: far.effects[name] / max(limits[name], 1e-12))
    drifted = bool(large) and p <= settings.alpha
    shown = ", ".join(
        f"{EFFECTS[name]} {effect:.3g} (limit {limits[name]:g})"
        for name, effect in far.effects.items()
    )
    if drifted:
        says = "drifted"
    elif p <= settings.alpha:
        says = "differs, too little to matter"
    else:
        says = "as by chance" if large else "alike"
    return Measure(
        DRIFT,
        reference.name,
        Verdict.FOUND if drifted else Verdict.FINE,
        f"{says}: {shown}; p {p:.2g} by {far.test}",
        value=far.effects[main],
        before=0.0,
        rows=window.filled,
        details={
            "effect": main,
            "effects": dict(far.effects),
            "p_value": far.p,
            "p_adjusted": p,
            "test": far.test,
            "importance": reference.importance,
        },
    )


EFFECTS = {
    "distance": "Wasserstein distance",
    "moved": "moved share",
    "psi": "PSI",
}


def _categories(reference: Column, window: Column) -> tuple[dict[str, int], dict[str, int]]:
    """By name, or by bucket where there are too many; what is neither is one more."""
    assert reference.words is not None
    assert window.words is not None
    if reference.words.buckets:
        before, now = reference.words.buckets, window.words.buckets
        return {str(i): n for i, n in enumerate(before)}, {str(i): n for i, n in enumerate(now)}
    there = dict(window.words.counts)
    if rest := window.filled - sum(there.values()):
        there["\0others"] = rest
    return dict(reference.words.counts), there
