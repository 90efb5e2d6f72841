"""Reports as one HTML page with plots: it needs no other file, no script and no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from string import Template

from penstock.monitoring import cards
from penstock.monitoring.report import DRIFTED_SHARE, Measure, Report, Verdict
from penstock.profiles.profile import Column, Profile

PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: light-dark(#1c1d1f, #e6e4df);
        --paper: light-dark(#fdfcfa, #17181a); --card: light-dark(#ffffff, #1d1f22);
        --line: light-dark(#e2ded5, #34363a); --quiet: light-dark(#6b6962, #9b988f);
        --before: light-dark(#b9c4d0, #4a5563); --now: light-dark(#1f6fb2, #6db3f2);
        --found: light-dark(#b3261e, #ff8f84); --insufficient: light-dark(#8a6100, #e0b354);
        --error: light-dark(#8a6100, #e0b354); --fine: light-dark(#2c7a4b, #7ccb98); }
* { box-sizing: border-box; }
body { font: 15px/1.5 "Helvetica Neue", Arial, "Liberation Sans", sans-serif; color: var(--ink);
       background: var(--paper); max-width: 70rem; margin: 2.5rem auto 5rem; padding: 0 1.5rem;
       font-variant-numeric: tabular-nums; }
h1 { font-size: 1.9rem; letter-spacing: -.02em; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.8rem 0 .2rem; padding-top: 1rem;
     border-top: 2px solid var(--ink); text-transform: capitalize; }
.lead { color: var(--quiet); margin: 0 0 1rem; }
.badge { display: inline-block; border-radius: 1rem; padding: .05rem .6rem; font-size: .78rem;
         font-weight: 600; color: var(--paper); background: var(--fine); white-space: nowrap;
         text-transform: none; vertical-align: 2px; }
.badge.found { background: var(--found); } .badge.error { background: var(--error); }
.badge.insufficient { background: var(--insufficient); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(19.5rem, 1fr)); gap: 1rem;
         margin: 1.2rem 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
        padding: .8rem 1rem .7rem; }
.card.found { border-color: var(--found); }
.card .badge { vertical-align: 0; }
.card header { display: flex; justify-content: space-between; gap: .6rem; align-items: baseline; }
.card h3 { font-size: .95rem; margin: 0; overflow-wrap: anywhere; }
.card p { font-size: .8rem; color: var(--quiet); margin: .35rem 0 0; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; margin-top: .5rem; }
svg text { fill: var(--quiet); font-size: 10px; }
.before { fill: var(--before); } .now { fill: none; stroke: var(--now); stroke-width: 1.8; }
.nowbar { fill: var(--now); } .axis { stroke: var(--line); }
.band { fill: var(--now); opacity: .16; } .dot { fill: var(--ink); }
.bar { stroke: var(--ink); stroke-width: 1.2; opacity: .55; }
.bar.bad { stroke: var(--found); opacity: .8; } .dot.bad { fill: var(--found); }
.heldout { stroke: var(--quiet); stroke-width: 1.2; stroke-dasharray: 5 3; }
.limit { fill: none; stroke: var(--found); stroke-width: 1.2; stroke-dasharray: 2 3; }
.limit.quiet { stroke: var(--quiet); }
.card.wide { grid-column: 1 / -1; } .card.wide svg { max-width: 48rem; }
.wide .heldout { stroke-dasharray: none; }
.key { font-size: .8rem; color: var(--quiet); }
.key i { display: inline-block; width: .9rem; height: .7rem; border-radius: 2px;
         margin: 0 .35rem 0 1rem; background: var(--before); vertical-align: -1px; }
.key i.w { background: none; border: 1.8px solid var(--now); }
.key i.e { background: color-mix(in srgb, var(--now) 20%, transparent); border: 0;
           border-bottom: 2px solid var(--now); }
.key i.r { width: .55rem; height: .55rem; border-radius: 50%; background: var(--ink); }
.key i.h, .key i.l { width: 1.5rem; height: 0; border-top: 2px dashed var(--quiet);
                     background: none; vertical-align: 4px; }
.key i.l { border-top: 2px dotted var(--found); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .84rem; margin: 1rem 0; }
th { text-align: left; color: var(--quiet); font-weight: 500; border-bottom: 1px solid var(--ink); }
th, td { padding: .3rem .9rem .3rem 0; vertical-align: top; }
td { border-bottom: 1px solid var(--line); }
td:nth-child(2) { min-width: 6rem; max-width: 18rem; overflow-wrap: anywhere; }
td:nth-child(3) { white-space: nowrap; } td:last-child { overflow-wrap: anywhere; width: 70%; }
summary { cursor: pointer; color: var(--quiet); font-size: .88rem; margin-top: .8rem; }
</style>
</head>
<body>
<h1>$title</h1>
<p class="lead">$lead</p>
$sections
</body>
</html>
""")


def page(
    reference: Profile,
    columns: Mapping[str, Column],
    reports: Sequence[Report],
    earlier: Sequence[Report] = (),
) -> str:
    """The whole page: a section a report, and a plot of each column that was compared.

    `earlier` are reports on performance, the oldest first, whose windows are drawn too.
    """
    first = reports[0]
    lead = f"{first.rows:,} rows of {first.source}, {_window(first)}; made {_moment(first.made_at)}"
    return PAGE.substitute(
        title=escape(f"Monitoring of {first.model}"),
        lead=escape(lead),
        sections="\n".join(_section(one, reference, columns, earlier) for one in reports),
    )


def _section(
    report: Report,
    reference: Profile,
    columns: Mapping[str, Column],
    earlier: Sequence[Report],
) -> str:
    ranked = sorted(report.measures, key=_rank)
    shown = cards.drawn_in(report)
    drawn = [one for one in ranked if (one.name, one.subject) in shown]
    listed = [one for one in ranked if one not in drawn]
    loud = [one for one in listed if one.verdict is not Verdict.FINE or one.name == DRIFTED_SHARE]
    quiet = [one for one in listed if one not in loud]
    unfolded = "" if loud or drawn else " open"
    if report.kind == "performance":
        pictures = cards.of_performance(report, earlier)
    else:
        drawn = [one for one in drawn if one.subject in columns]
        pictures = cards.of_columns(drawn, reference, columns)
    return "\n".join(
        [
            f"<h2>{escape(report.kind)} {_badges(report)}</h2>",
            _table(loud),
            *pictures,
            *([f"<details{unfolded}><summary>{len(quiet)} that are fine</summary>", _table(quiet),
               "</details>"] if quiet else []),
        ]
    )  # fmt: skip


def _badges(report: Report) -> str:
    counts = [(v, sum(one.verdict is v for one in report.measures)) for v in cards.WORST]
    return " ".join(
        cards.badge(verdict, f"{count} {cards.SAYS[verdict]}") for verdict, count in counts if count
    )


def _table(measures: Sequence[Measure]) -> str:
    if not measures:
        return ""
    rows = "\n".join(
        f"<tr><td>{cards.badge_of([one])}</td><td>{escape(one.subject or 'all')}</td>"
        f"<td>{escape(one.name)}</td><td>{escape(one.reason)}</td></tr>"
        for one in measures
    )
    heads = _cells("th", ("", "of", "measure", "finding"))
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cells(tag: str, texts: Iterable[str]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)


def _rank(measure: Measure) -> tuple[int, float]:
    change = abs((measure.value or 0.0) - (measure.before or 0.0))
    return cards.WORST.index(measure.verdict), -change


def _window(report: Report) -> str:
    if report.since is None or report.until is None:
        return "all there is"
    return f"{_moment(report.since)} to {_moment(report.until)}"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
