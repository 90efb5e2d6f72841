"""Brings together all that is known of a version: from ledger, registry, runs, releases, rollouts.

Nothing is made up: what one of them does not tell stays empty, and is printed as missing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from penstock.approvals.book import REGISTERED, standing_of
from penstock.audit.canonical import canonical
from penstock.audit.entries import Entry
from penstock.audit.ledger import Ledger
from penstock.audit.selection import Selection, selected
from penstock.compliance import owned
from penstock.compliance.evidence import Material, entry_name
from penstock.compliance.facts import (
    ISSUED,
    LINEAGE,
    Facts,
    Known,
    Looked,
    RolloutFact,
    Run,
    Served,
    Span,
)
from penstock.compliance.owned import Answer
from penstock.errors import PenstockError
from penstock.lineage.graph import Graph
from penstock.lineage.store import upstream
from penstock.project import PRODUCTION, Project
from penstock.records import IntegrationReport, Record, from_json, plain, to_json
from penstock.registry.attestations import bring
from penstock.registry.bom import BOM
from penstock.registry.model_keys import KeyFiles
from penstock.registry.provenance import PROVENANCE, verified
from penstock.registry.signing import SIGNATURE
from penstock.registry.verification import verify
from penstock.registry.versions import Found
from penstock.releases.history import of_version
from penstock.rollout.memory import STREAM, Memory
from penstock.rollout.post_mortem import story
from penstock.serving.routing import standing
from penstock.setting_types import duration_text
from penstock.state.runs import RunRow, Runs

FILES = {  # in a bundle -> what it is
    "records/dataset.json": "the dataset, as the run extracted it",
    "records/data-report.json": "the report of the data gate (Great Expectations)",
    "records/features.json": "the training set and its features",
    "records/model.json": "the trained model: parameters, seed, validation metrics",
    "records/evaluation.json": "the report of the model gate, on the held-out period",
    "records/integration-test.json": "the report of the integration test of staging",
    "release.json": "the manifest of the release",
    PROVENANCE: "provenance of the model (in-toto, SLSA v1, DSSE)",
    BOM: "bill of materials of the model (CycloneDX 1.6)",
    SIGNATURE: "signature over the model's files (OpenSSF model-signing)",
    "models.pub": "the public keys that verify model.sig and provenance.json",
    LINEAGE: "all facts that the model rests on, and the edges between them",
    "verification.json": "what verifying the model found",
    "settings.json": "the settings of the project, without secrets",
    owned.FILE: "the fields that persons answer for",
}
RECORDS = {
    "DatasetVersion": "records/dataset.json",
    "DataReport": "records/data-report.json",
    "FeatureSet": "records/features.json",
    "TrainedModel": "records/model.json",
    "ModelReport": "records/evaluation.json",
    "IntegrationReport": "records/integration-test.json",
}
BEGINNINGS = ("model.", "release.", ISSUED)  # of the actions that tell what became of a model


def gather(project: Project, engine: Engine, found: Found) -> Facts:
    """All of it, not yet proven: see `issuing`."""
    entries, rollouts = entries_of(engine, *BEGINNINGS), tuple(_rollouts(engine, found))
    own = _about(engine, found, entries, rollouts)
    run = _run(engine, found, own)
    records = _records(engine, run, found)
    made = of_version(engine, found.label, found.digest)
    release = made.manifest if made else None
    rests = upstream(engine, found.digest)
    looked = _looked(project, engine, found)
    attested = _attested(project, found)
    fields = _owned_file(project)
    settings = _as_written(project.settings.model_dump())
    files: dict[str, bytes] = {
        **{RECORDS[kind]: _pretty(to_json(one)) for kind, one in records.items()},
        **({"release.json": release.content} if release else {}),
        **attested,
        **({LINEAGE: _pretty(_as_graph(rests))} if rests.edges else {}),
        "verification.json": _pretty([one.__dict__ for one in looked]),
        "settings.json": _pretty(settings),
        **({owned.FILE: fields} if fields else {}),
        **{one.file: _pretty(one.story) for one in rollouts},
    }
    says = FILES | {one.file: f"the story of the rollout {one.id}" for one in rollouts}
    return Facts(
        project=project.settings.project.name,
        owner=project.settings.project.owner,
        name=found.name,
        version=found.version,
        digest=found.digest,
        registered=datetime.fromtimestamp(found.created_ms / 1000, UTC),
        tags=found.tags,
        run=_as_fact(run),
        records=records,
        release=release,
        provenance=_statement(project, attested),
        bom=json.loads(attested[BOM]) if BOM in attested else {},
        lineage=rests,
        looked=looked,
        settings=settings,
        rollouts=rollouts,
        serving=tuple(serving(engine).get(found.label, ())),
        standing=standing_of(project, engine, found, PRODUCTION, datetime.now(UTC)),
        history=tuple(_lifetime(entries, found.name)),
        owned=known(fields, entries),
        material=Material({entry_name(entry): entry for entry in own}, files, says),
    )


def serving(engine: Engine) -> dict[str, list[Served]]:
    """Which endpoints answer with which version now, and to what share of the units."""
    found: dict[str, list[Served]] = {}
    for one in standing.serving(engine):
        if one.part != standing.LOADED:
            found.setdefault(one.model, []).append(Served(one.endpoint, one.share))
    return found


def _run(engine: Engine, found: Found, entries: Iterable[Entry]) -> RunRow | None:
    """The run that registered a version, with its steps."""
    named = [e.run_id for e in entries if e.action == REGISTERED and e.subject == found.label]
    return Runs(engine).get(named[-1]) if named and named[-1] else None


def entries_of(engine: Engine, *beginnings: str) -> list[Entry]:
    """Entries whose action begins so, oldest first."""
    found = [one for begins in beginnings for one in selected(engine, Selection(action=begins))]
    return sorted(found, key=lambda entry: entry.sequence)


def _about(
    engine: Engine, found: Found, entries: Iterable[Entry], rollouts: Iterable[RolloutFact]
) -> list[Entry]:
    """Of this version: by name, by its bytes, because the details name it, or of its rollouts.

    What was issued is left out: it rests on the rest.
    """
    own = [
        entry
        for entry in entries
        if entry.subject == found.label
        or (found.digest and entry.after == found.digest)
        or entry.details.get("model") == found.label
    ]
    own += selected(engine, Selection(digest=found.digest)) if found.digest else []
    book = Ledger(engine)
    own += [entry for one in rollouts for entry in book.entries(stream=STREAM + one.id)]
    unique = {entry.sequence: entry for entry in own if entry.action != ISSUED}
    return [unique[number] for number in sorted(unique)]


def _lifetime(entries: Iterable[Entry], name: str) -> Iterable[Entry]:
    for entry in entries:
        model = str(entry.details.get("model", entry.subject)).rpartition("@")[0]
        if entry.action != ISSUED and model == name:
            yield entry


def _rollouts(engine: Engine, found: Found) -> Iterable[RolloutFact]:
    memory = Memory(engine)
    for listed in reversed(memory.listed()):
        one = memory.load(listed.id)
        if one.state.spec.candidate.digest == found.digest:
            names = tuple(f"entry/{number}" for number in one.sequences)
            told = plain(json.loads(json.dumps(story(one), default=str)))
            yield RolloutFact(listed.id, f"rollouts/{listed.id}.json", names, told)


def _records(engine: Engine, run: RunRow | None, found: Found) -> dict[str, Record]:
    """Of the run that registered the version; an endpoint may have been tested again since."""
    stored = [step.record for step in run.steps if step.record] if run else []
    if again := Runs(engine).latest_of(IntegrationReport.__name__, found.digest):
        stored.append(again)
    return {one["kind"]: from_json(one) for one in stored if one["kind"] in RECORDS}


def _as_fact(run: RunRow | None) -> Run | None:
    if run is None:
        return None
    steps = tuple(Span(step.step, step.status, step.seconds) for step in run.steps)
    return Run(run.id, run.environment, run.started_at, run.finished_at, steps)


def _as_graph(graph: Graph) -> dict[str, Any]:
    nodes = sorted(graph.nodes.values())
    return {
        "nodes": [node._asdict() for node in nodes],
        "edges": [edge._asdict() for edge in sorted(graph.edges)],
    }


def _looked(project: Project, engine: Engine, found: Found) -> tuple[Looked, ...]:
    return tuple(Looked(o.name, o.holds, o.said) for o in verify(project, engine, found))


def _attested(project: Project, found: Found) -> dict[str, bytes]:
    """Signature, provenance and bill of materials as the registry has them, and the keys."""
    with tempfile.TemporaryDirectory() as desk:
        bring(project, found.run_id, Path(desk) / "model")
        there = {file.name: file.read_bytes() for file in Path(desk).glob("model.signed/*")}
    public = KeyFiles.of(project).public
    if public.is_file():
        there["models.pub"] = public.read_bytes()
    return {name: content for name, content in there.items() if name in FILES}


def _statement(project: Project, attested: Mapping[str, bytes]) -> Mapping[str, Any]:
    """Only what a trusted key has signed counts."""
    try:
        keys = KeyFiles.of(project).trusted()
        return verified(attested[PROVENANCE], keys)[0]
    except (KeyError, PenstockError):
        return {}


def owned_fields(project: Project) -> dict[str, Answer]:
    """What persons answered in the project's file."""
    return owned.parsed(_owned_file(project))


def _owned_file(project: Project) -> bytes:
    file = project.root / owned.FILE
    return file.read_bytes() if file.is_file() else b""


def known(content: bytes, entries: Iterable[Entry]) -> dict[str, Known]:
    """Each field, and since which of the entries that put it on record it has been the same."""
    answers = owned.parsed(content)
    since: dict[str, datetime] = {}
    for entry in entries:
        if entry.action == ISSUED:
            fields = entry.details.get("fields", {})
            for name, answer in answers.items():
                if fields.get(name) == answer.digest:
                    since.setdefault(name, entry.at)
                else:
                    since.pop(name, None)
    return {name: Known(answer, since.get(name)) for name, answer in answers.items()}


def _as_written(value: Any) -> Any:
    """Settings as JSON, durations as people write them, secrets as asterisks."""
    if isinstance(value, Mapping):
        return {str(name): _as_written(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_written(one) for one in value]
    if isinstance(value, timedelta):
        return duration_text(value)
    return plain(value) if isinstance(value, int | float | None) else str(value)


def _pretty(value: Any) -> bytes:
    canonical(value)  # refuses what has no one form
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
