"""What gateways counted while they answered, as a window: there at once, before any log is read.

They count features in the bins of the version's profile, predictions in bins that all models share;
of versions without a profile in the release, in the bins that lie in the model's folder. So the
reference is in those bins too. What they do not count is not judged, and the report says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from penstock.monitoring.looking import Look
from penstock.monitoring.quality import RANGE
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.profiles.profile import PREDICTION, Column, Numbers, Profile
from penstock.registry.reference import read_reference
from penstock.registry.version_profile import reference_of
from penstock.registry.versions import fetch
from penstock.serving.observations.bins import MISSING, words_of
from penstock.serving.observations.counts import Counts, counts_of
from penstock.state import observations, routes
from penstock.stats.score_bins import NOT_A_NUMBER, UNIT
from penstock.stats.second_moment import second_moment

LIVE = ("data", "features", "predictions")  # kinds of reports that are told of counts
NO_RANGES = (
    "gateways keep no values: neither their range nor whether they are all the same is known"
)
NO_CATEGORIES = "gateways count neither columns of very many categories nor times and lists"


@dataclass(frozen=True)
class LiveLook(Look):
    """A look at the gateways' observations of the window."""

    @cached_property
    def releases(self) -> dict[str, bool]:
        """Those of this version that are routed to, and whether the profile's bins are theirs."""
        table = routes.published(self.engine, self.endpoint)
        found = {
            name: bool(spec.get("profile"))
            for name, spec in (table.document["releases"] if table else {}).items()
            if spec["model"] == self.found.label
        }
        # Counts in two kinds of bins do not add: the newer releases are looked at.
        return {name: by for name, by in found.items() if by == any(found.values())}

    @cached_property
    def reference(self) -> Profile:
        """The version's profile, in the bins of the gateways."""
        profile = reference_of(self.project, self.found)
        if any(self.releases.values()) or not self.releases:
            columns = tuple(map(_without_range, filter(_is_counted, profile.columns)))
        else:
            folder = fetch(self.project, self.found.version, self.found.digest)
            binned = read_reference(folder)
            known = [one for one in profile.columns if one.name in binned]
            columns = tuple(_in_bins(one, binned[one.name]) for one in known)
        bins = profile.prediction_bins
        prediction = _scores(bins) if bins else None
        return profile.model_copy(update={"columns": columns, "prediction": prediction})

    @cached_property
    def columns(self) -> dict[str, Column]:
        found = {
            one.name: _counted(one, self.counts.features.get(one.name, {}))
            for one in self.reference.columns
        }
        return found | {PREDICTION: _scores(self.counts.predictions)}

    @cached_property
    def counts(self) -> Counts:
        """Of all seconds of the window."""
        since, until = self.window.since, self.window.until
        assert since is not None
        assert until is not None
        total = Counts()
        span = int(since.timestamp()), int(until.timestamp())
        for one in observations.read(self.engine, self.endpoint, *span):
            if one.release in self.releases:
                total.add(counts_of(one.counts))
        return total

    @cached_property
    def independent(self) -> float:
        """Kish's effective sample size over the size, as `window.independent_share`."""
        several = self.counts.entity_rows
        if not several:
            return 1.0
        alone = max(sum(self.counts.predictions.values()) - several, 0)
        squares = max(second_moment(self.counts.entity_signs), several)
        return (alone + several) / (alone + squares)

    def unreadable(self, columns: Sequence[Column]) -> dict[str, int]:
        return {}

    def unseen(self, kind: str) -> tuple[Measure, ...]:
        """What gateways do not count."""
        if kind == "data":
            return (_not_judged(RANGE, "", NO_RANGES),)
        if kind != "features":
            return () if kind in LIVE else super().unseen(kind)
        counted = {one.name for one in self.reference.columns}
        every = reference_of(self.project, self.found).columns
        left = [one.name for one in every if one.name not in counted]
        return tuple(_not_judged("drift", name, NO_CATEGORIES) for name in left)

    def report(self, kind: str, measures: Sequence[Measure], rows: int) -> Report:
        found = super().report(kind, measures, rows)
        if kind not in LIVE:
            return found
        return replace(found, source=f"the gateways' counts of {self.endpoint}")


def _not_judged(name: str, subject: str, why: str) -> Measure:
    reason = f"not judged live, because {why}; leave out --live"
    return Measure(name, subject, Verdict.INSUFFICIENT, reason)


def _is_counted(column: Column) -> bool:
    return bool(column.numbers or words_of(column))


def _without_range(column: Column) -> Column:
    if column.numbers is None:
        return column
    numbers = column.numbers.model_copy(update={"least": None, "greatest": None})
    return column.model_copy(update={"numbers": numbers})


def _in_bins(column: Column, binned: Mapping[str, Any]) -> Column:
    """As many bins as the gateway has; ranges are not known of them."""
    numbers = Numbers(
        edges=tuple(binned["edges"]), counts=tuple(binned["counts"]), least=None, greatest=None
    )
    missing = int(binned["missing"])
    rows = missing + sum(numbers.counts)
    return column.model_copy(update={"rows": rows, "nulls": missing, "numbers": numbers})


def _counted(shape: Column, bins: Mapping[int, int]) -> Column:
    """The rows of a column by their bins; of categories that have none, only how many they are."""
    missing = bins.get(MISSING, 0)
    changed: dict[str, Any] = {"rows": sum(bins.values()), "nulls": missing}
    if numbers := shape.numbers:
        counts = tuple(bins.get(place, 0) for place in range(len(numbers.counts)))
        changed["numbers"] = numbers.model_copy(update={"counts": counts})
    elif words := shape.words:
        named = {word: bins.get(place, 0) for place, word in enumerate(words_of(shape))}
        changed["words"] = words.model_copy(update={"counts": named, "singletons": 0})
    return shape.model_copy(update=changed)


def _scores(bins: Mapping[int, int]) -> Column:
    """Predictions between 0 and 1 by hundredths; what lies beyond is in the outermost bins."""
    counts = [0] * UNIT
    for place, count in bins.items():
        if place != NOT_A_NUMBER:
            counts[min(max(place, 0), UNIT - 1)] += count
    missing = bins.get(NOT_A_NUMBER, 0)
    edges = tuple(place / UNIT for place in range(1, UNIT))
    numbers = Numbers(edges=edges, counts=tuple(counts), least=None, greatest=None)
    rows = sum(counts) + missing
    return Column(name=PREDICTION, type="DOUBLE", rows=rows, nulls=missing, numbers=numbers)
