"""Puts feature definitions and routing back to a release. May be done twice."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine

from penstock.audit.ledger import present_user
from penstock.errors import ModelError, ServingError
from penstock.features.restoring import restore
from penstock.project import Project
from penstock.releases.manifest import Manifest
from penstock.releases.source_bundle import obtained, unpack
from penstock.serving import endpoint as endpoints
from penstock.serving.release import ReleaseSpec
from penstock.serving.routing.table import serving_only
from penstock.state import routes

HEARD = timedelta(seconds=10)  # a gateway that said something so lately lives
POLL = 0.1  # seconds

Progress = Callable[..., None]


def source_of(project: Project, manifest: Manifest) -> Path | None:
    """The archive with the release's definitions; None where it reads no features.

    Raises `ModelError` where the archive is nowhere.
    """
    if not manifest.features.service:
        return None
    file = obtained(project, manifest.code.bundle, manifest.training.mlflow_run)
    if file is None:
        raise ModelError(
            f"the code that declares the features of {manifest.model} is neither on this machine "
            "nor beside the model in MLflow",
            hint="`penstock release show` says what of a release can be had",
        )
    return file


def restore_features(project: Project, manifest: Manifest | None, progress: Progress) -> str:
    """Applies a release's feature definitions to Feast's registry; says what became of them."""
    if manifest is None:
        return "features: no release tells of them; they are left as they are"
    source = source_of(project, manifest)
    if source is None:
        return "features: clients send them"
    progress("applying the feature definitions")
    with tempfile.TemporaryDirectory(prefix="penstock-") as desk:
        unpack(source, Path(desk))
        changed = restore(project, Path(desk))
    what = f"changed back: {'; '.join(changed)}" if changed else "as they were"
    return f"features: {manifest.features.service}, {what}"


def restore_routing(
    project: Project, engine: Engine, spec: ReleaseSpec, fence: int, progress: Progress
) -> str:
    """Routes all of an endpoint to one release, and waits until its gateways do."""
    place = replace(endpoints.place_of(project, spec.endpoint), actor=present_user())
    table = serving_only(spec)
    present = routes.published(engine, spec.endpoint)
    if present is None or present.document != table.model_dump(mode="json"):
        progress(f"routing {spec.endpoint} to {spec.id}")
        endpoints.publish(place, table, fence=fence)
    revision = routes.revision_of(engine, spec.endpoint)
    progress("waiting for the gateways")
    reached = _followed(engine, spec.endpoint, revision, _patience(project))
    gateways = f"{reached} gateways follow" if reached else "no gateway runs at present"
    return f"routing: {spec.endpoint} serves {spec.model} as {spec.id}, {gateways}"


def _followed(engine: Engine, endpoint: str, revision: int, patience: float) -> int:
    """How many gateways serve the table. Raises `ServingError` for those that do not come to it."""
    deadline = time.monotonic() + patience
    while True:
        alive = [
            one
            for one in routes.gateways_of(engine, endpoint)
            if datetime.now(UTC) - one.seen_at < HEARD and one.state != "stopped"
        ]
        behind = [one for one in alive if one.revision < revision or one.state != "live"]
        if not behind:
            return len(alive)
        if failed := next((one for one in behind if one.revision >= revision and one.error), None):
            raise ServingError(
                f"{failed.gateway} cannot serve it: {failed.error}",
                hint="mend that, and type the same again: it goes on from here",
            )
        if time.monotonic() > deadline:
            named = ", ".join(one.gateway for one in behind)
            raise ServingError(
                f"still at another table after {patience:g} s: {named}",
                hint="type the same again: it goes on from here",
            )
        time.sleep(POLL)


def _patience(project: Project) -> float:
    return project.settings.serving.start_timeout.total_seconds() + endpoints.MARGIN
