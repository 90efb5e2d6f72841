"""After the merge: what passed staging goes to production, once those who must agree do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from penstock.approvals.book import standing_of
from penstock.errors import UsageError
from penstock.project import PRODUCTION
from penstock.records import Release
from penstock.registry.champions import champion_label
from penstock.registry.versions import TESTED_TAG, Found, versions
from penstock.rollout import service
from penstock.rollout.service import Desk

LOOK = 15.0  # seconds between two looks at the approvals


@dataclass(frozen=True)
class Promotion:
    """What became of a version."""

    model: str  # name@version
    started: str  # the rollout, or the endpoint that now serves; empty: nothing was started
    missing: tuple[str, ...] = ()  # who must still agree


def promote(desk: Desk, patience: timedelta, say: Callable[[str], None]) -> Promotion:
    """Starts the rollout of the latest version that passed its tests, by the project's plan.

    Waits for approvals as long as `patience`, then says which are missing. What production serves,
    or a rollout brings there, is left as it is. Raises `UsageError` where no version was tested.
    """
    found = _latest_tested(desk)
    if found.label == champion_label(desk.engine):
        return Promotion(found.label, PRODUCTION)
    if under_way := _under_way(desk, found):
        return Promotion(found.label, under_way)
    missing, until = _missing(desk, found), time.monotonic() + patience.total_seconds()
    while missing and time.monotonic() < until:
        say(f"{found.label} waits: {'; '.join(missing)}")
        time.sleep(min(LOOK, max(0.0, until - time.monotonic())))
        missing = _missing(desk, found)
    if missing:
        return Promotion(found.label, "", missing)
    begun = service.start(desk, found.label, PRODUCTION, desk.project.settings.rollout)
    return Promotion(found.label, begun.endpoint if isinstance(begun, Release) else begun.state.id)


def _latest_tested(desk: Desk) -> Found:
    tested = [one for one in versions(desk.project) if one.tags.get(TESTED_TAG) == "passed"]
    if not tested:
        raise UsageError(
            "no version has passed the tests in staging", hint="`penstock run` tests what it makes"
        )
    return max(tested, key=lambda one: one.version)


def _under_way(desk: Desk, found: Found) -> str:
    live = (state for state in service.listed(desk) if not state.ended)
    return next((one.id for one in live if one.spec.candidate.model == found.label), "")


def _missing(desk: Desk, found: Found) -> tuple[str, ...]:
    decision = standing_of(desk.project, desk.engine, found, PRODUCTION, datetime.now(UTC))
    return () if decision.met else decision.missing
