"""Event-time freshness of what a model reads, and clocks that are not right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from penstock.features.freshness import Freshness, freshness
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.monitoring.window import window_of_log
from penstock.registry.versions import SERVICE_TAG
from penstock.setting_types import duration_text

if TYPE_CHECKING:
    from penstock.monitoring.looking import Look

SOURCE = "feature views and the prediction log"
SECOND = timedelta(seconds=1)
UNITS = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1))


def fresh(look: Look) -> Report:
    """The views behind the version's feature service, and the times of the window's answers."""
    views = _views(look)
    tolerance = look.project.settings.data.future_tolerance
    measures = [measure for one in views for measure in judged(one, tolerance)]
    if not views:
        reason = f"{look.found.label} reads no feature service: nothing is declared"
        measures.append(Measure("event_age_s", "", Verdict.INSUFFICIENT, reason))
    if look.endpoint:
        measures += _answers(look, [one.view for one in views], tolerance)
    return replace(look.report("freshness", measures, len(views)), source=SOURCE)


def _views(look: Look) -> list[Freshness]:
    service = look.found.tags.get(SERVICE_TAG, "")
    if not service:
        return []
    from penstock.features.catalogue import entries
    from penstock.features.store import open_store

    known = entries(open_store(look.project.root), look.project.root)
    read = {name: one for name, one in known.items() if service in one.services}
    return freshness(read, look.project.root, look.now)


def judged(one: Freshness, tolerance: timedelta) -> Iterator[Measure]:
    """How old the newest event of a view is, and how many have not happened yet."""
    yield Measure(
        name="event_age_s",
        subject=one.view,
        verdict=_verdict(one),
        reason=_reason(one),
        value=one.age / SECOND if one.age is not None else None,
        details={"expected_s": one.expected / SECOND} if one.expected else {},
    )
    if one.farthest is not None and one.farthest > tolerance:
        yield _ahead(
            "events_from_the_future",
            one.view,
            one.ahead,
            f"events have not happened yet, by up to {_brief(one.farthest)}",
        )


def _verdict(one: Freshness) -> Verdict:
    if one.state == "unreadable":
        return Verdict.ERROR
    if one.state == "no data":
        return Verdict.INSUFFICIENT if one.expected is None else Verdict.FOUND
    return Verdict.FOUND if one.late else Verdict.FINE


def _reason(one: Freshness) -> str:
    if one.state == "unreadable":
        return one.reason
    if one.age is None:
        return "no event has happened yet"
    expected = f"{_brief(one.expected)} is expected" if one.expected else "nothing is expected"
    owner = f"; {one.owner} owns it" if one.owner and one.late else ""
    return f"the newest event is {_brief(one.age)} old; {expected}{owner}"


def _answers(look: Look, views: Sequence[str], tolerance: timedelta) -> Iterator[Measure]:
    """Of answers and what they rest on, those whose time cannot be."""
    later = window_of_log(look.project, look.endpoint, look.now + tolerance, None)
    ((ahead,),) = later.ask(lambda rows: rows.aggregate("count(*)").fetchall())
    yield _ahead("predictions_from_the_future", "", ahead, "answers have not been given yet")
    asked = ", ".join(f"count_if({_after(view, tolerance)})" for view in views)
    counts = look.asked.ask(lambda rows: rows.aggregate(asked).fetchall())[0] if asked else ()
    for view, count in zip(views, counts, strict=True):
        if count:
            what = "answers rest on an event from after them"
            yield _ahead("events_after_prediction", view, count, what)


def _after(view: str, tolerance: timedelta) -> str:
    name = view.replace("'", "''")
    happened = f"TRY_CAST(event_times->>'{name}' AS TIMESTAMPTZ)"
    return f"{happened} > arrived_at + to_seconds({tolerance / SECOND!r})"


def _ahead(name: str, subject: str, count: int, what: str) -> Measure:
    reason = f"{count:,} {what}" + (": the clock of a host is wrong" if count else "")
    verdict = Verdict.FOUND if count else Verdict.FINE
    return Measure(name, subject, verdict, reason, float(count), rows=count)


def _brief(span: timedelta) -> str:
    """In one unit, of which there are two at least."""
    unit = next((one for one in UNITS if span >= 2 * one), SECOND)
    return duration_text(round(span / unit) * unit)
