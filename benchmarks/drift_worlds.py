"""Samples to compare: distributions that stay as they are, and ways in which they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pyarrow as pa

from penstock.monitoring.drift import drift_of
from penstock.monitoring.quality import quality_of
from penstock.monitoring.report import Verdict
from penstock.monitoring_settings import MonitoringSettings
from penstock.profiles.counting import BUCKETS, NAMED
from penstock.profiles.edges import edges_from, shares_of
from penstock.profiles.profile import Column, Numbers, Words

Values = np.ndarray[Any, np.dtype[Any]]
Draw = Callable[[np.random.Generator, int], Values]


def categories(count: int, skew: float = 0.0) -> Draw:
    """So many of them, evenly or as Zipf's law has it; by number, as `is_words` tells them."""
    weights = 1 / np.arange(1, count + 1) ** skew
    shares = weights / weights.sum()
    return lambda generator, size: generator.choice(count, size, p=shares)


def is_words(values: Values) -> bool:
    """Whether they are numbers of categories, and no quantities."""
    return values.dtype.kind == "i"


def with_nulls(draw: Draw, share: float) -> Draw:
    def drawn(generator: np.random.Generator, size: int) -> Values:
        return np.where(generator.random(size) < share, np.nan, draw(generator, size))

    return drawn


SAME: Mapping[str, Draw] = {
    "normal": lambda g, n: g.normal(size=n),
    "lognormal": lambda g, n: g.lognormal(0, 1.5, n),
    "Cauchy": lambda g, n: g.standard_cauchy(n),
    "counts, mean 1": lambda g, n: g.poisson(1.0, n).astype(float),
    "half zeros": lambda g, n: np.where(g.random(n) < 0.5, 0.0, g.lognormal(0, 1, n)),
    "normal, 30 % null": with_nulls(lambda g, n: g.normal(size=n), 0.3),
    **{f"{k} categories": categories(k) for k in (2, 10, 50, 500)},
    "zipf, 200 categories": categories(200, 1.2),
}


def column_of(values: Values, like: Column | None = None) -> Column:
    """A sample as a profile has it: in bins of its own, or in those of another."""
    if is_words(values):
        words = _words(values, like)
        return Column(name="x", type="VARCHAR", rows=len(values), nulls=0, words=words)
    there = np.sort(_there(values))
    if like and like.numbers:
        edges = like.numbers.edges
    else:
        places = np.ceil(np.array(shares_of(len(there))) * len(there)).astype(int) - 1
        edges = edges_from(there[places].tolist())
    below = np.searchsorted(there, edges, side="right")
    counts = np.diff(below, prepend=0, append=len(there))
    numbers = Numbers(
        edges=edges, counts=tuple(counts.tolist()), least=float(there[0]),
        greatest=float(there[-1]),
    )  # fmt: skip
    nulls = len(values) - len(there)
    return Column(name="x", type="DOUBLE", rows=len(values), nulls=nulls, numbers=numbers)


def _words(values: Values, like: Column | None) -> Words:
    counts = np.bincount(values)
    names = np.flatnonzero(counts)
    counts = counts[names]
    if like.words.buckets if like and like.words else len(names) > NAMED:
        places = [crc32(str(name).encode()) % BUCKETS for name in names.tolist()]
        buckets = np.bincount(places, weights=counts, minlength=BUCKETS).astype(int)
        return Words(counts={}, buckets=tuple(buckets.tolist()))
    found = {f"c{name}": count for name, count in zip(names.tolist(), counts.tolist(), strict=True)}
    return Words(counts=found, singletons=int((counts == 1).sum()))


# -- judges: whether a column drifted ---------------------------------------------------------


class Ours(NamedTuple):
    p: float  # of the test for drift; 1 where there is none
    drift: bool  # reported
    gates: bool  # whether a gate on the data is

    @property
    def reported(self) -> bool:
        return self.drift or self.gates


def ours(before: Values, now: Values, settings: MonitoringSettings) -> Ours:
    """As monitoring has it: the gates on the data, and drift."""
    reference = column_of(before)
    window = {"x": column_of(now, reference)}
    (drift,) = drift_of([reference], window, settings)
    gates = quality_of([reference], window, {}, settings)
    return Ours(
        drift.details.get("p_value", 1.0),
        drift.verdict is Verdict.FOUND,
        any(one.verdict is Verdict.FOUND for one in gates),
    )


def naive(before: Values, now: Values) -> bool:
    """Kolmogorov-Smirnov with p < 0.05 of numbers, PSI > 0.1 of categories, at any size."""
    from scipy.stats import ks_2samp

    if is_words(before):
        old, new = _shares(before, now)
        return bool(((new - old) * np.log(new / old)).sum() > 0.1)
    return bool(ks_2samp(_there(before), _there(now)).pvalue < 0.05)


def psi_over_deciles(before: Values, now: Values) -> bool:
    """PSI > 0.1 over the reference's deciles."""
    before, now = _there(before), _there(now)
    edges = np.unique(np.quantile(before, np.linspace(0, 1, 11)[1:-1]))
    counted = [
        np.bincount(np.searchsorted(edges, one), minlength=len(edges) + 1) for one in (before, now)
    ]
    old, new = (np.maximum(one, 0.5) / one.sum() for one in counted)
    return bool(((new - old) * np.log(new / old)).sum() > 0.1)


def by_evidently(before: Values, now: Values) -> bool:
    """Evidently's documented defaults, by the size of the reference.

    Up to 1,000 rows: Kolmogorov-Smirnov, χ², or a z-test of two categories, p < 0.05. Of more:
    Wasserstein over the standard deviation, or Jensen-Shannon, at least 0.1.
    """
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import chisquare, ks_2samp, wasserstein_distance

    small = len(before) <= 1000
    if is_words(before):
        old, new = _shares(before, now, least=0.0)
        if not small:
            return bool(jensenshannon(old, new, base=2) >= 0.1)
        there = old > 0  # categories that are new have no expected count
        expected = old[there] * (new[there].sum() / old[there].sum()) * len(now)
        return bool(chisquare(new[there] * len(now), expected).pvalue < 0.05)
    old, new = _there(before), _there(now)
    if small:
        return bool(ks_2samp(old, new).pvalue < 0.05)
    return bool(wasserstein_distance(old, new) / max(float(old.std()), 1e-3) >= 0.1)


def _there(values: Values) -> Values:
    return values[~np.isnan(values)]


def _shares(before: Values, now: Values, least: float = 0.5) -> tuple[Values, Values]:
    most = max(before.max(), now.max()) + 1
    old, new = (np.bincount(one, minlength=most) for one in (before, now))
    there = old + new > 0
    old, new = old[there], new[there]
    return np.maximum(old, least) / len(before), np.maximum(new, least) / len(now)


def as_table(columns: Mapping[str, Values]) -> pa.Table:
    """Categories are text there."""
    texts = {name: values.astype(str) if is_words(values) else values
             for name, values in columns.items()}  # fmt: skip
    return pa.table({name: pa.array(values, from_pandas=True) for name, values in texts.items()})
