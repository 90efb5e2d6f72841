"""`penstock models show|compare|lineage`: one version, and several side by side."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from penstock.cli.models import tell_strays
from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, table
from penstock.errors import UsageError
from penstock.project import Project

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from penstock.audit.ledger import Entry
    from penstock.registry.versions import Found
    from penstock.releases.manifest import Manifest


def show(options: argparse.Namespace) -> int:
    from penstock.registry.aliases import strays

    project, engine, found = _opened(options)
    serving = _serving(engine, found.digest)
    manifest = _manifest(engine, found)
    wrong = [one for one in strays(project, engine) if found.label in (one.ledger, one.registry)]
    entries = _entries(engine, found)
    if options.json:
        print_json(
            asdict(found)
            | {
                "release": manifest.digest if manifest else "",
                "served_by": serving,
                "strays": [asdict(one) for one in wrong],
                "entries": [_entry_json(entry) for entry in entries],
            }
        )
        return 0
    facts = {
        "aliases": ", ".join(found.aliases),
        "digest": found.digest or "none: another tool registered it; `penstock models sign` adopts",
        "release": manifest.digest[:12] if manifest else "",
        "served by": ", ".join(f"{name} ({arm})" for name, arm in serving.items()),
        "registered": moment(datetime.fromtimestamp(found.created_ms / 1000, UTC)),
        "MLflow run": found.run_id,
        "metrics": _listed(found, "penstock.metric."),
    }
    print(found.label)
    print(table(("", ""), [(k, v) for k, v in facts.items() if v]).lstrip("\n"))
    tell_strays(wrong)
    if entries:
        print()
        print(table(("entry", "when", "what", "who", "why"), [_row(one) for one in entries]))
    return 0


def compare(options: argparse.Namespace) -> int:
    from penstock.releases.differences import differences
    from penstock.rollout.candidate import version_of
    from penstock.state.database import open_database
    from penstock.training.comparison import as_json, as_markdown
    from penstock.training.comparison import compare as side_by_side
    from penstock.training.experiments import directions, find_runs

    if len(options.model) < 2:
        raise UsageError("one version has nothing to be compared with", hint="name two or more")
    project = project_of(options)
    engine = open_database(project)
    found = [version_of(project, label) for label in options.model]
    runs = side_by_side(find_runs(project, [one.label for one in found]), directions(project))
    made = [_manifest(engine, one) for one in found]
    between = {
        f"{one.model} → {two.model}": differences(one, two)
        for one, two in pairwise(made)
        if one and two
    }
    if options.json:
        releases = {name: [asdict(one) for one in said] for name, said in between.items()}
        print_json(as_json(runs) | {"releases": releases})
        return 0
    print(as_markdown(runs))
    for name, said in between.items():
        print(f"\n{name}")
        print("\n".join(f"  {one.area}: {one}" for one in said) or "  the same")
    return 0


def lineage(options: argparse.Namespace) -> int:
    _, engine, found = _opened(options)
    manifest = _manifest(engine, found)
    entries = _entries(engine, found)
    serving = _serving(engine, found.digest)
    chain = _chain(found, manifest)
    if options.json:
        steps = [{"what": what, "is": said, "digest": digest} for what, said, digest in chain]
        after = [_entry_json(entry) for entry in entries]
        print_json({"model": found.label, "from": steps, "since": after, "served_by": serving})
        return 0
    print(table(("made from", "", "digest"), [(w, s, d[:12]) for w, s, d in chain]))
    print()
    print(table(("entry", "when", "what", "who", "why"), [_row(one) for one in entries]))
    for name, arm in serving.items():
        print(f"now served by {name} ({arm})")
    return 0


def _chain(found: Found, made: Manifest | None) -> list[tuple[str, str, str]]:
    """What a version was made from, the nearest first."""
    if made is None:
        chain = [("model", found.label, found.digest), ("MLflow run", found.run_id, "")]
        rest = found.digests.items()
        return chain + [(what, "", digest) for what, digest in rest if what != "model"]
    training, data, code = made.training, made.data, made.code
    edited = " and changes that were not committed" if code.dirty and code.commit else ""
    chain = [
        ("model", f"{made.model}, {made.flavor}", made.digest_of_model),
        ("release", "", made.digest),
        ("run", f"{training.run or '–'}, MLflow {training.mlflow_run[:8]}", ""),
        ("training set", f"{data.training_rows:,} rows", data.training_set),
        ("features", made.features.service or "of the dataset", made.features.definitions),
        ("suites passed", ", ".join(made.expectations.suites), made.expectations.digest),
        ("dataset", f"{data.path}, {data.rows:,} rows, DVC {data.dvc[:8]}", data.digest),
        ("code", f"commit {code.commit[:12]}{edited}" if code.commit else "", code.bundle),
        ("environment", "", training.environment),
        ("settings", "", made.digests.get("settings", "")),
    ]
    return [step for step in chain if step[1] or step[2]]


def _serving(engine: Engine, digest: str) -> dict[str, str]:
    """The endpoints that serve these bytes, and under which arm."""
    from penstock.serving.routing.standing import LOADED, serving

    arms: dict[str, list[str]] = {}
    for one in serving(engine):
        if digest and one.digest == digest and one.part != LOADED:
            arms.setdefault(one.endpoint, []).append(one.part)
    return {endpoint: ", ".join(names) for endpoint, names in arms.items()}


def _entries(engine: Engine, found: Found) -> list[Entry]:
    """All that the ledger tells of a version: by its name, or as what an endpoint was given."""
    from penstock.audit.ledger import Ledger
    from penstock.audit.selection import entries_about
    from penstock.registry.champions import ACTIONS

    about = entries_about(engine, {found.digest} - {""}, {found.label})
    near = {one.sequence: one for one in (*about, *Ledger(engine).entries_of(ACTIONS))}
    return [
        entry
        for _, entry in sorted(near.items())
        if found.label in (entry.subject, entry.details.get("model"), entry.details.get("archived"))
    ]


def _manifest(engine: Engine, found: Found) -> Manifest | None:
    from penstock.releases.history import of_version

    made = of_version(engine, found.label, found.digest)
    return made.manifest if made else None


def _opened(options: argparse.Namespace) -> tuple[Project, Engine, Found]:
    from penstock.rollout.candidate import version_of
    from penstock.state.database import open_database

    project = project_of(options)
    return project, open_database(project), version_of(project, options.model)


def _listed(found: Found, prefix: str) -> str:
    named = {k.removeprefix(prefix): v for k, v in found.tags.items() if k.startswith(prefix)}
    return ", ".join(f"{name} {value}" for name, value in sorted(named.items()))


def _row(entry: Entry) -> tuple[Any, ...]:
    return entry.sequence, moment(entry.at), entry.action, entry.actor, entry.reason


def _entry_json(entry: Entry) -> dict[str, Any]:
    fields = ("sequence", "id", "at", "action", "subject", "actor", "reason", "digest")
    return {name: getattr(entry, name) for name in fields}
