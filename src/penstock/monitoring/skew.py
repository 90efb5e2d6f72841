"""Training-serving skew of a window: served vectors against what the offline path computes now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.features.served_log import served_since
from penstock.features.skew import FeatureSkew, skew
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.registry.versions import SERVICE_TAG
from penstock.stats.proportions import wilson

if TYPE_CHECKING:
    from penstock.monitoring.looking import Look


def skewed(look: Look) -> Report:
    """Of the feature service that the version reads; a share of its vectors is logged."""
    service = look.found.tags.get(SERVICE_TAG, "")
    if not service or look.window.since is None or look.window.until is None:
        reason = f"{look.found.label} reads no feature service: clients send its features"
        if service:
            reason = "rows of a file say nothing of what a store served"
        return look.report("skew", [_untold(reason)], 0)
    from penstock.features.store import open_store, service_for

    store = open_store(look.project.root)
    asked = service_for(store, look.project.settings, service)
    until = look.window.until.timestamp() * 1e9
    vectors = served_since(look.project.root, service, look.window.since)
    served = [one for one in vectors if one.at < until]
    if not served:
        share = look.project.settings.features.log_served
        reason = f"no vector of {service} was logged in the window; [features] log_served = {share}"
        return look.report("skew", [_untold(reason)], 0)
    ahead = sum(one.at > look.now.timestamp() * 1e9 for one in served)
    measures = [judged(one) for one in skew(store, asked, served)]
    if ahead:
        measures.append(_ahead(ahead, len(served)))
    report = look.report("skew", measures, len(served))
    return replace(report, source=f"served vectors of {service}")


def judged(found: FeatureSkew) -> Measure:
    """Any difference is one too many: the store lags, a row came late, or there is a fault."""
    share = found.differing / found.compared
    low, high = wilson(found.differing, found.compared)
    reason = f"{found.differing:,} of {found.compared:,} differ from those computed offline"
    if found.examples:
        one = found.examples[0]
        reason += f"; at {one.at:%Y-%m-%d %H:%M:%S} served {one.served}, offline {one.offline}"
    return Measure(
        name="skew",
        subject=found.feature,
        verdict=Verdict.FOUND if found.differing else Verdict.FINE,
        reason=reason
        if found.differing
        else f"all {found.compared:,} served values are as offline",
        value=share,
        interval=(low, high),
        rows=found.compared,
    )


def _untold(reason: str) -> Measure:
    return Measure("skew", "", Verdict.INSUFFICIENT, reason)


def _ahead(count: int, of: int) -> Measure:
    reason = f"{count:,} vectors were served in the future: the clock of a host is ahead"
    return Measure("vectors_from_the_future", "", Verdict.FOUND, reason, float(count), rows=of)
