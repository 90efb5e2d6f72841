"""Reports of monitoring on a terminal, the worst first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.cli.output import moment, table

if TYPE_CHECKING:
    from penstock.monitoring.report import Measure, Report

MARKS = {"found": "✗", "error": "!", "insufficient": "?", "fine": "✓"}  # worst first
PENDING = "…"  # shown by this window, and not yet by enough of them
SHOWN = 15  # measures at least
SAYS = {
    "found": "found",
    "error": "not readable",
    "insufficient": "too little data",
    "fine": "fine",
}


def text_of(report: Report) -> str:
    """What was looked at, how it stands, and each measure."""
    window = "all rows" if report.since is None else f"{moment(report.since)} to "
    window += moment(report.until)
    ranked = sorted(report.measures, key=_rank)
    shown = [one for one in ranked if _rank(one)[0] < list(MARKS).index("fine")]
    shown = ranked[: max(len(shown), SHOWN)]
    rows = [(_mark(one), one.subject or "all", one.name, one.reason) for one in shown]
    lines = [
        f"{report.kind} of {report.model}: {_summary(report)}",
        f"{report.rows:,} rows of {report.source}, {window}",
        table(("", "of", "measure", "finding"), rows),
    ]
    if left := len(ranked) - len(shown):
        lines.append(f"   … and {left} more that are fine (--json has all)")
    return "\n".join(lines)


def _summary(report: Report) -> str:
    counts = {says: sum(m.verdict == name for m in report.measures) for name, says in SAYS.items()}
    return ", ".join(f"{count} {says}" for says, count in counts.items() if count) or "nothing"


def _mark(measure: Measure) -> str:
    """Of what this window shows, and others do not yet, another one."""
    return PENDING if _pending(measure) else MARKS[measure.verdict]


def _pending(measure: Measure) -> bool:
    return measure.verdict == "fine" and bool(measure.details.get("in_window"))


def _rank(measure: Measure) -> tuple[float, float]:
    """The worst first; of two alike, the one that changed more."""
    size = abs((measure.value or 0.0) - (measure.before or 0.0))
    place = list(MARKS).index(measure.verdict)
    return place - 0.5 * _pending(measure), -size
