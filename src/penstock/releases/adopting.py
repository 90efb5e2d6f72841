"""Versions that no run of this project made: they get a release when they are first deployed."""

from __future__ import annotations

from sqlalchemy import Engine

from penstock.audit.ledger import Ledger
from penstock.project import Project
from penstock.records import Column
from penstock.registry.adoption import registered_digests, registered_metrics, run_of
from penstock.registry.model_folder import read_model_folder
from penstock.registry.versions import SERVICE_TAG, Found, fetch
from penstock.registry.waivers import admitted
from penstock.releases.history import of_version
from penstock.releases.making import adopted, record
from penstock.releases.manifest import Features, Manifest, Training


def release_for(project: Project, engine: Engine, found: Found) -> Manifest:
    """The release of a registered version; made of what the registry tells where there is none.

    Raises `IntegrityError` for a version that nobody signed, `ModelError` for one that cannot be
    loaded safely and is not waived.
    """
    folder = fetch(project, found.version, found.digest)
    if made := of_version(engine, found.label, found.digest):
        return made.manifest
    kinds = admitted(project, engine, found.digest)
    described = read_model_folder(folder, found.digest, kinds)
    run = run_of(project, found.run_id)
    manifest = adopted(
        project,
        found.label,
        found.digest,
        flavor=described.flavor,
        features=_features(project, found, described.features),
        training=Training(
            mlflow_run=found.run_id,
            params=dict(run.data.params) if run else {},
            metrics=registered_metrics(found),
        ),
        digests=registered_digests(found),
    )
    with Ledger(engine).page() as page:
        record(page, manifest, reason="no run of this project made it")
    return manifest


def _features(project: Project, found: Found, columns: tuple[Column, ...]) -> Features:
    """By the feature service that the version is tagged with; without one, clients send them."""
    definitions = registered_digests(found).get("definitions", "")
    names = tuple(column.name for column in columns)
    if not (service := found.tags.get(SERVICE_TAG, "")):
        return Features(definitions=definitions, columns=names)
    from penstock.features.store import join_keys, open_store, request_columns, service_for

    store = open_store(project.root)
    asked = service_for(store, project.settings, service)
    types = {column.name: column.type for column in columns}
    return Features(
        service=service,
        definitions=definitions,
        entity_keys=project.settings.features.entity_keys or join_keys(store, asked),
        requested={name: types.get(name, "") for name in request_columns(store, asked)},
        columns=names,
    )
