"""Step 6: the model that passed its gates → a signed version in the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.approvals.book import REGISTERED
from penstock.audit.ledger import Draft, Ledger, present_actor
from penstock.pipeline.context import StepContext
from penstock.records import (
    DataReport,
    DatasetVersion,
    FeatureSet,
    ModelReport,
    ModelVersion,
    TrainedModel,
)

if TYPE_CHECKING:
    from penstock.registry.provenance import Build
    from penstock.registry.versions import Found


def register_model(
    context: StepContext,
    dataset: DatasetVersion,
    checked: DataReport,
    features: FeatureSet,
    trained: TrainedModel,
    report: ModelReport,
) -> ModelVersion:
    from penstock.registry.attestations import attest
    from penstock.registry.versions import register
    from penstock.releases.making import Run, record, released

    digests = {
        "model": trained.digest,
        "dataset": dataset.digest,
        "dataset_dvc_md5": dataset.dvc_md5,
        "training_set": features.digest,
        "definitions": features.definitions,
        "code": trained.code,
        "profile": report.profile,
    }
    context.progress("signing the model")
    build = _build(context, dataset, features, trained, report)
    attested = attest(context.project, context.project.absolute(trained.path), build)
    begun, told_before = _begun(context, trained)
    version = register(
        context.project,
        trained.mlflow_run_id,
        digests,
        report.metrics,
        features.service,
        {**attested, **context.tags},
        begun,
    )
    run = Run(context.run_id, context.as_of, dataset, checked, features, trained, report)
    manifest = released(context.project, version, run)
    if told_before:
        return version
    reason = f"passed {len(report.checks)} checks"
    told = {"digests": digests, "metrics": report.metrics, "authors": _authors(context, dataset)}
    if context.occasion:
        reason += f"; made because of {context.occasion}"
        told |= {"trigger": context.trigger, "because": context.reason}
    with Ledger(context.database).page() as page:
        page.write(
            Draft(
                by=present_actor(),
                action=REGISTERED,
                subject=version.label,
                digest=version.digest,
                run_id=context.run_id,
                reason=reason,
                details={**told, **attested},
            )
        )
        record(page, manifest, reason=reason)
    return version


def _begun(context: StepContext, trained: TrainedModel) -> tuple[Found | None, bool]:
    """The version that a killed attempt at this step has left, and whether the ledger has it.

    Of a version that is not in the ledger nobody has been told: it is nobody's but that attempt's.
    """
    from penstock.registry.versions import versions

    told = {entry.subject: entry for entry in Ledger(context.database).entries(REGISTERED)}
    for version in versions(context.project):
        if (version.run_id, version.digest) != (trained.mlflow_run_id, trained.digest):
            continue
        entry = told.get(version.label)
        if entry is None or entry.run_id == context.run_id:
            return version, entry is not None
    return None, False


def _authors(context: StepContext, dataset: DatasetVersion) -> dict[str, list[str]]:
    """Users who committed the code and the data, who may not approve what came of it.

    By their ids alone; of whom git names and no user has the address of, nothing is written down.
    """
    from penstock.access.users import users
    from penstock.registry.provenance import git_author

    root, known = context.project.root, users(context.database)
    made = {"code": git_author(root), "data": git_author(root, f"{dataset.path}.dvc")}
    return {
        what: [user.id for user in known if user.email.lower() == address.lower()]
        for what, address in made.items()
        if address
    }


def _build(
    context: StepContext,
    dataset: DatasetVersion,
    features: FeatureSet,
    trained: TrainedModel,
    report: ModelReport,
) -> Build:
    """What the provenance of the model will say."""
    from penstock.registry.attestations import trained_environment
    from penstock.registry.provenance import Build, git_commit

    came_from = {
        "dataset": dataset.digest,
        "training_set": features.digest,
        "definitions": features.definitions,
        "code": trained.code,
    }
    commit, modified = git_commit(context.project.root)
    return Build(
        model=context.project.settings.model_name,
        digest=trained.digest,
        flavor=trained.flavor,
        features=trained.features,
        digests={what: digest for what, digest in came_from.items() if digest},
        dataset=dataset.name,
        dataset_md5=dataset.dvc_md5,
        params=trained.params,
        metrics=report.metrics,
        seed=trained.seed,
        environment=trained_environment(context.project, trained.mlflow_run_id),
        as_of=context.as_of,
        commit=commit,
        modified=modified,
        run_id=context.run_id,
        mlflow_run_id=trained.mlflow_run_id,
    )
