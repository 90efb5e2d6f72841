"""What reviewers read below a change: metrics, gates, what differs, and what it cost. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby

from penstock.ci.trial import CHANGE, Trial
from penstock.compliance.document import Block, Document, Section, Statement, Table
from penstock.compliance.dossier import AREAS
from penstock.compliance.wording import number, table_of_checks
from penstock.gates.metrics import METRICS, SMALLER_IS_BETTER
from penstock.records import GateReport
from penstock.registry.champions import NONE
from penstock.releases.differences import Difference

MOST = 30  # commits and files that are named
FEW = 8  # checks of a gate that are all shown
EACH = "Each on what it held out itself; the gate compares both on the same rows."
TOLD = AREAS.keys() - {"model"}  # the files of a model that was trained anew always differ


def report(trial: Trial, at: datetime) -> Document:
    """The document; as Markdown it is a comment below a pull request."""
    return Document(
        kind="Trial of a change",
        title=f"{trial.project}: {'every gate passed' if trial.passed else 'refused'}",
        lead=_lead(trial),
        at=at,
        head=(
            ("Run", trial.outcome.run_id),
            ("Champion", trial.champion_label),
            *((f"Gate: {step}", _verdict(gate)) for step, gate in trial.gates),
        ),
        sections=tuple(_sections(trial)),
    )


def _lead(trial: Trial) -> str:
    of = "all data" if trial.share == 1 else f"a sample of {trial.share:.0%} of the data"
    error = trial.outcome.error
    said = f" {error.message} {error.hint}".rstrip() if error else ""
    rows = "" if trial.share == 1 else " Digests and numbers of rows are left out: it has others."
    return f"The plan was run on {of}; nothing was registered or deployed.{rows}{said}"


def _sections(trial: Trial) -> Iterator[Section]:
    yield Section("Metrics", blocks=tuple(_metrics(trial)))
    for step, gate in trial.gates:
        yield Section(f"Gate: {step}", blocks=tuple(_gate(gate)))
    yield from _differences(trial)
    yield Section("Cost", blocks=tuple(_cost(trial)))


def _gate(gate: GateReport) -> Iterator[Block]:
    """What was refused; all of it where there is little."""
    if len(gate.checks) <= FEW:
        yield table_of_checks(gate)
        return
    yield Statement("Verdict", _verdict(gate))
    if gate.failures:
        yield table_of_checks(GateReport(subject=gate.subject, checks=gate.failures))


def _verdict(gate: GateReport) -> str:
    """24 of 24 checks hold"""
    held, failed = len(gate.checks) - len(gate.failures), [one.name for one in gate.failures]
    named = f"; refused: {', '.join(failed[:FEW])}" if failed else ""
    return f"{held} of {len(gate.checks)} checks hold{named}"


def _metrics(trial: Trial) -> Iterator[Block]:
    if trial.change is None:
        return
    found = trial.change.training.metrics
    known = [name for name in METRICS if name in found]
    new = [(name, found[name]) for name in (*known, *sorted(found.keys() - set(METRICS)))]
    if trial.champion is None:
        yield Table(("metric", CHANGE), tuple((name, number(value)) for name, value in new))
        return
    old = trial.champion.manifest.training.metrics
    rows = tuple(
        (
            name,
            number(old[name]) if name in old else "",
            number(value),
            _change(name, value - old[name]) if name in old else "",
        )
        for name, value in new
    )
    yield Table(("metric", trial.champion_label, CHANGE, "difference"), rows, EACH)


def _change(name: str, difference: float) -> str:
    """+0.0005 better; of metrics that nobody knows, the number alone."""
    told = f"{difference:+.4f}"
    if name not in METRICS or not float(told):
        return told
    return f"{told} {'better' if (difference > 0) != (name in SMALLER_IS_BETTER) else 'worse'}"


def _differences(trial: Trial) -> Iterator[Section]:
    """By area."""
    if trial.champion is None:
        known = (
            "there is no champion" if trial.champion_label == NONE else "its release is not known"
        )
        yield Section("Differences", blocks=(Statement("Compared with", f"nothing: {known}"),))
        return
    told = [one for one in trial.differences if one.area in TOLD and not _sampled(trial, one)]
    for area, group in groupby(told, key=lambda one: one.area):
        rows = tuple((one.what, one.before, one.after) for one in group)
        table = Table(("what", trial.champion_label, CHANGE), rows)
        yield Section(AREAS[area], blocks=(table, *_code(trial, area)))
    if not told:
        same = Statement("Compared with", f"{trial.champion_label}: nothing differs")
        yield Section("Differences", blocks=(same,))


def _sampled(trial: Trial, one: Difference) -> bool:
    """Whether a sample alone may make the difference: it has other rows than all data."""
    return trial.share != 1 and (one.area == "data" or one.what == "data.sample")


def _code(trial: Trial, area: str) -> Iterator[Block]:
    if area == "code":
        for name, found in (("commit", trial.commits), ("file", trial.files)):
            if found:
                yield Table((name,), tuple((one,) for one in found[:MOST]))


def _cost(trial: Trial) -> Iterator[Block]:
    cost = trial.cost
    yield Table(
        ("what", "spent"),
        (
            ("time", f"{cost.seconds:.0f} s"),
            ("CPU", f"{cost.cpu_seconds:.0f} s"),
            ("memory, the largest process", f"{cost.memory_bytes / 2**20:,.0f} MiB"),
            ("data, training set and model", f"{cost.data_bytes / 2**20:,.1f} MiB"),
        ),
    )
    steps = trial.outcome.steps
    rows = tuple((one.step, one.status, f"{one.seconds:.1f} s") for one in steps)
    yield Table(("step", "status", "time"), rows)
