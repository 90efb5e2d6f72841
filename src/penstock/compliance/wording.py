"""Facts as blocks of a document: what several of its sections say in the same way. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from penstock.audit.entries import Entry
from penstock.compliance.document import (
    Block,
    Missing,
    Owned,
    Row,
    Section,
    Statement,
    Table,
    cited,
)
from penstock.compliance.evidence import Evidence, entry_name
from penstock.compliance.facts import Facts
from penstock.compliance.owned import BY_NAME, FILE
from penstock.records import Check, Column, GateReport

Sections = Mapping[str, Iterable[str]]  # of the settings, and the names of some of each

RUN = "penstock run, which brings a version through every step"
TEMPLATE = "penstock compliance annex-iv --template writes the file"
DIGITS = 12  # of a digest, where people read it


def asked(facts: Facts, name: str) -> Block:
    """A field that a person answers for; what is missing where nobody has."""
    question = BY_NAME[name]
    known = facts.owned.get(name)
    if known is None:
        todo = f"write {name} in {FILE}: owner, and text: {question.asks[0].lower()}"
        return Missing(question.label, f"{todo}{question.asks[1:]}")
    answer = known.answer
    since = f"the same since {moment(known.since)}" if known.since else "not on record before"
    rests = facts.rests_on(FILE)
    return Owned(question.label, answer.text, answer.owner, answer.digest, since, rests)


def told(
    facts: Facts, label: str, text: str, *evidence: str, todo: str = RUN
) -> Statement | Missing:
    """A statement; missing where there is no text, or nothing that it rests on."""
    rests = facts.rests_on(*evidence)
    return Statement(label, text, rests) if text and rests else Missing(label, todo)


def because(facts: Facts) -> Statement | None:
    """What started the run that made it; None where a person typed it, and said no more."""
    for entry in facts.entries("model.registered"):
        started = (entry.details.get("trigger", ""), entry.details.get("because", ""))
        if text := ": ".join(filter(None, map(str, started))):
            return Statement("Made because of", text, (entry_name(entry),))
    return None


def table_of_checks(report: GateReport, caption: str = "") -> Table:
    """What a gate asked, with limits, what was seen and, where there is one, its interval."""
    intervals = any(check.interval for check in report.checks)
    heads = ("check", "limit", "observed", *(("95 % interval",) if intervals else ()), "passed")
    rows = tuple(
        (
            check.name,
            check.expected,
            check.observed,
            *((interval(check),) if intervals else ()),
            "yes" if check.passed else "no",
        )
        for check in report.checks
    )
    return Table(heads, rows, caption)


def checks(facts: Facts, report: GateReport | None, caption: str, file: str) -> Block:
    """The same, resting on a file of the evidence."""
    if report is None:
        return Missing(caption, RUN)
    return replace(table_of_checks(report, caption), evidence=facts.rests_on(file))


def interval(check: Check) -> str:
    return f"{check.interval[0]:+.4f} to {check.interval[1]:+.4f}" if check.interval else ""


def metrics(facts: Facts, values: Mapping[str, float], caption: str, file: str) -> Block:
    if not values:
        return Missing(caption, RUN)
    rows = tuple((name, number(value)) for name, value in sorted(values.items()))
    return Table(("metric", "value"), rows, caption, facts.rests_on(file))


def columns(facts: Facts, found: Iterable[Column], caption: str, file: str) -> Table:
    rows = tuple((column.name, column.type) for column in found)
    return Table(("column", "type"), rows, caption, facts.rests_on(file))


def story(entries: Iterable[Entry], caption: str) -> Table | None:
    """Who did what, when and why; None where there is nothing to tell."""
    told = tuple(entries)
    if not told:
        return None
    rows = tuple(
        (
            str(entry.sequence),
            moment(entry.at),
            entry.actor,
            entry.action,
            entry.subject,
            entry.reason,
        )
        for entry in told
    )
    heads = ("entry", "time", "who", "what", "object", "why")
    return Table(heads, rows, caption, tuple(map(entry_name, told)))


def head(facts: Facts) -> tuple[tuple[str, str], ...]:
    """What every document about a version begins with."""
    lines = {
        "Project": facts.project,
        "Owner": facts.owner,
        "Risk class": facts.said("risk_class") or "MISSING",
        "Registered": moment(facts.registered),
        "Digest of the model": facts.digest,
        "Release": facts.release.digest if facts.release else "",
    }
    if facts.issued:
        lines["On record"] = f"{moment(facts.issued.at)}, entry {facts.issued.sequence}"
    if facts.evidence and (proof := facts.evidence[0].proof):
        signed = "signed" if proof.signed else "NOT SIGNED YET"
        lines["Ledger"] = f"{proof.size} entries, {signed}; root {proof.root}"
    return tuple((name, value) for name, value in lines.items() if value)


def evidence_of(facts: Facts, sections: tuple[Section, ...]) -> tuple[Evidence, ...]:
    """What is cited, and the entry that names the files by their digests."""
    names = {*cited(sections), *([entry_name(facts.issued)] if facts.issued else [])}
    return tuple(one for one in facts.evidence if one.name in names)


def settings(facts: Facts, sections: Sections, caption: str) -> Table:
    """Some of the project's settings as they are now, by section."""
    rows = _settings(facts.settings, sections)
    return Table(("setting", "value"), rows, caption, facts.rests_on("settings.json"))


def settings_then(facts: Facts, sections: Sections, caption: str) -> Block:
    """The same as the version was made with."""
    rows = _settings(facts.release.settings if facts.release else {}, sections)
    if not rows:
        return Missing(caption, f"penstock models sign {facts.label}, which records a release")
    return Table(("setting", "value"), rows, caption, facts.rests_on("release.json"))


def _settings(values: Mapping[str, Any], sections: Sections) -> tuple[Row, ...]:
    return tuple(
        (f"[{section}] {name}", brief(values[section][name]))
        for section, names in sections.items()
        for name in names
        if name in values.get(section, {})
    )


def allowed(facts: Facts) -> Block:
    """Whether the version may serve production by the policy of approvals, and by whose word."""
    label = "May serve production"
    decision = facts.standing
    if decision is None or not decision.met:
        missing = "; ".join(decision.missing) if decision else "nobody asked"
        command = f"penstock models approve {facts.label} --for production --meaning '…'"
        return Missing(label, f"{missing}: {command}")
    by = [f"{one.person} ({one.role or 'no user'}): {one.meaning}" for one in decision.approvals]
    if decision.glass:
        reviewed = decision.glass.reviewed_by or "NOBODY"
        by.append(f"{decision.glass.person} broke the glass, reviewed by {reviewed}")
    until = f"; until {moment(decision.until)}" if decision.until else ""
    names = {entry.id: name for name, entry in facts.material.entries.items()}
    rests = tuple(names[one] for one in decision.entries if one in names)
    words = "; ".join(by) or "the policy asks for no approval"
    return Statement(label, f"{words}{until}", rests or facts.rests_on("settings.json"))


def brief(value: Any) -> str:
    """A value of a setting or parameter, as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in (None, "", [], {}):
        return "none"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        if set(value) == {"op", "value"}:
            return f"{value['op']} {number(value['value'])}"
        inner = ((name, one) for name, one in value.items() if one not in (None, "", [], {}))
        return ", ".join(f"{name} {brief(one)}" for name, one in inner) or "none"
    if isinstance(value, list | tuple):
        return "; ".join(map(brief, value))
    return str(value)


def number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{float(value):.5g}"


def moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC"


def digest(value: str) -> str:
    return value[:DIGITS]
