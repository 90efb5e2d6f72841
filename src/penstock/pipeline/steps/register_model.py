"""Step 6: the model that passed its gates → a version in the registry."""

from __future__ import annotations

from penstock.audit.ledger import Ledger
from penstock.pipeline.context import StepContext
from penstock.records import DatasetVersion, FeatureSet, ModelReport, ModelVersion, TrainedModel


def register_model(
    context: StepContext,
    dataset: DatasetVersion,
    features: FeatureSet,
    trained: TrainedModel,
    report: ModelReport,
) -> ModelVersion:
    from penstock.registry.versions import register

    digests = {
        "model": trained.digest,
        "dataset": dataset.digest,
        "dataset_dvc_md5": dataset.dvc_md5,
        "training_set": features.digest,
        "definitions": features.definitions,
        "code": trained.code,
    }
    version = register(
        context.project, trained.mlflow_run_id, digests, report.metrics, features.service
    )
    Ledger(context.database).append(
        "model.registered",
        version.label,
        digest=version.digest,
        run_id=context.run_id,
        reason=f"passed {len(report.checks)} checks",
        details={"digests": digests, "metrics": report.metrics},
    )
    return version
