"""One person is erased wherever Penstock keeps something of them.

    ledger          payloads beside the entries: salt and payload
    predictions     values, keys and unit of each row, also where parts were shipped to
    feedback        lines of the files, outcomes and first events of the state database
    features        rows of the online store, the log of served vectors

Versions of the data, and files made of them, are named and left: see `data.holdings`. What leads to
other things goes last, so that whoever was killed half way calls again and finds the rest: feedback
is found by the predictions, the ledger's entry says that all is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import Engine

from penstock.audit.ledger import Actor, Ledger
from penstock.audit.payloads import erase, require_erasable
from penstock.data.holdings import Holding, holdings
from penstock.digests import written_whole
from penstock.errors import UsageError
from penstock.features.forgetting import forget_online, forget_served
from penstock.project import Project
from penstock.serving.feedback_erasing import erase_feedback
from penstock.serving.prediction_log.erasing import Found, Whose, erase_rows, find
from penstock.serving.prediction_log.shipped_erasing import Shipped, erase_shipped, find_shipped
from penstock.serving.release import EndpointFolder
from penstock.serving.routing.buckets import hash_of
from penstock.serving.routing.table import RoutingTable
from penstock.state import rollouts, routes
from penstock.state.forgetting import forget

# What is kept outside of the ledger, as holds name it.
KEPT = ("prediction.logged", "prediction.outcome", "features.online", "features.served")
Progress = Callable[..., None]


@dataclass(frozen=True)
class Person:
    """Who is meant."""

    key: str  # the join key of an entity: customer_id
    value: str  # as text
    units: tuple[str, ...] = ()  # as requests name them, where they are not the value

    @classmethod
    def parsed(cls, text: str, units: tuple[str, ...] = ()) -> Person:
        """Of KEY=VALUE. Raises `UsageError`."""
        key, sign, value = text.partition("=")
        if not (key and sign and value):
            raise UsageError(f"{text!r} is not KEY=VALUE", hint="write customer_id=42")
        return cls(key, value, units)

    def __str__(self) -> str:
        """The id under which payloads of the ledger are theirs."""
        return f"{self.key}={self.value}"


@dataclass(frozen=True)
class Erased:
    """What was destroyed, and what is left."""

    entry: int | None  # of the ledger; None: there was nothing to destroy now
    destroyed: dict[str, int]
    open_rows: int  # of predictions, in segments that have not ended: erase again then
    views_left: tuple[str, ...]  # online, with more keys than theirs or in a store of Feast's own
    holdings: tuple[Holding, ...]


@dataclass(frozen=True)
class _Traces:
    """A person's rows behind one endpoint."""

    folder: EndpointFolder
    whose: Whose
    found: Found
    shipped: Shipped

    @property
    def things(self) -> frozenset[tuple[str, int]]:
        return self.found.things | self.shipped.things


@dataclass
class _Counts:
    """How many of what; what there was none of is not told."""

    numbers: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, count: int) -> None:
        if count:
            self.numbers[name] = self.numbers.get(name, 0) + count


def erase_person(
    project: Project, engine: Engine, person: Person, progress: Progress, *, reason: str, by: Actor
) -> Erased:
    """Erases a person; one entry of the ledger says what was destroyed, in numbers.

    Gateways may run meanwhile. Called again, it finishes what was broken off or could not be done.
    Raises `ConflictError` before anything is destroyed while a hold stands, `UsageError` where
    nothing is kept.
    """
    book = Ledger(engine)
    project.folder.mkdir(exist_ok=True)
    with FileLock(project.folder / "erasing.lock"):
        require_erasable(book, str(person), KEPT)
        progress("looking through the predictions")
        traces = [_traces(project, engine, folder, person) for folder in _folders(project)]
        journal = _Journal(project, person)
        journal.begin({"predictions": sum(len(one.things) for one in traces)})
        counts = _Counts()
        for one in traces:
            progress(f"erasing behind {one.folder.path.name}")
            _erase_behind(project, engine, one, counts)
        progress("erasing features")
        online = forget_online(project.root, person.key, person.value)
        counts.add("online_rows", online.rows)
        counts.add("served_vectors", forget_served(project.root, person.key, person.value))
        progress("looking through the data's versions")
        held = tuple(holdings(project, engine, person.key, person.value))
        open_rows = sum(one.found.open_rows for one in traces)
        entry = _told(book, person, counts, journal, held, open_rows, reason=reason, by=by)
    if entry is None and not (open_rows or held or online.views_left):
        raise UsageError(
            "nothing is kept about that person", hint="write KEY=VALUE exactly as it was given"
        )
    return Erased(entry, counts.numbers, open_rows, online.views_left, held)


def _folders(project: Project) -> list[EndpointFolder]:
    return [EndpointFolder(project.endpoint(name)) for name in project.endpoints]


def _traces(project: Project, engine: Engine, folder: EndpointFolder, person: Person) -> _Traces:
    name = folder.path.name
    whose = Whose(person.key, person.value, _units(engine, name, person))
    destination = project.settings.serving.of(name).log_ship
    return _Traces(
        folder, whose, find(folder.predictions, whose), find_shipped(destination, name, whose)
    )


def _units(engine: Engine, endpoint: str, person: Person) -> frozenset[str]:
    """Hashes of the person's units: with the endpoint's name, and by each rollout's salt."""
    published = routes.published(engine, endpoint)
    table = RoutingTable.model_validate(published.document) if published else None
    units = {*person.units}
    if table is not None and table.unit.field == person.key:
        units.add(person.value)
    salts = {endpoint, *(one.id for one in rollouts.all_of(engine) if one.endpoint == endpoint)}
    salts |= {table.salted} if table else set()
    return frozenset(f"{hash_of(salt, unit):016x}" for salt in salts for unit in units)


def _erase_behind(project: Project, engine: Engine, one: _Traces, counts: _Counts) -> None:
    lines = erase_feedback(one.folder.feedback, one.things, one.whose.units)
    told, first = forget(engine, one.folder.path.name, one.things, one.whose.units)
    counts.add("feedback_lines", lines)
    counts.add("outcomes", told)
    counts.add("first_events", first)
    erase_shipped(one.shipped, one.whose)
    counts.add("shipped_rows", len(one.shipped.things))
    erase_rows(one.folder.predictions, one.found, one.whose)
    counts.add("predictions", one.found.rows)
    counts.add("damaged_lines", one.found.damaged)


def _told(
    book: Ledger,
    person: Person,
    counts: _Counts,
    journal: _Journal,
    held: tuple[Holding, ...],
    open_rows: int,
    *,
    reason: str,
    by: Actor,
) -> int | None:
    """The entry that says it; None where nothing was destroyed."""
    also: dict[str, Any] = dict(counts.numbers)
    if journal.broken_off is not None:
        also["broken_off_before"] = journal.broken_off
    left = {
        "versions": sum(bool(one.revision) for one in held),
        "files": sum(not one.revision for one in held),
        "open_rows": open_rows,
    }
    if also and any(left.values()):
        also["left"] = {name: count for name, count in left.items() if count}
    try:
        done = erase(book, str(person), reason=reason, by=by, also=also, elsewhere=KEPT)
    except UsageError:
        journal.end()
        return None
    journal.end()
    counts.add("payloads", len(done.entries))
    return done.sequence


class _Journal:
    """What an erasure is about to destroy, in numbers, until the ledger has said so.

    Whoever was killed in between calls again, and the entry tells of both.
    """

    def __init__(self, project: Project, person: Person) -> None:
        name = hashlib.sha256(str(person).encode()).hexdigest()[:32]
        self._file: Path = project.folder / "erasing" / f"{name}.json"
        self.broken_off: Mapping[str, int] | None = None
        if self._file.is_file():
            self.broken_off = json.loads(self._file.read_bytes())

    def begin(self, planned: Mapping[str, int]) -> None:
        if self.broken_off is None:
            with written_whole(self._file) as part:
                part.write_text(json.dumps(planned))

    def end(self) -> None:
        self._file.unlink(missing_ok=True)
