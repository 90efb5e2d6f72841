"""Step 8: load on the staging endpoint, and its answers against the offline model."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from penstock.pipeline.context import StepContext
from penstock.records import FeatureSet, IntegrationReport, Release, TrainedModel

if TYPE_CHECKING:
    import pandas as pd


def run_integration_tests(
    context: StepContext, features: FeatureSet, trained: TrainedModel, release: Release
) -> IntegrationReport:
    from penstock.gates.integration import ask, judge_endpoint
    from penstock.gates.load_test import latency_plot, run_load
    from penstock.registry.loading import load_model
    from penstock.registry.versions import tag
    from penstock.training import tracking

    project, settings = context.project, context.project.settings
    plan = settings.load_test
    sample = _held_out(context, features, trained)
    questions, rows = _questions(context, features, sample)
    url = f"{release.url}/predict"
    context.progress(f"comparing {len(rows):,} answers with the offline model")
    trusted = settings.training.trusted_types
    model = load_model(project.absolute(trained.path), trained.digest, trusted)
    served = ask(url, questions)
    context.progress(f"load of {plan.connections} connections for {plan.duration}")
    bodies = [json.dumps(question).encode() for question in questions]
    load = run_load(url, bodies, plan.connections, plan.duration, plan.warmup)
    report = judge_endpoint(
        load,
        served,
        model.predict(rows),
        settings.gates.integration,
        tolerance=plan.tolerance,
        subject=release.digest,
    )
    picture = context.scratch / "latency.png"
    latency_plot(load, picture)
    tracking.log(
        project,
        trained.mlflow_run_id,
        metrics={f"staging_{name}": value for name, value in report.metrics.items()},
        files={"plots": picture},
    )
    if report.passed:
        name, _, number = release.model.partition("@")
        tag(project, name, int(number), {"penstock.integration": "passed"})
    return report


def _held_out(context: StepContext, features: FeatureSet, trained: TrainedModel) -> pd.DataFrame:
    """Some rows of the held-out period, drawn by the seed."""
    import pandas as pd

    frame = pd.read_parquet(context.project.absolute(features.path))
    held_out = frame[frame[features.timestamp] >= datetime.fromisoformat(trained.holdout)]
    if features.service:
        held_out = held_out.drop_duplicates(list(features.entity_keys))
    count = min(context.project.settings.load_test.entities, len(held_out))
    return held_out.sample(count, random_state=context.project.seed).reset_index(drop=True)


def _questions(
    context: StepContext, features: FeatureSet, sample: pd.DataFrame
) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """One request a row, and the features that its answer must rest on.

    By entity key where there is a feature service: then the offline side is joined as of the moment
    that the online store holds. By the features themselves otherwise.
    """
    names = [column.name for column in features.features]
    if not features.service:
        rows = sample[names]
        return [{"rows": [row]} for row in json.loads(rows.to_json(orient="records"))], rows
    from penstock.features.training_set import features_as_of

    keys = sample[list(features.entity_keys)]
    assert features.online_until is not None
    rows = features_as_of(
        context.project.root,
        context.project.settings.project.name,
        features.service,
        keys,
        features.online_until,
    )
    asked = json.loads(keys.to_json(orient="records"))
    return [{"entities": {k: [v] for k, v in entity.items()}} for entity in asked], rows[names]
