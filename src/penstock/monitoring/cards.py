"""Cards of a page: a picture, how it stands, and the findings behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from penstock.gates.metrics import SMALLER_IS_BETTER
from penstock.monitoring import performance_plots
from penstock.monitoring.history import HERE
from penstock.monitoring.performance_plots import Bar, Course, Point
from penstock.monitoring.plots import histogram, shares
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.profiles.profile import PREDICTION, Column, Profile

WORST = (Verdict.FOUND, Verdict.ERROR, Verdict.INSUFFICIENT, Verdict.FINE)
SAYS = {
    Verdict.FOUND: "found",
    Verdict.ERROR: "not readable",
    Verdict.INSUFFICIENT: "cannot be told",
    Verdict.FINE: "fine",
}
OF_COLUMNS = '<p class="key"><i></i>reference<i class="w"></i>window</p>'
OF_METRICS = (
    '<p class="key"><i class="e"></i>estimated, 95 %<i class="r"></i>realised, 95 %'
    '<i class="h"></i>held out<i class="l"></i>what is worse is found</p>'
)
OF_SLICES = '<p class="key"><i class="r"></i>slice, 95 %<i class="h"></i>expected of it</p>'
HOW = ("estimated", "realised")
CALIBRATION = ("calibration_error", "realised_calibration_error")


def badge(verdict: Verdict, text: str) -> str:
    return f'<span class="badge {verdict}">{text}</span>'


def badge_of(measures: Sequence[Measure]) -> str:
    """How some measures stand together; what this window shows, and too few others, is pending."""
    worst = _worst(measures)
    if worst is Verdict.FINE and any(one.details.get(HERE) for one in measures):
        return badge(Verdict.INSUFFICIENT, "pending")
    return badge(worst, SAYS[worst])


def of_columns(
    measures: Sequence[Measure], reference: Profile, columns: Mapping[str, Column]
) -> Iterator[str]:
    """A card a column that was compared."""
    if not measures:
        return
    yield f'{OF_COLUMNS}<div class="cards">'
    for one in measures:
        before = reference.prediction if one.subject == PREDICTION else None
        before = before or reference.column(one.subject)
        plot = _of_column(before, columns[one.subject]) if before else ""
        yield _card(one.subject, plot, [one.reason], [one])
    yield "</div>"


def of_performance(report: Report, earlier: Sequence[Report]) -> Iterator[str]:
    """A card a metric, over the windows of earlier reports, the oldest first, and this one; one of
    its calibration; and one of its slices."""
    whole = {one.name: one for one in report.measures if not one.subject}
    named = [name.partition("_")[2] for name in whole if name.startswith("estimated_")]
    yield f'{OF_METRICS}<div class="cards">'
    for metric in named:
        pair = [whole[f"{how}_{metric}"] for how in HOW if f"{how}_{metric}" in whole]
        plot = performance_plots.over_windows(course_of(metric, [*earlier, report]))
        yield _card(metric, plot, map(_said, pair), pair)
    if seen := [whole[name] for name in CALIBRATION if name in whole]:
        curves = [whole[n].details["curve"] if n in whole else () for n in CALIBRATION]
        plot = performance_plots.calibration(*curves)
        yield _card("calibration", plot, map(_said, seen), seen)
    yield "</div>"
    yield from _of_slices(report)


def course_of(metric: str, reports: Sequence[Report]) -> Course:
    """A metric of the whole over the windows of some reports."""
    points: dict[str, list[Point]] = {how: [] for how in HOW}
    before = limit = None
    for report in reports:
        for one in report.measures:
            how, _, name = one.name.partition("_")
            if name == metric and how in points and not one.subject and report.until:
                low, high = one.interval or (0.0, 0.0)
                points[how].append(Point(report.until, one.value, low, high))
                before = one.before if one.before is not None else before
                margin = one.details.get("margin")
                if before is not None and margin is not None:
                    limit = before + (margin if metric in SMALLER_IS_BETTER else -margin)
    return Course(points["estimated"], points["realised"], before, limit)


def drawn_in(report: Report) -> set[tuple[str, str]]:
    """The measures that have a card here, by name and subject."""
    if report.kind != "performance":
        return {(one.name, one.subject) for one in report.measures if one.name == "drift"}
    whole = {one.name for one in report.measures if not one.subject and one.name.startswith(HOW)}
    return {(name, "") for name in (*whole, *CALIBRATION)}


def _of_slices(report: Report) -> Iterator[str]:
    told = [one for one in report.measures if "=" in one.subject and one.name != "worst_slice"]
    bars = [
        Bar(
            one.subject,
            one.value,
            *one.interval,
            before=one.before if one.before is not None else one.value,
            found=one.verdict is Verdict.FOUND,
        )
        for one in told
        if one.value is not None and one.interval is not None
    ]
    if bars:
        worst = next(one for one in report.measures if one.name == "worst_slice")
        title = f"{told[0].name} by {worst.subject.partition('=')[0]}"
        reason = f"the worst is {worst.subject}: {worst.reason}"
        card = _card(title, performance_plots.slices(bars), [reason], [worst], "wide")
        yield f'{OF_SLICES}<div class="cards">{card}</div>'


def _card(
    title: str,
    plot: str,
    reasons: Iterable[str],
    measures: Sequence[Measure],
    kind: str = "",
) -> str:
    said = "".join(f"<p>{escape(one)}</p>" for one in reasons)
    return (
        f'<article class="card {_worst(measures)} {kind}"><header><h3>{escape(title)}</h3>'
        f"{badge_of(measures)}</header>{plot}{said}</article>"
    )


def _said(measure: Measure) -> str:
    how = measure.name.partition("_")[0]
    return f"{how if how in HOW else 'held out'}: {measure.reason}"


def _worst(measures: Sequence[Measure]) -> Verdict:
    """What cannot be told yet does not hide what can."""
    verdicts = {one.verdict for one in measures}
    told = verdicts - {Verdict.INSUFFICIENT}
    return min(told or verdicts, key=WORST.index)


def _of_column(before: Column, now: Column) -> str:
    if before.numbers and now.numbers:
        return histogram(before.numbers, now.numbers)
    if before.words and now.words:
        return shares(before.words, now.words)
    return ""
