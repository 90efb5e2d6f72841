"""The page of reports: what is drawn, whatever could be told."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from penstock.monitoring.cards import course_of
from penstock.monitoring.html import page
from penstock.monitoring.performance_plots import Point
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.profiles.profile import Profile

START, DAY = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=1)
CURVE = {"curve": [[0.2, 0.25, 0.1, 0.4], [0.8, 0.7, 0.6, 0.8]]}


def metric(how: str, value: float | None, subject: str = "") -> Measure:
    name, reason = f"{how}_log_loss", "as was said"
    if value is None:
        return Measure(name, subject, Verdict.INSUFFICIENT, reason)
    around = (value - 0.1, value + 0.1)
    details = {"margin": 0.05}
    return Measure(name, subject, Verdict.FINE, reason, value, 0.5, around, 100, details)


def report(day: int, *measures: Measure) -> Report:
    since, until = START + day * DAY, START + (day + 1) * DAY
    return Report("performance", "m@1", "e", until, since, until, "log", 5, measures)


def test_a_metric_is_followed_over_windows_and_may_be_missing_in_some() -> None:
    reports = [
        report(0, metric("estimated", 0.5), metric("realised", None)),
        report(1, metric("estimated", None), metric("realised", 0.7)),
        report(2, metric("estimated", 0.6), metric("estimated", 0.9, "plan=a")),
    ]
    course = course_of("log_loss", reports)
    assert [one.value for one in course.estimated] == [0.5, None, 0.6]
    assert course.realised[1] == Point(START + 2 * DAY, 0.7, pytest.approx(0.6), pytest.approx(0.8))
    assert (course.before, course.limit) == (0.5, 0.55)  # of a loss, more is worse


def test_all_that_was_told_is_drawn_and_nothing_is_fetched_or_run() -> None:
    worst = metric("estimated", 0.9, "plan=<script>alert(1)</script>")
    measures = [
        metric("estimated", 0.5),
        metric("realised", 0.6),
        Measure("calibration_error", "", Verdict.FINE, "well", 0.01, details=CURVE),
        Measure("worst_slice", worst.subject, Verdict.FOUND, "worst", 0.9, 0.5),
        worst,
        metric("estimated", None, "plan=b"),
    ]
    earlier = [report(0, metric("estimated", 0.4)), report(1, metric("estimated", 0.45))]
    html = page(Profile(rows=0, columns=()), {}, [report(2, *measures)], earlier)
    assert html.count("<svg") == 3
    assert html.count('class="band"') == 1  # three windows of estimates
    assert html.count('class="dot"') == 2  # what was realised once, and a slice that can be told
    assert "the worst is plan=&lt;script&gt;" in html
    assert not re.search(r"https?://|<script", html)


def test_a_report_that_could_tell_nothing_has_no_picture_and_says_why() -> None:
    nothing = [metric("estimated", None), metric("realised", None)]
    html = page(Profile(rows=0, columns=()), {}, [report(0, *nothing)])
    assert "<svg" not in html
    assert html.count("as was said") == 2
    assert "cannot be told" in html
