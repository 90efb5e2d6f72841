"""What gateways counted while they answered, as a window: there at once, before any log is read.

They count features in the bins that lie in the model's folder, predictions in bins that all models
share. So the reference is in those bins too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from penstock.monitoring.looking import Look
from penstock.profiles.profile import PREDICTION, Column, Numbers, Profile
from penstock.registry.reference import read_reference
from penstock.registry.versions import fetch
from penstock.serving.observations.counts import Counts, counts_of
from penstock.state import observations, routes
from penstock.stats.score_bins import NOT_A_NUMBER, UNIT

MISSING = -1  # the bin of features that were not there


@dataclass(frozen=True)
class LiveLook(Look):
    """A look at the gateways' observations of the window."""

    @cached_property
    def reference(self) -> Profile:
        """The version's profile, in the bins of the gateways; its categories are not counted."""
        profile = super().reference
        folder = fetch(self.project, self.found.version, self.found.digest)
        binned = read_reference(folder)
        columns = tuple(
            _in_bins(one, binned[one.name]) for one in profile.columns if one.name in binned
        )
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
        """Of all seconds of the window, of the releases of this version that are routed to."""
        table = routes.published(self.engine, self.endpoint)
        releases = {
            name
            for name, spec in (table.document["releases"] if table else {}).items()
            if spec["model"] == self.found.label
        }
        since, until = self.window.since, self.window.until
        assert since is not None
        assert until is not None
        total = Counts()
        span = int(since.timestamp()), int(until.timestamp())
        for one in observations.read(self.engine, self.endpoint, *span):
            if one.release in releases:
                total.add(counts_of(one.counts))
        return total

    @property
    def independent(self) -> float:
        """Gateways do not count how often each entity was asked about."""
        return 1.0

    def unreadable(self, columns: Sequence[Column]) -> dict[str, int]:
        return {}


def _in_bins(column: Column, binned: Mapping[str, Any]) -> Column:
    """As many bins as the gateway has; ranges are not known of them."""
    numbers = Numbers(
        edges=tuple(binned["edges"]), counts=tuple(binned["counts"]), least=None, greatest=None
    )
    missing = int(binned["missing"])
    rows = missing + sum(numbers.counts)
    return column.model_copy(update={"rows": rows, "nulls": missing, "numbers": numbers})


def _counted(shape: Column, bins: Mapping[int, int]) -> Column:
    assert shape.numbers is not None
    counts = tuple(bins.get(place, 0) for place in range(len(shape.numbers.counts)))
    numbers = shape.numbers.model_copy(update={"counts": counts})
    missing = bins.get(MISSING, 0)
    changed = {"rows": sum(counts) + missing, "nulls": missing, "numbers": numbers}
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
