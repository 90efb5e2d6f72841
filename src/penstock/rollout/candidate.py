"""The release that a rollout brings to an endpoint: what was tested in staging, byte for byte."""

from __future__ import annotations

import re

from sqlalchemy import Engine

from penstock.audit.ledger import Ledger
from penstock.errors import ModelError, UsageError
from penstock.project import Project
from penstock.registry import versions
from penstock.registry.champions import DEPLOYED
from penstock.registry.version_profile import profile_file
from penstock.registry.versions import Found
from penstock.registry.waivers import admitted
from penstock.serving.release import ReleaseSpec


def version_of(project: Project, label: str) -> Found:
    """The registered version that a person means by NAME@VERSION, or by its number alone.

    Raises `UsageError` for another model's, `ModelError` where there is none.
    """
    name = project.settings.model_name
    match = re.fullmatch(r"(?:(.+)@)?(\d+)", label)
    if match is None or match[1] not in (None, name):
        raise UsageError(
            f"{label!r} is no version of this project's model",
            hint=f"write {name}@NUMBER; see `penstock models list`",
        )
    return versions.find(project, int(match[2]))


def release_for(
    project: Project, engine: Engine, found: Found, endpoint: str, number: str
) -> ReleaseSpec:
    """A release of a version for an endpoint, as it ran in staging; `number` tells it from others.

    Its files are fetched, and their digest compared with the registry's. Raises `ModelError` for a
    version that staging has not seen, `IntegrityError` for files that changed.
    """
    deployed = [
        entry.details["spec"]
        for entry in Ledger(engine).entries(DEPLOYED)
        if entry.digest == found.digest and "spec" in entry.details
    ]
    if not deployed:
        raise ModelError(
            f"{found.label} was never deployed to staging",
            hint="`penstock run` brings a version there and tests it; only then it can go further",
        )
    tested = ReleaseSpec.model_validate(deployed[-1])
    serving = project.settings.serving
    profile, profile_digest = profile_file(project, found)
    return tested.model_copy(
        update={
            "id": f"{found.name}-{found.version}-{number}",
            "endpoint": endpoint,
            "profile": profile,
            "profile_digest": profile_digest,
            "path": str(versions.fetch(project, found.version, found.digest)),
            "replicas": serving.replicas,
            "threads": serving.threads,
            "memory": serving.memory,
            "admitted": admitted(project, engine, found.digest),
        }
    )
