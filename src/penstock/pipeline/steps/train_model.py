"""Step 4: the project's train(), tuned and tracked → a model in a safe format."""

from __future__ import annotations

from penstock.errors import ProjectError
from penstock.pipeline.context import StepContext
from penstock.pipeline.source import code_digests
from penstock.records import DatasetVersion, FeatureSet, TrainedModel, digest_of


def train_model(
    context: StepContext, features: FeatureSet, dataset: DatasetVersion
) -> TrainedModel:
    from penstock.training import train as training

    train = context.user_function("pipeline", "train")
    if train is None:
        raise ProjectError(
            f"{context.project.root / 'pipeline.py'} has no train()",
            hint="write `def train(training_set, params)` that returns a fitted model",
        )
    job = training.Job(
        project=context.project,
        features=features,
        dataset=dataset,
        train=train,
        code=digest_of(code_digests(context.project.root, "pipeline.py:train")),
        run_id=context.run_id,
        key=context.key,
        scratch=context.scratch,
        progress=context.progress,
        tags=context.tags,
    )
    return training.train_model(job)
