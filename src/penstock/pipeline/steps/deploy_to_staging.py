"""Step 7: the registered version behind the staging endpoint, in place of the one before."""

from __future__ import annotations

from penstock.pipeline.context import StepContext
from penstock.project import STAGING, Project
from penstock.records import FeatureSet, ModelVersion, Release


def deploy_to_staging(context: StepContext, features: FeatureSet, version: ModelVersion) -> Release:
    from penstock.releases.making import facts_of
    from penstock.releases.staging import stage

    return stage(
        context.project,
        context.database,
        version.label,
        version.digest,
        facts_of(features),
        context.progress,
        run_id=context.run_id,
    )


def start_endpoint(project: Project) -> None:
    """Called while models are still trained: the endpoint's imports cost no time then."""
    from penstock.releases.staging import FEATURE_MODULES
    from penstock.serving.endpoint import place_of, start_ahead

    modules = FEATURE_MODULES if (project.root / "features.py").is_file() else ()
    start_ahead(place_of(project, STAGING), project.settings.serving, modules)
