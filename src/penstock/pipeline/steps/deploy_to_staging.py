"""Step 7: the registered version behind the staging endpoint, in place of the one before."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from penstock.audit.ledger import Ledger
from penstock.pipeline.context import StepContext
from penstock.project import STAGING, Project
from penstock.records import FeatureSet, ModelVersion, Release

if TYPE_CHECKING:
    from penstock.serving.release import FeatureSource

FEATURE_MODULES = ("feast",)  # what reading online features imports


def deploy_to_staging(context: StepContext, features: FeatureSet, version: ModelVersion) -> Release:
    from penstock.registry import versions
    from penstock.registry.waivers import admitted
    from penstock.serving.endpoint import deploy, place_of
    from penstock.serving.release import ReleaseSpec

    project, settings = context.project, context.project.settings
    context.progress("fetching the registered model")
    folder = versions.fetch(project, version.version, version.digest)
    spec = ReleaseSpec(
        id=f"{version.name}-{version.version}-{secrets.token_hex(3)}",
        endpoint=STAGING,
        model=version.label,
        digest=version.digest,
        path=str(folder),
        replicas=settings.serving.replicas,
        threads=settings.serving.threads,
        memory=settings.serving.memory,
        unknown_entity=settings.serving.unknown_entity,
        trusted_types=settings.training.trusted_types,
        admitted=admitted(project, context.database, version.digest),
        features=_feature_source(context, features),
    )
    release = deploy(place_of(project, STAGING), spec, settings.serving, context.progress)
    Ledger(context.database).append(
        "release.deployed",
        STAGING,
        digest=version.digest,
        run_id=context.run_id,
        details={
            "release": release.id,
            "model": version.label,
            "url": release.url,
            "spec": spec.model_dump(mode="json"),  # what a rollout to another endpoint starts from
        },
    )
    versions.set_alias(project, version.name, versions.STAGING, version.version)
    return release


def start_endpoint(project: Project) -> None:
    """Called while models are still trained: the endpoint's imports cost no time then."""
    from penstock.serving.endpoint import place_of, start_ahead

    modules = FEATURE_MODULES if (project.root / "features.py").is_file() else ()
    start_ahead(place_of(project, STAGING), project.settings.serving, modules)


def _feature_source(context: StepContext, features: FeatureSet) -> FeatureSource | None:
    """How the replicas read features by entity key; None where the project has no Feast service."""
    from penstock.serving.release import FeatureSource

    if not features.service:
        return None
    return FeatureSource(
        module="penstock.features.online:OnlineFeatures",
        warm=FEATURE_MODULES,
        entities=(*features.entity_keys, *features.request_columns),
        requested={c.name: c.type for c in features.features if c.name in features.request_columns},
        arguments={
            "root": str(context.project.root),
            "service": features.service,
            "features": [column.name for column in features.features],
            "entity_keys": list(features.entity_keys),
            "log_share": context.project.settings.features.log_served,
        },
    )
