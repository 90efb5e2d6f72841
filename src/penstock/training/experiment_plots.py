"""Pictures of an experiment: parallel coordinates of runs or trials, and curves of metrics.

Written as SVG or PNG, or as one HTML page that holds all of it and needs no network.
"""

from __future__ import annotations

import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.digests import written_whole
from penstock.errors import UsageError
from penstock.training.comparison import Comparison, shown

INK, FAINT = "#1f2933", "#adb5bd"
LOGARITHMIC = 50  # an axis whose values span such a ratio
WORDS = 12  # different values of an axis that are labelled one by one
LINES = 12  # that a legend names
PAPER = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.8}  # behind a label
FORMATS = (".html", ".svg", ".png")

STYLE = """body{font:14px/1.5 system-ui,sans-serif;color:#1f2933;max-width:1100px;margin:2rem auto;
padding:0 1rem}table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.2rem
.7rem;border-bottom:1px solid #e9ecef;text-align:left;white-space:nowrap}tr.same{color:#868e96}
td.best{font-weight:700;color:#0b7285}div.wide{overflow-x:auto}svg{max-width:100%;height:auto}"""


@dataclass(frozen=True)
class Line:
    """One run or trial across the axes."""

    name: str
    values: Mapping[str, str | float | None]


@dataclass(frozen=True)
class Curve:
    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Picture:
    title: str
    figure: Any  # matplotlib.figure.Figure


def parallel_coordinates(title: str, axes: Sequence[str], lines: Sequence[Line]) -> Picture:
    """One vertical axis for each name; lines are coloured by the last, which should be a metric.

    A value that is missing breaks its line. Axes of numbers that span a ratio of more than 50 are
    logarithmic; values that are not all numbers are spread in order.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    scales = {axis: _Scale.of([line.values.get(axis) for line in lines]) for axis in axes}
    figure = Figure(figsize=(max(6.0, 1.5 * len(axes)), 4.2), layout="constrained", dpi=110)
    plot = figure.subplots()
    plot.set_title(title, color=INK, loc="left", fontsize=11)
    places = range(len(axes))
    for line in sorted(lines, key=lambda one: _heat(scales, axes, one)):
        heights = [scales[axis].height(line.values.get(axis)) for axis in axes]
        colour = colormaps["viridis"](0.9 * max(_heat(scales, axes, line), 0.0))
        plot.plot(places, heights, color=colour, alpha=0.85, linewidth=1.4, marker="o", ms=3)
    for place, axis in zip(places, axes, strict=True):
        plot.axvline(place, color=FAINT, linewidth=0.8, zorder=0)
        for height, label in scales[axis].ticks():
            plot.text(place + 0.03, height, label, fontsize=7, color=INK, va="center", bbox=PAPER)
    plot.set_xticks(list(places), [_wrapped(axis) for axis in axes], fontsize=8)
    plot.set_xlim(-0.15, len(axes) - 0.55)
    plot.set_ylim(-0.05, 1.05)
    plot.yaxis.set_visible(False)
    plot.spines[:].set_visible(False)
    return Picture(title, figure)


def curves(title: str, x: str, panels: Mapping[str, Sequence[Curve]]) -> Picture:
    """One panel for each metric, one curve for each run."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7.5, 2.6 * len(panels) + 0.4), layout="constrained", dpi=110)
    plots = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    figure.suptitle(title, color=INK, x=0.01, ha="left", fontsize=11)
    for plot, (metric, drawn) in zip(plots, panels.items(), strict=True):
        for curve in drawn:
            xs, ys = zip(*curve.points, strict=True)
            plot.plot(xs, ys, label=curve.name, linewidth=1.3, marker="o", ms=2.5)
        plot.set_ylabel(metric, color=INK, fontsize=9)
        plot.grid(color=FAINT, alpha=0.35, linewidth=0.6)
        plot.spines[["top", "right"]].set_visible(False)
        if 1 < len(drawn) <= LINES:
            plot.legend(fontsize=7, frameon=False)
        plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    plots[-1].set_xlabel(x, color=INK)
    return Picture(title, figure)


def write(file: Path, pictures: Sequence[Picture], compared: Comparison | None = None) -> None:
    """Writes a page, or the one picture, as the file's name says. The file appears whole."""
    if file.suffix not in FORMATS:
        raise UsageError(
            f"{file.name!r} is no picture and no page", hint=f"end it in {', '.join(FORMATS)}"
        )
    if file.suffix != ".html" and len(pictures) != 1:
        raise UsageError(
            f"{file.suffix} holds one picture", hint="choose it with --kind, or write .html"
        )
    with written_whole(file) as part:
        if file.suffix == ".html":
            part.write_text(_page(pictures, compared), encoding="utf-8")
        elif file.suffix == ".svg":
            part.write_text(_svg(pictures[0]), encoding="utf-8")
        else:
            pictures[0].figure.savefig(part, format="png")


@dataclass(frozen=True)
class _Scale:
    """Puts the values of one axis between 0 and 1."""

    numbers: tuple[float, float] | None  # lowest and highest, as drawn; None: words
    logarithmic: bool
    words: tuple[str, ...]

    @classmethod
    def of(cls, values: Sequence[str | float | None]) -> _Scale:
        present = [value for value in values if value is not None]
        numbers = [number for value in present if (number := _number(value)) is not None]
        if len(numbers) < len(present) or not numbers:
            return cls(None, False, tuple(sorted({str(value) for value in present})))
        low, high = min(numbers), max(numbers)
        logarithmic = low > 0 and high / low > LOGARITHMIC
        ends = (math.log10(low), math.log10(high)) if logarithmic else (low, high)
        return cls(ends, logarithmic, ())

    def height(self, value: str | float | None) -> float:
        """NaN where there is no value: the line breaks there."""
        if value is None:
            return math.nan
        if self.numbers is None:
            last = len(self.words) - 1
            return self.words.index(str(value)) / last if last > 0 else 0.5
        number = _number(value)
        if number is None:
            return math.nan
        low, high = self.numbers
        at = math.log10(number) if self.logarithmic else number
        return (at - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        if self.numbers is None:
            step = -(-len(self.words) // WORDS) or 1
            return [(self.height(word), word[:18]) for word in self.words[::step]]
        low, high = self.numbers
        ends = [0.0, 0.5, 1.0] if high > low else [0.5]
        inside = [low + share * (high - low) for share in ends] if high > low else [low]
        values = [10**at if self.logarithmic else at for at in inside]
        return [(share, f"{value:.4g}") for share, value in zip(ends, values, strict=True)]


def _number(value: str | float) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _heat(scales: Mapping[str, _Scale], axes: Sequence[str], line: Line) -> float:
    height = scales[axes[-1]].height(line.values.get(axes[-1]))
    return -1.0 if math.isnan(height) else height


def _wrapped(name: str) -> str:
    return name if len(name) <= 16 else name.replace("_", "_\n", 1)


def _svg(picture: Picture) -> str:
    from matplotlib import rc_context

    text = io.StringIO()
    # The same picture is the same file: no date, no random names within it, and no addresses.
    bare = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context({"svg.hashsalt": picture.title, "svg.fonttype": "none"}):
        picture.figure.savefig(text, format="svg", metadata=bare)
    return text.getvalue()


def _page(pictures: Sequence[Picture], compared: Comparison | None) -> str:
    drawn = "".join(f"<figure>{_bare_svg(picture)}</figure>" for picture in pictures)
    table = "" if compared is None else f'<div class="wide">{_table(compared)}</div>'
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Experiments</title>'
        f"<style>{STYLE}</style><h1>Experiments</h1>{drawn}{table}</html>\n"
    )


def _bare_svg(picture: Picture) -> str:
    """Without the XML head, whose DOCTYPE names an address."""
    text = _svg(picture)
    return text[text.index("<svg") :]


def _table(compared: Comparison) -> str:
    heads = "".join(f"<th>{html.escape(f'{r.short} {r.name}')}</th>" for r in compared.runs)
    rows = []
    for row in compared.rows:
        cells = "".join(
            f"<td{' class=best' if i in row.best else ''}>{html.escape(shown(v, row.kind))}</td>"
            for i, v in enumerate(row.values)
        )
        kind = "" if row.differs else ' class="same"'
        rows.append(f"<tr{kind}><td>{html.escape(row.name)}</td>{cells}</tr>")
    return f"<table><tr><th></th>{heads}</tr>{''.join(rows)}</table>"
