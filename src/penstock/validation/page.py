"""A data report as one HTML page that needs no other file, failed checks first."""

from __future__ import annotations

from html import escape
from string import Template

from penstock.records import Check, DataReport

PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Data validation: $verdict</title>
<style>
:root { color-scheme: light dark; --line: #8884; --quiet: #767676;
        --bad: light-dark(#b3261e, #ff8a80); --good: light-dark(#1b6e3c, #7bd88f); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin-top: 1.5rem; }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem;
         border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
td:nth-child(2) { font-family: ui-monospace, monospace; font-size: .85rem;
                  overflow-wrap: anywhere; }
.failed { color: var(--bad); font-weight: 600; }
.passed { color: var(--good); }
small, td p { color: var(--quiet); }
td p { font: .85rem/1.5 system-ui, sans-serif; margin: .25rem 0 0; }
ul { margin: .25rem 0 0; padding-left: 1.25rem; font-size: .85rem; overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>Data validation <span class="$verdict">$verdict</span></h1>
<p>$summary<br><small>dataset <code>$subject</code></small></p>
<div class="scroll">
<table>
<thead><tr><th></th><th>Expectation</th><th>Expected</th><th>Observed</th></tr></thead>
<tbody>
$rows
</tbody>
</table>
</div>
</body>
</html>
""")


def page(report: DataReport) -> str:
    """The whole page. Every text from the data or the suites is escaped."""
    failed, total = len(report.failures), len(report.checks)
    ordered = sorted(report.checks, key=lambda check: check.passed)
    suites = ", ".join(report.suites)
    return PAGE.substitute(
        verdict="passed" if report.passed else "failed",
        summary=escape(f"{failed} of {total} expectations failed. Suites: {suites}."),
        subject=escape(report.subject),
        rows="\n".join(map(_row, ordered)),
    )


def _row(check: Check) -> str:
    verdict = "passed" if check.passed else "failed"
    name, observed = escape(check.name), escape(check.observed)
    if check.reason:
        name += f"<p>{escape(check.reason)}</p>"
    if check.sample and not check.passed:
        rows = "".join(f"<li>{escape(row)}</li>" for row in check.sample)
        observed += f"<ul>{rows}</ul>"
    cells = (f'<span class="{verdict}">{verdict}</span>', name, escape(check.expected), observed)
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
