"""How a model fared, as small pictures: over windows, by score, by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from typing import NamedTuple

from penstock.monitoring.plots import WIDTH, svg

HEIGHT, LEFT, RIGHT, HEAD, FOOT = 150.0, 40.0, 8.0, 8.0, 18.0
ROW, NAMES, WIDE, LETTERS = 18.0, 150.0, 640.0, 24  # of slices; letters of a name

Curve = Sequence[Sequence[float]]  # points of `judging.curve_of`


class Point(NamedTuple):
    """A metric of one window."""

    at: datetime  # the window's end
    value: float | None  # None: it could not be told
    low: float
    high: float


class Course(NamedTuple):
    """A metric over windows, the oldest first."""

    estimated: Sequence[Point]
    realised: Sequence[Point]
    before: float | None  # of the held-out rows
    limit: float | None  # what is worse is found


class Bar(NamedTuple):
    """One slice."""

    name: str
    value: float
    low: float
    high: float
    before: float  # what it is judged against
    found: bool


class Scale(NamedTuple):
    """Values → places, from one end to the other."""

    least: float
    most: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.least) / (self.most - self.least)
        return self.begin + share * (self.end - self.begin)


def over_windows(course: Course) -> str:
    """The estimates as a line in its band, what was realised as points, and what is allowed."""
    told = [one for one in (*course.estimated, *course.realised) if one.value is not None]
    if not told:
        return ""
    times = sorted({one.at for one in (*course.estimated, *course.realised)})
    ends = [end for one in told for end in (one.low, one.high)]
    y = _scale([*ends, *(x for x in (course.before, course.limit) if x is not None)])
    x = _scale([one.timestamp() for one in times], LEFT + 6, WIDTH - RIGHT - 6, room=0.0)
    drawn = [*_grid(y), *_level("heldout", course.before, y), *_level("limit", course.limit, y)]
    drawn += _line(course.estimated, x, y)
    drawn += (
        mark
        for one in course.realised
        if one.value is not None
        for mark in _with_bar(x(one.at.timestamp()), y(one.value), y(one.low), y(one.high))
    )
    drawn += _dates(times, x)
    return svg("".join(drawn), HEIGHT)


def calibration(heldout: Curve, realised: Curve) -> str:
    """Share of positives by score: of the held-out rows a line, of the window's labels points."""
    if not heldout and not realised:
        return ""
    x, y = Scale(0, 1, LEFT, WIDTH - RIGHT), Scale(0, 1, HEIGHT - FOOT, HEAD)
    diagonal = f"M{x(0):.1f} {y(0):.1f}L{x(1):.1f} {y(1):.1f}"
    path = "L".join(f"{x(score):.1f} {y(share):.1f}" for score, share, *_ in heldout)
    drawn = [*_grid(y), f'<path class="limit quiet" d="{diagonal}"/>']
    if path:
        drawn.append(f'<path class="now" d="M{path}"/>')
    for score, share, low, high in realised:
        drawn += _with_bar(x(score), y(share), y(low), y(high))
    drawn += [_text(x(place), HEIGHT - 4, f"{place:g}", "middle") for place in (0, 0.5, 1)]
    return svg("".join(drawn), HEIGHT)


def slices(bars: Sequence[Bar]) -> str:
    """Of each the value in its interval, and a tick where it is expected; the worst on top."""
    if not bars:
        return ""
    x = _scale([end for one in bars for end in (one.low, one.high, one.before)], NAMES, WIDE - 60)
    drawn = []
    for place, one in enumerate(bars):
        y, kind = (place + 0.5) * ROW, " bad" if one.found else ""
        name = one.name if len(one.name) <= LETTERS else one.name[: LETTERS - 1] + "…"
        drawn += [
            _text(NAMES - 14, y + 3.5, name, "end"),
            f'<line class="bar{kind}" x1="{x(one.low):.1f}" x2="{x(one.high):.1f}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<circle class="dot{kind}" cx="{x(one.value):.1f}" cy="{y:.1f}" r="3"/>',
            f'<line class="heldout" x1="{x(one.before):.1f}" x2="{x(one.before):.1f}" '
            f'y1="{y - 5:.1f}" y2="{y + 5:.1f}"/>',
            _text(WIDE - 4, y + 3.5, f"{one.value:.4f}", "end"),
        ]
    return svg("".join(drawn), len(bars) * ROW, WIDE)


def _scale(
    values: Sequence[float], begin: float = HEIGHT - FOOT, end: float = HEAD, room: float = 0.06
) -> Scale:
    """With some room at both ends; what does not vary stands in the middle."""
    least, most = min(values), max(values)
    spare = (most - least) * room or (abs(most) * 0.05 or 1.0) * (least == most)
    return Scale(least - spare, most + spare, begin, end)


def _grid(y: Scale) -> Iterator[str]:
    """Three lines with their values."""
    for share in (0.1, 0.5, 0.9) if y.least else (0, 0.5, 1):
        value = y.least + share * (y.most - y.least)
        yield (
            f'<line class="axis" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" '
            f'y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        )
        yield _text(LEFT - 5, y(value) + 3.5, f"{value:.3g}", "end")


def _level(kind: str, value: float | None, y: Scale) -> Iterator[str]:
    if value is not None:
        yield (
            f'<line class="{kind}" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" '
            f'y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        )


def _line(points: Sequence[Point], x: Scale, y: Scale) -> Iterator[str]:
    """Runs of windows that could be told; one that stands alone is a point."""
    runs: list[list[Point]] = [[]]
    for one in points:
        if one.value is None:
            runs.append([])
        else:
            runs[-1].append(one)
    for run in filter(None, runs):
        above = [f"{x(one.at.timestamp()):.1f} {y(one.high):.1f}" for one in run]
        below = [f"{x(one.at.timestamp()):.1f} {y(one.low):.1f}" for one in reversed(run)]
        middle = [f"{x(one.at.timestamp()):.1f} {y(one.value or 0):.1f}" for one in run]
        if len(run) > 1:
            yield f'<path class="band" d="M{"L".join([*above, *below])}Z"/>'
            yield f'<path class="now" d="M{"L".join(middle)}"/>'
        else:
            left, height = x(run[0].at.timestamp()) - 5, y(run[0].low) - y(run[0].high)
            yield (
                f'<rect class="band" x="{left:.1f}" y="{y(run[0].high):.1f}" width="10" '
                f'height="{height:.1f}"/>'
            )
            yield f'<path class="now" d="M{left:.1f} {y(run[0].value or 0):.1f}h10"/>'


def _with_bar(x: float, y: float, low: float, high: float) -> tuple[str, str]:
    return (
        f'<line class="bar" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>',
        f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>',
    )


def _dates(times: Sequence[datetime], x: Scale) -> Iterator[str]:
    """The first and the last window's end, with the time where both are of one day."""
    short = times[0].date() == times[-1].date() and len(times) > 1
    form = "%H:%M" if short else "%Y-%m-%d"
    if len(times) > 1:
        yield _text(LEFT, HEIGHT - 4, f"{times[0]:{form}}", "start")
        yield _text(WIDTH - RIGHT, HEIGHT - 4, f"{times[-1]:{form}}", "end")
    else:
        yield _text(x(times[0].timestamp()), HEIGHT - 4, f"{times[0]:{form}}", "middle")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
