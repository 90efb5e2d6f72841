"""The pictures of a load test."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.gates.load.hdr import PER_MS
from penstock.gates.load.report import LoadReport

INK, ACCENT, FAINT, WARN, ALARM = "#1f2933", "#0b7285", "#adb5bd", "#c77700", "#b3261e"
QUANTILES = (0.5, 0.95, 0.99)
MARKED = (50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999)
SHADES = {50.0: ACCENT, 99.0: WARN, 100.0: ALARM}


def draw(report: LoadReport, file: Path) -> None:
    """PNG: latency by percentile, and over time with answers and errors a second."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.2), layout="constrained", dpi=120)
    grid = figure.add_gridspec(3, 2, width_ratios=(1, 1.15))
    figure.suptitle(_title(report), color=INK, fontsize=11, x=0.01, ha="left")
    percentiles = figure.add_subplot(grid[:, 0])
    over_time = figure.add_subplot(grid[:2, 1], sharey=percentiles)
    rates = figure.add_subplot(grid[2, 1], sharex=over_time)
    for axes in (percentiles, over_time, rates):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=FAINT, alpha=0.35, linewidth=0.6)
    _percentiles(percentiles, report)
    _over_time(over_time, report)
    _rates(rates, report)
    figure.savefig(file, format="png")


def _title(report: LoadReport) -> str:
    plan = report.plan
    loop = "closed loop" if plan.rate is None else f"open loop of {plan.rate:,.6g}/s"
    errors = f"{report.errors:,} errors" if report.errors else "no errors"
    return (
        f"{plan.address.path}: {report.requests_per_second:,.0f} answers/s, {errors}\n"
        f"{plan.connections} connections, {loop}, {report.requests:,} requests "
        f"in {report.seconds:.1f} s"
    )


def _percentiles(axes: Any, report: LoadReport) -> None:
    axes.set_xlabel("percentile", color=INK)
    axes.set_ylabel("latency (ms)", color=INK)
    steps = [step for step in report.latency.steps() if step.percentile < 100.0]
    if not steps:
        _nothing(axes)
        return
    last = max(float(report.answers), 10.0)  # beyond, there is nothing but the maximum
    distances = [min(100.0 / (100.0 - step.percentile), last) for step in steps]
    axes.plot(
        [*distances, last],
        [*(step.value / PER_MS for step in steps), report.latency.max / PER_MS],
        color=ACCENT, drawstyle="steps-post", linewidth=1.6,
    )  # fmt: skip
    axes.set_xscale("log")
    marked = [p for p in MARKED if 100.0 / (100.0 - p) <= last * 1.01]
    axes.set_xticks([1.0, *(100.0 / (100.0 - p) for p in marked)])
    axes.set_xticklabels(["0", *(f"{p:g}" for p in marked)])
    axes.xaxis.minorticks_off()
    axes.set_xlim(1.0, last * 1.15)
    _milliseconds(axes, report)
    for percentile in marked:
        value = report.latency.percentile(percentile) / PER_MS
        place = 100.0 / (100.0 - percentile)
        axes.plot(place, value, "o", color=ACCENT, markersize=4)
        axes.annotate(
            _digits(value), (place, value), (5, -4), textcoords="offset points",
            ha="left", va="top", fontsize=8, color=INK,
        )  # fmt: skip


def _over_time(axes: Any, report: LoadReport) -> None:
    axes.tick_params(labelbottom=False, labelleft=False)
    axes.tick_params(axis="y", which="both", labelleft=False)
    covered = _covered(report)
    shown = [(n, part) for n, part in enumerate(report.intervals) if covered[n] > 0]
    if not report.answers:
        _nothing(axes)
        return
    times = [(number + 0.5) * report.interval for number, _ in shown]
    for percentile, colour in SHADES.items():
        values = [  # a gap where nothing was answered
            part.percentile(percentile) / PER_MS if part.total else math.nan for _, part in shown
        ]
        label = "max" if percentile == 100.0 else f"p{percentile:g}"
        style = {"marker": ".", "markersize": 3} if len(times) < 40 else {}
        axes.plot(times, values, color=colour, linewidth=1.1, label=label, **style)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, frameon=False, fontsize=8,
                borderaxespad=0.0)  # fmt: skip


def _rates(axes: Any, report: LoadReport) -> None:
    axes.set_xlabel("seconds", color=INK)
    axes.set_ylabel("answers/s", color=INK)
    covered = _covered(report)
    shown = covered > 0
    counted = np.array([part.total for part in report.intervals], dtype=float)
    answers = counted[shown] / covered[shown]
    errors = np.array(report.interval_errors, dtype=float)[shown] / covered[shown]
    times = (np.flatnonzero(shown) + 0.5) * report.interval
    axes.plot(times, answers, color=ACCENT, linewidth=1.1)
    if report.plan.rate is not None:
        axes.axhline(report.plan.rate, color=FAINT, linestyle="--", linewidth=1)
    if errors.any():
        axes.bar(times, errors, report.interval, color=ALARM, alpha=0.6, label="errors/s")
        axes.legend(loc="upper right", frameon=False, fontsize=8)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, max(report.seconds, report.interval))
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _covered(report: LoadReport) -> NDArray[np.float64]:
    """Seconds that each interval lasted; 0 for a last sliver, of which nothing can be said."""
    starts = np.arange(len(report.intervals)) * report.interval
    lasted = np.clip(report.seconds - starts, 0.0, report.interval)
    return np.where((lasted > report.interval / 4) | (starts == 0.0), lasted, 0.0)


def _milliseconds(axes: Any, report: LoadReport) -> None:
    """A logarithmic axis that fits everything that is drawn, with readable numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low = min(part.percentile(0.0) for part in report.intervals if part.total) / PER_MS
    middle = min(part.percentile(50.0) for part in report.intervals if part.total) / PER_MS
    low, high = max(low, middle / 3.0, 0.001), max(report.latency.max / PER_MS, 0.002)
    axes.set_yscale("log")
    axes.set_ylim(low / 1.25, high * 1.4)
    subs = (1.0, 2.0, 5.0) if high / low < 500 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _nothing(axes: Any) -> None:
    axes.text(0.5, 0.5, "nothing was answered", transform=axes.transAxes, ha="center", color=INK)


def histogram(latencies: NDArray[Any], title: str, file: Path) -> None:
    """PNG: the distribution of latencies (ms), with the quantiles that gates look at."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel("latency (ms)")
    axes.set_ylabel("requests")
    axes.set_title(title)
    if len(latencies):
        low = max(float(latencies.min()), 1e-3)
        high = max(float(latencies.max()), low * 1.01)
        axes.hist(latencies, bins=np.geomspace(low, high, 60).tolist(), color="#8fb3d9")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        for q, colour in zip(QUANTILES, ("#2c7a3f", WARN, ALARM), strict=True):
            value = float(np.quantile(latencies, q))
            axes.axvline(value, color=colour, label=f"p{q * 100:g} {value:.1f} ms")
        axes.legend()
    figure.savefig(file, dpi=120)
