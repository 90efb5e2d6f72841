"""Step 8: load on the staging endpoint, and its answers against the offline model."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from penstock.pipeline.context import StepContext
from penstock.records import FeatureSet, IntegrationReport, Release, TrainedModel

if TYPE_CHECKING:
    import pandas as pd


def run_integration_tests(
    context: StepContext, features: FeatureSet, trained: TrainedModel, release: Release
) -> IntegrationReport:
    from penstock.gates.integration import ask, judge_endpoint, nearest
    from penstock.gates.load.questions import held_out
    from penstock.gates.load_test import latency_plot, run_load
    from penstock.registry.loading import load_model
    from penstock.registry.versions import TESTED_TAG, tag
    from penstock.serving.access import PREDICT, headers_with
    from penstock.training import tracking

    project, settings = context.project, context.project.settings
    plan = settings.load_test
    sample = held_out(project, features, trained)
    questions = _questions(features, sample)
    url = f"{release.url}/predict"
    context.progress(f"comparing {len(sample):,} answers with the offline model")
    trusted = settings.training.trusted_types
    model = load_model(project.absolute(trained.path), trained.digest, trusted)
    earliest = model.predict(_offline(context, features, sample))
    key = headers_with(settings.serving, PREDICT)
    served = ask(url, questions, key)
    latest = model.predict(_offline(context, features, sample))
    context.progress(f"load of {plan.connections} connections for {plan.duration}")
    bodies = [json.dumps(question).encode() for question in questions]
    load = run_load(url, bodies, plan.connections, plan.duration, plan.warmup, key)
    report = judge_endpoint(
        load,
        served,
        nearest(served, earliest, latest),
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
        tag(project, name, int(number), {TESTED_TAG: "passed"})
    return report


def _questions(features: FeatureSet, sample: pd.DataFrame) -> list[dict[str, Any]]:
    """One request a row: by entity key where there is a feature service, else by the features."""
    from penstock.gates.load.questions import keys_of, records_of, rows_of

    if not features.service:
        return [{"rows": [row]} for row in rows_of(features, sample)]
    asked = records_of(keys_of(features, sample))
    return [{"entities": {k: [v] for k, v in entity.items()}} for entity in asked]


def _offline(context: StepContext, features: FeatureSet, sample: pd.DataFrame) -> pd.DataFrame:
    """The features that the answers must rest on: as of this moment, as windows slide."""
    from penstock.gates.load.questions import keys_of

    names = [column.name for column in features.features]
    if not features.service:
        return sample[names]
    from penstock.features.training_set import features_as_of

    root, keys = context.project.root, keys_of(features, sample)
    return features_as_of(root, features.service, keys, datetime.now(UTC))[names]
