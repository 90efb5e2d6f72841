"""All that the documents about a version are made from. Pure; `gathering` brings it together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from penstock.approvals.decision import Decision
from penstock.audit.entries import Entry
from penstock.compliance.evidence import Evidence, Material
from penstock.compliance.owned import Answer
from penstock.lineage.graph import Graph
from penstock.records import Record
from penstock.releases.manifest import Manifest

LINEAGE = "lineage.json"
ISSUED = "compliance.issued"  # names every file that documents rest on, by its digest

Kind = TypeVar("Kind", bound=Record)


class Span(NamedTuple):
    """A step of the run that made a version."""

    step: str
    status: str
    seconds: float | None


@dataclass(frozen=True)
class Run:
    id: str
    environment: str
    started: datetime  # UTC
    finished: datetime | None
    steps: tuple[Span, ...]


@dataclass(frozen=True)
class RolloutFact:
    """A rollout of a version, as its post-mortem tells it."""

    id: str
    file: str  # name of its evidence
    entries: tuple[str, ...]  # names of its evidence: every entry of its stream
    story: Mapping[str, Any]


@dataclass(frozen=True)
class Looked:
    """Something about the signed model that was looked at just now."""

    name: str
    holds: bool
    said: str


@dataclass(frozen=True)
class Known:
    """A field of `compliance.yaml`, and since when it has been the same."""

    answer: Answer
    since: datetime | None = None  # when it was put on record so; None: never yet


class Served(NamedTuple):
    """An endpoint that a version answers at."""

    endpoint: str
    share: float  # of the units, 0 to 1


@dataclass(frozen=True)
class Facts:
    """What is known of a version. Empty, or None, is what is not."""

    project: str
    owner: str  # of the project, by its settings
    name: str
    version: int
    digest: str  # of the model's files
    registered: datetime  # UTC
    tags: Mapping[str, str]
    run: Run | None
    records: Mapping[str, Record]  # of that run's steps, by kind
    release: Manifest | None
    provenance: Mapping[str, Any]  # the in-toto statement
    bom: Mapping[str, Any]
    lineage: Graph  # upwards from the model's files
    looked: tuple[Looked, ...]
    settings: Mapping[str, Any]  # as they are now, without secrets
    rollouts: tuple[RolloutFact, ...]
    serving: tuple[Served, ...]
    standing: Decision | None  # whether it may serve production, and by whose word
    history: tuple[Entry, ...]  # of all versions of the model: what changed over its lifetime
    owned: Mapping[str, Known]
    material: Material
    issued: Entry | None = None  # the entry that names every file by its digest
    evidence: tuple[Evidence, ...] = field(default=())

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def at(self) -> datetime:
        """When they were put on record; before that, when the version was registered."""
        return self.issued.at if self.issued else self.registered

    def record(self, kind: type[Kind]) -> Kind | None:
        found = self.records.get(kind.__name__)
        return found if isinstance(found, kind) else None

    def entries(self, *actions: str) -> tuple[Entry, ...]:
        """Those about this version, oldest first; a dot at the end stands for all that begin so."""
        return tuple(
            entry
            for entry in self.material.entries.values()
            if any(
                entry.action == one or (one[-1] == "." and entry.action.startswith(one))
                for one in actions
            )
        )

    def said(self, field: str) -> str:
        """What a person answered; empty where nobody has."""
        return self.owned[field].answer.text if field in self.owned else ""

    def rests_on(self, *names: str) -> tuple[str, ...]:
        """Of these names of evidence, those that there are."""
        there = {*self.material.entries, *self.material.files}
        return tuple(name for name in names if name in there)
