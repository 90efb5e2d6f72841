"""`penstock features list|show|apply|freshness|lineage`: what is declared, and how it fares."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, table
from penstock.cli.recording import recorded
from penstock.errors import UsageError
from penstock.project import Project

if TYPE_CHECKING:
    from penstock.features.catalogue import Entry
    from penstock.features.changes import Change
    from penstock.features.freshness import Freshness


def list_views(options: argparse.Namespace) -> int:
    found = _entries(project_of(options))
    if options.json:
        print_json([_as_json(entry) for entry in found.values()])
        return 0
    rows = [
        (
            name,
            ", ".join(key.name for key in entry.definition.keys) or "–",
            len(entry.definition.features),
            entry.definition.source.name,
            entry.definition.owner or "–",
            ", ".join(entry.services) or "–",
            moment(entry.materialised_until) or "never",
        )
        for name, entry in found.items()
    ]
    heads = ("view", "keys", "features", "source", "owner", "services", "materialised until")
    print(table(heads, rows))
    return 0


def show_view(options: argparse.Namespace) -> int:
    from penstock.features.definition import span_words

    entry = _entry(_entries(project_of(options)), options.view)
    if options.json:
        print_json(_as_json(entry))
        return 0
    view = entry.definition
    print(f"{view.name}  {view.description}".rstrip())
    facts = {
        "keys": ", ".join(f"{key.name}: {key.type}" for key in view.keys) or "none",
        "source": f"{view.source.name}: {view.source.location}",
        "times": ", ".join(filter(None, (view.source.timestamp, view.source.created))),
        "transformation": view.transformation.text.strip() if view.transformation else "",
        "ttl": span_words(view.ttl) if view.ttl else "",
        "resolution": span_words(view.resolution) if view.resolution else "",
        "owner": view.owner,
        "services": ", ".join(entry.services),
        "definition": view.digest[:12],
    }
    print(table(("", ""), [(name, value) for name, value in facts.items() if value]).lstrip("\n"))
    print()
    print(table(("feature", "type", "is"), _features(entry)))
    return 0


def apply_features(options: argparse.Namespace) -> int:
    from penstock.features.catalogue import consumers, declared, registered
    from penstock.features.changes import changes
    from penstock.features.feast_objects import compiled
    from penstock.features.store import apply, prepared_store

    project = project_of(options)
    found = compiled(project.module("features"), project.root)
    store = prepared_store(project)
    changed = changes(registered(store), declared(found), consumers(store))
    if not options.json:
        for change in changed:
            print(("! " if change.breaks else "  ") + str(change))
    if any(change.breaks for change in changed) and not (options.yes or _agreed(changed)):
        raise UsageError(
            "nothing was applied: served features would change",
            hint="give the new meaning a new name, or apply with --yes and train again",
        )
    apply(store, project, found)
    if changed:
        told = [f"{one.view}.{one.feature} {one.kind}" for one in changed]
        recorded(project, "features.applied", store.project, changes=told)
    if options.json:
        print_json([vars(change) | {"breaks": change.breaks} for change in changed])
    else:
        print(f"{len(found.definitions)} feature views applied; {_counted(changed)}")
    return 0


def show_freshness(options: argparse.Namespace) -> int:
    from penstock.features.definition import span_words
    from penstock.features.freshness import freshness

    project = project_of(options)
    found = freshness(_entries(project), project.root, datetime.now(UTC))
    if options.json:
        print_json([_freshness_json(one) for one in found])
    else:
        rows = [
            (
                one.view,
                one.state,
                _brief(one.age),
                span_words(one.expected) if one.expected is not None else "–",
                moment(one.newest) or "–",
                moment(one.materialised_until) or "never",
                one.owner or "–",
            )
            for one in found
        ]
        heads = ("view", "state", "age", "expected", "newest", "materialised until", "owner")
        print(table(heads, rows))
        for one in found:
            if one.reason:
                print(f"{one.view} is unreadable: {one.reason}")
    return 1 if any(one.late for one in found) else 0


def lineage(options: argparse.Namespace) -> int:
    from penstock.features.catalogue import consumers
    from penstock.features.store import open_store
    from penstock.registry.versions import SERVICE_TAG, versions

    project = project_of(options)
    view, dot, feature = options.feature.partition(".")
    entry = _entry(_entries(project), view)
    if dot and not feature:
        known = ", ".join(column.name for column in entry.definition.features)
        raise UsageError(
            f"{options.feature!r} names no feature of {view!r}",
            hint=f"write {view} for the whole view, or one of its features: {known}",
        )
    _known(entry, feature)
    using = {
        service: sorted({f for v, f in listed if v == view and feature in ("", f)})
        for service, listed in consumers(open_store(project.root)).items()
    }
    services = {service: names for service, names in using.items() if names}
    models = [
        {"model": v.label, "aliases": list(v.aliases), "service": v.tags[SERVICE_TAG]}
        for v in versions(project)
        if v.tags.get(SERVICE_TAG) in services
    ]
    source = entry.definition.source
    if options.json:
        print_json({"view": view, "source": vars(source), "services": services, "models": models})
        return 0
    print(f"source   {source.name}: {source.location}")
    print(f"view     {view}, definition {entry.definition.digest[:12]}")
    for service, names in services.items():
        print(f"service  {service}: {', '.join(names)}")
    for model in models:
        print(f"model    {model['model']} {' '.join(model['aliases'])}".rstrip())
    if not services:
        print("no service uses it")
    return 0


def _entries(project: Project) -> dict[str, Entry]:
    from penstock.features.catalogue import entries
    from penstock.features.store import open_store

    return entries(open_store(project.root), project.root)


def _entry(entries: dict[str, Entry], name: str) -> Entry:
    if name not in entries:
        known = ", ".join(entries) or "none"
        raise UsageError(f"there is no feature view {name!r}", hint=f"the views are: {known}")
    return entries[name]


def _known(entry: Entry, feature: str) -> None:
    names = [column.name for column in entry.definition.features]
    if feature and feature not in names:
        raise UsageError(
            f"{entry.definition.name!r} has no feature {feature!r}",
            hint=f"its features are: {', '.join(names)}",
        )


def _as_json(entry: Entry) -> dict[str, Any]:
    return {
        **entry.definition.model_dump(mode="json"),
        "digest": entry.definition.digest,
        "services": entry.services,
        "materialised_until": entry.materialised_until,
    }


def _freshness_json(one: Freshness) -> dict[str, Any]:
    """Durations as ISO 8601: P1DT4M29.160036S."""
    from pydantic import TypeAdapter

    iso: TypeAdapter[timedelta | None] = TypeAdapter(timedelta | None)
    spans = {name: iso.dump_python(getattr(one, name), mode="json") for name in ("age", "expected")}
    return vars(one) | spans


def _counted(changed: list[Change]) -> str:
    """So many features added, changed and removed."""
    kinds = [change.kind for change in changed]
    counts = {kind: kinds.count(kind) for kind in ("added", "changed", "removed")}
    first, *others = [(n, kind) for kind, n in counts.items() if n] or [(0, "changed")]
    return ", ".join([f"{first[0]} features {first[1]}", *(f"{n} {kind}" for n, kind in others)])


def _features(entry: Entry) -> list[tuple[str, str, str]]:
    from penstock.features.definition import span_words

    made = {
        a.name: f"{a.function}{f'({a.n})' if a.n else ''} of {a.column or 'rows'}, "
        f"{span_words(a.window) if a.window else 'lifetime'}"
        + (f", until {span_words(a.offset)} before" if a.offset else "")
        for a in entry.definition.aggregates
    }
    latest = "of the latest row"
    return [(c.name, c.type, made.get(c.name, latest)) for c in entry.definition.features]


def _agreed(changed: list[Change]) -> bool:
    if not sys.stdin.isatty():
        return False
    count = sum(change.breaks for change in changed)
    answer = input(f"{count} served features would mean something else. Apply? [y/N] ")
    return answer.strip().lower() in ("y", "yes")


def _brief(span: timedelta | None) -> str:
    """In the two largest units: 3d 4h."""
    if span is None:
        return "–"
    total = int(span.total_seconds())
    sizes = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts: list[str] = []
    for unit, size in sizes:
        if total >= size and len(parts) < 2:
            parts.append(f"{total // size}{unit}")
            total %= size
    return " ".join(parts) or "0s"
