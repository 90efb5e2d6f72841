"""A registered version behind the staging endpoint, in place of the one before."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from sqlalchemy import Engine

from penstock.audit.ledger import Ledger
from penstock.project import STAGING, Project
from penstock.records import Release
from penstock.registry.aliases import follow_the_ledger
from penstock.registry.champions import DEPLOYED
from penstock.registry.version_profile import profile_file
from penstock.registry.versions import fetch, find
from penstock.registry.waivers import admitted
from penstock.releases.history import of_version
from penstock.releases.manifest import Features
from penstock.serving.endpoint import deploy, place_of
from penstock.serving.release import FeatureSource, ReleaseSpec

FEATURE_MODULES = ("penstock.features.quick_feast",)  # what reading online features imports


def stage(
    project: Project,
    engine: Engine,
    label: str,
    digest: str,
    features: Features,
    progress: Callable[..., None],
    *,
    run_id: str | None = None,
    reason: str = "",
) -> Release:
    """Serves a version by the staging endpoint, and returns when it answers.

    Its files are fetched and verified. Raises `ServingError` when it does not come up; what was
    live before stays live.
    """
    name, _, version = label.rpartition("@")
    progress("fetching the registered model")
    folder = fetch(project, int(version), digest)
    settings, made = project.settings, of_version(engine, label, digest)
    profile, profile_digest = profile_file(project, find(project, int(version)))
    spec = ReleaseSpec(
        id=f"{name}-{version}-{secrets.token_hex(3)}",
        endpoint=STAGING,
        model=label,
        digest=digest,
        path=str(folder),
        replicas=settings.serving.replicas,
        threads=settings.serving.threads,
        memory=settings.serving.memory,
        unknown_entity=settings.serving.unknown_entity,
        trusted_types=settings.training.trusted_types,
        admitted=admitted(project, engine, digest),
        features=_source(project, features),
        profile=profile,
        profile_digest=profile_digest,
        manifest=made.digest if made else "",
    )
    release = deploy(place_of(project, STAGING), spec, settings.serving, progress)
    Ledger(engine).append(
        DEPLOYED,
        STAGING,
        digest=digest,
        run_id=run_id,
        reason=reason,
        details={
            "release": release.id,
            "model": label,
            "url": release.url,
            "spec": spec.model_dump(mode="json"),  # what a rollout to another endpoint starts from
        },
    )
    follow_the_ledger(project, engine)
    return release


def _source(project: Project, features: Features) -> FeatureSource | None:
    """How the replicas read features by entity key; None where clients send them."""
    if not features.service:
        return None
    return FeatureSource(
        module="penstock.features.online:OnlineFeatures",
        warm=FEATURE_MODULES,
        entities=(*features.entity_keys, *features.requested),
        requested=features.requested,
        arguments={
            "root": str(project.root),
            "service": features.service,
            "features": list(features.columns),
            "entity_keys": list(features.entity_keys),
            "log_share": project.settings.features.log_served,
        },
    )
