"""The change dossier: what differs between two versions, who decided on it, and when. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from penstock.audit.entries import Entry
from penstock.compliance.changing import Change
from penstock.compliance.document import (
    Block,
    Document,
    Missing,
    Row,
    Section,
    Statement,
    Table,
    cited,
)
from penstock.compliance.evidence import Evidence, entry_name
from penstock.compliance.facts import Facts
from penstock.compliance.owned import BY_NAME
from penstock.compliance.wording import RUN, digest, interval, moment, number, story
from penstock.data.differences import FileDifference
from penstock.records import Check, GateReport, IntegrationReport, ModelReport

LEAD = (
    "What changed from one version of the model to another: data, features, code, parameters, "
    "metrics, gates, approvals and settings, and who did it."
)
AREAS = {  # of differences between two releases, and what their sections are called
    "data": "Data",
    "features": "Features",
    "expectations": "Checks of the data",
    "code": "Code",
    "environment": "Environment",
    "params": "Parameters",
    "settings": "Settings",
    "model": "Model files",
}
DECIDED = (
    *("model.approved", "model.rejected", "model.promoted", "model.waived"),
    *("model.broke_glass", "model.glass_reviewed", "release.rolled_back"),
)


def change_dossier(change: Change) -> Document:
    """The document about two versions."""
    old, new = change.before, change.after
    parts = (
        _versions(change),
        *_areas(change),
        Section.of("", "Metrics", *_metrics(change)),
        Section.of("", "Gates", _gates(change)),
        Section.of("", "Approvals and what came of them", *_decisions(change)),
        Section.of("", "What persons answer for", _fields(change)),
    )
    numbered = tuple(replace(part, number=str(n)) for n, part in enumerate(parts, start=1))
    return Document(
        kind="Change dossier",
        title=f"{old.label} to {new.label}",
        lead=LEAD,
        at=max(old.at, new.at),
        head=tuple(
            (f"{what} of {facts.label}", value)
            for facts in (old, new)
            for what, value in (
                ("Digest", facts.digest),
                ("Release", facts.release.digest if facts.release else "none"),
            )
        ),
        sections=numbered,
        evidence=_evidence(change, numbered),
    )


def _versions(change: Change) -> Section:
    return Section.of(
        "",
        "Versions",
        story((*_made(change.before), *_made(change.after)), "Who made them, and when")
        or Missing("Who made them", RUN),
    )


def _made(facts: Facts) -> tuple[Entry, ...]:
    return facts.entries("model.registered", "model.signed", "release.made")


def _areas(change: Change) -> Iterator[Section]:
    releases = change.before.release is not None and change.after.release is not None
    rests = tuple(
        entry_name(e) for f in (change.before, change.after) for e in f.entries("release.made")
    )
    for area, title in AREAS.items():
        rows = tuple((d.what, d.before, d.after) for d in change.differences if d.area == area)
        blocks: list[Block | None] = []
        if not releases:
            blocks.append(
                Missing(title, "penstock models sign, which records a release for a version")
            )
        elif rows:
            blocks.append(Table(("", change.before.label, change.after.label), rows, "", rests))
        else:
            blocks.append(Statement("No difference", "It is the same in both versions.", rests))
        if area == "data":
            blocks += _data(change)
        if area == "code":
            blocks += _code(change)
        yield Section.of("", title, *blocks)


def _data(change: Change) -> Iterator[Block]:
    if change.no_data:
        yield Missing(
            "Rows and columns", f"{change.no_data}; `penstock data pull` brings data here"
        )
    for one in change.data:
        yield _file(one)


def _file(one: FileDifference) -> Block:
    table = one.table
    if table is None:
        where = "penstock data pull, as one side is not on this machine"
        return Missing(f"{one.path}: rows and columns", where if one.absent else "it is no table")
    changed = "" if table.rows_changed is None else number(table.rows_changed)
    columns = {
        "columns added": ", ".join(table.columns_added),
        "columns removed": ", ".join(table.columns_removed),
        "types of columns": ", ".join(f"{k} {v}" for k, v in table.columns_retyped.items()),
        "columns with other values": ", ".join(
            name if count is None else f"{name} ({number(count)})"
            for name, count in table.columns_changed.items()
        ),
    }
    rows = (
        ("rows", f"{number(table.rows_before)} to {number(table.rows_after)}"),
        ("rows added", number(table.rows_added)),
        ("rows removed", number(table.rows_removed)),
        *((("rows with other values", changed),) if changed else ()),
        *((name, text) for name, text in columns.items() if text),
    )
    return Table(("", one.change), rows, one.path)


def _code(change: Change) -> Iterator[Block]:
    if change.commits:
        yield Table(("commit",), tuple((one,) for one in change.commits), "Commits, newest first")
    if change.files:
        yield Table(("file",), tuple((one,) for one in change.files), "Files")


def _metrics(change: Change) -> Iterator[Block]:
    labels = (change.before.label, change.after.label)
    if not change.metrics:
        yield Missing("Metrics", "penstock experiments list, where both have runs")
        return
    rows = tuple(
        (
            row.name,
            *("" if value is None else number(float(value)) for value in row.values),
            ", ".join(labels[place] for place in row.best) if row.differs else "the same",
        )
        for row in change.metrics
    )
    yield Table(("metric", *labels, "better"), rows, "As they were tracked")
    report = change.after.record(ModelReport)
    for check in report.checks if report else ():
        if check.interval:
            text = f"{check.observed}: {check.reason}" if check.reason else check.observed
            yield Statement(f"{check.name}, with its 95 % interval {interval(check)}", text)


def _gates(change: Change) -> Block:
    """Every check of either version, side by side."""
    rows: list[Row] = []
    for kind in (ModelReport, IntegrationReport):
        one, other = (_checks(facts.record(kind)) for facts in (change.before, change.after))
        names = dict.fromkeys((*one, *other))
        rows += [(name, *_judged(one.get(name)), *_judged(other.get(name))) for name in names]
    if not rows:
        return Missing("Gates", RUN)
    heads = ("check", "limit", change.before.label, "limit", change.after.label)
    return Table(heads, tuple(rows))


def _checks(report: GateReport | None) -> dict[str, Check]:
    return {check.name: check for check in report.checks} if report else {}


def _judged(check: Check | None) -> tuple[str, str]:
    if check is None:
        return "", "not asked"
    return check.expected, check.observed if check.passed else f"{check.observed}, FAILED"


def _decisions(change: Change) -> Iterator[Block]:
    for facts in (change.before, change.after):
        what = f"Of {facts.label}"
        found = story(facts.entries(*DECIDED), what)
        yield found or Missing(what, f"penstock models approve {facts.label}")


def _fields(change: Change) -> Block:
    """Owned fields whose digest is another than when the earlier version was put on record."""
    present = change.after.owned
    rows = tuple(
        (
            BY_NAME[name].label,
            digest(change.fields.get(name, "")) or "not answered",
            digest(present[name].answer.digest) if name in present else "not answered",
            present[name].answer.owner if name in present else "",
            moment(since) if name in present and (since := present[name].since) else "",
        )
        for name in BY_NAME
        if change.fields.get(name, "") != (present[name].answer.digest if name in present else "")
    )
    if not rows:
        text = f"All are as when {change.before.label} was first put on record."
        return Statement("No difference", text)
    return Table(("field", "then", "now", "owner", "since"), rows, "Changed since")


def _evidence(change: Change, sections: tuple[Section, ...]) -> tuple[Evidence, ...]:
    names = cited(sections)
    both = (*change.before.evidence, *change.after.evidence)
    found = {one.name: one for one in both if one.name in names}
    return tuple(sorted(found.values(), key=lambda one: one.proof.sequence if one.proof else 0))
