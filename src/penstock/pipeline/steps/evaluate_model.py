"""Step 5: the model on the held-out period → a report, which blocks if a gate fails."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.pipeline.context import StepContext
from penstock.records import FeatureSet, ModelReport, TrainedModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from penstock.authoring import TrainingSet
    from penstock.gates.evaluate import Champion
    from penstock.profiles.profile import Profile
    from penstock.registry.loading import LoadedModel


@dataclass(frozen=True)
class Judged:
    """A model, and its answers to the held-out rows."""

    model: LoadedModel
    digest: str
    probability: NDArray[np.float64]


def evaluate_model(
    context: StepContext, features: FeatureSet, trained: TrainedModel
) -> ModelReport:
    import pandas as pd

    from penstock.gates.evaluate import evaluate
    from penstock.profiles.keeping import FOLDER
    from penstock.registry.loading import load_model
    from penstock.training import tracking
    from penstock.training.split import part_from

    project, settings = context.project, context.project.settings
    frame = pd.read_parquet(project.absolute(features.path))
    start = datetime.fromisoformat(trained.holdout)
    holdout = part_from(frame, features, start, project.seed)
    context.progress(f"scoring {len(holdout):,} held-out rows")
    trusted = settings.training.trusted_types
    model = load_model(project.absolute(trained.path), trained.digest, trusted)
    own = context.user_function("pipeline", "evaluate")
    label, probability = holdout.y.to_numpy(), model.predict(holdout.X)
    report = evaluate(
        label,
        probability,
        settings.gates,
        threshold=settings.training.threshold,
        subject=trained.digest,
        seed=project.seed,
        champion=_champion(context, holdout),
        extra=dict(own(model, holdout)) if own else None,
        better_by=settings.triggers.better_by if context.trigger else None,
    )
    judged = Judged(model, trained.digest, probability)
    profile = _profile(context, features, holdout, judged)
    tracking.log(
        project,
        trained.mlflow_run_id,
        metrics={f"holdout_{name}": value for name, value in report.metrics.items()},
        tags={"penstock.gate": "passed" if report.passed else "failed"},
        files={FOLDER: _written(context, profile)},
    )
    return report.model_copy(update={"profile": profile.digest})


def _profile(
    context: StepContext, features: FeatureSet, holdout: TrainingSet, judged: Judged
) -> Profile:
    """What the model was judged on, what moves it, and what it answered to what came true."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from penstock.gates.importance import importance
    from penstock.profiles.completing import completed
    from penstock.profiles.counting import profile_of
    from penstock.profiles.keeping import keep_profile, kept_profile

    context.progress("profiling what the model answers")
    project, names = context.project, [column.name for column in features.features]
    learned = kept_profile(project, features.profile) or profile_of(
        pq.read_table(project.absolute(features.path), columns=names), names, features.digest
    )
    rows = pa.Table.from_pandas(holdout.X, preserve_index=False)
    profile = completed(
        learned,
        profile_of(rows, rows.column_names),
        judged.probability,
        holdout.y.to_numpy(),
        threshold=project.settings.training.threshold,
        importance=importance(judged.model.predict, holdout.X, project.seed),
        model=judged.digest,
    )
    keep_profile(project, profile)
    return profile


def _written(context: StepContext, profile: Profile) -> Path:
    from penstock.profiles.keeping import FILE

    file = context.scratch / FILE
    file.write_text(profile.text, encoding="utf-8")
    return file


def _champion(context: StepContext, holdout: TrainingSet) -> Champion | None:
    """The champion's probabilities on the same rows, or why it has none."""
    from penstock.errors import IntegrityError, ModelError
    from penstock.gates.evaluate import Champion
    from penstock.registry.loading import load_model
    from penstock.registry.promotion import champion_of
    from penstock.registry.versions import fetch

    found = champion_of(context.project, context.database)
    if found is None:
        return None
    context.progress(f"comparing with the champion {found.label}")
    try:
        folder = fetch(context.project, found.version, found.digest)
        trusted = context.project.settings.training.trusted_types
        model = load_model(folder, found.digest, trusted)
    except (IntegrityError, ModelError) as error:
        return Champion(found.label, None, f"the champion cannot be loaded: {error.message}")
    missing = [c.name for c in model.features if c.name not in holdout.X.columns]
    if missing:
        return Champion(found.label, None, f"the champion needs {', '.join(missing)}")
    return Champion(found.label, model.predict(holdout.X))
