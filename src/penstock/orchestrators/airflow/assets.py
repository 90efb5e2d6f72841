"""The assets of a project: what its tasks update, and other DAGs may wait for.

    penstock://PROJECT/data/NAME            a new version of the dataset
    penstock://PROJECT/models/NAME          a registered version of the model
    penstock://PROJECT/endpoints/staging    a release that passed its integration tests
    penstock://PROJECT/endpoints/production a version that a rollout made the champion

A task names the alias of its asset as an outlet, and the asset as an inlet: so it sees what it told
of last, and tells nothing when the record is the same again, from the cache or made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Asset, AssetAlias

from penstock.project import STAGING, Project

SCHEME = "penstock"
SAME = "digest"  # the part of an event that says whether there is anything new
# What an event says of a record, by the record's kind.
TOLD = {
    "DatasetVersion": ("name", "digest", "dvc_md5", "rows", "last_event"),
    "ModelVersion": ("name", "version", "digest"),
    "Release": ("endpoint", "id", "model", "digest"),
    "Rollout": ("rollout", "model", "digest"),
}


def dataset_asset(project: str, name: str) -> Asset:
    """Updated by each new version of a project's dataset."""
    return Asset(uri=f"{SCHEME}://{project}/data/{name}")


def model_asset(project: str, name: str) -> Asset:
    """Updated by each registered version."""
    return Asset(uri=f"{SCHEME}://{project}/models/{name}")


def endpoint_asset(project: str, endpoint: str) -> Asset:
    """Of staging: updated by each release that was tested there; else by each new champion."""
    return Asset(uri=f"{SCHEME}://{project}/endpoints/{endpoint}")


def asset_of(project: Project, step: str) -> str:
    """The URI of what a step of the standard plan updates; empty: nothing."""
    name, settings = project.settings.project.name, project.settings
    made = {
        "extract_data": dataset_asset(name, settings.data.name),
        "register_model": model_asset(name, settings.model_name),
        "run_integration_tests": endpoint_asset(name, STAGING),
    }.get(step)
    # A run that an update starts would start the next one by its own.
    return "" if made is None or made.uri in settings.airflow.assets else str(made.uri)


def ends_of(uri: str) -> dict[str, Any]:
    """The inlets and outlets of a task that may update the asset of this URI, if any."""
    if not uri:
        return {}
    return {"inlets": [Asset(uri=uri)], "outlets": [AssetAlias(name=f"{uri}#new")]}


def tell(context: Any, *records: Mapping[str, Any] | None) -> None:
    """Updates the asset of the present task with the first record that one is told of, unless the
    asset's last event told the same.
    """
    asset = next((one for one in context["inlets"] if isinstance(one, Asset)), None)
    alias = next((one for one in context["outlets"] if isinstance(one, AssetAlias)), None)
    record = next((one for one in records if one and one["kind"] in TOLD), None)
    if asset is None or alias is None or record is None:
        return
    extra = {name: record[name] for name in TOLD[record["kind"]]}
    before = list(context["inlet_events"][asset].ascending(False).limit(1))
    if before and before[0].extra.get(SAME) == extra[SAME]:
        return
    context["outlet_events"][alias].add(asset, extra=extra)
