"""From a feature set to a trained model: search, final fit, safe format, everything tracked."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from penstock.authoring import TrainingSet
from penstock.errors import SettingsError
from penstock.gates.metrics import require_metric, score
from penstock.project import Project
from penstock.records import DatasetVersion, FeatureSet, TrainedModel
from penstock.registry.reference import write_reference
from penstock.state.artifacts import keep
from penstock.training import tracking
from penstock.training.flavors import flavor_of, importance, probabilities, save
from penstock.training.plots import draw_all
from penstock.training.reproducible import settle
from penstock.training.search import SearchResult, run_search, space_of
from penstock.training.split import Split, split_by_time

Train = Callable[[TrainingSet, dict[str, Any]], Any]


@dataclass(frozen=True)
class Job:
    """What is asked of the training step."""

    project: Project
    features: FeatureSet
    dataset: DatasetVersion
    train: Train
    code: str  # digest of the code behind train()
    run_id: str
    key: str  # names the study, so that only the same inputs resume it
    scratch: Path
    progress: Callable[..., None]
    tags: Mapping[str, str] = field(default_factory=dict)  # more of the MLflow run


def train_model(job: Job) -> TrainedModel:
    """Searches on train and validation, fits on both, and never looks at the held-out part."""
    settings, project = job.project.settings.training, job.project
    require_metric(settings.metric, "[training] metric")
    frame = pd.read_parquet(project.absolute(job.features.path))
    split = split_by_time(frame, job.features, settings, project.seed)
    fixed = dict(project.section("train"))
    search = _search(job, split, fixed)
    params = {**fixed, **(search.best if search else {})}
    candidate = _fit(job.train, split.train, params)
    validated = probabilities(candidate, split.validation.X)
    label = split.validation.y.to_numpy()
    metrics = score(label, validated, settings.threshold)
    job.progress("fitting the final model")
    model = _fit(job.train, split.development, params)
    kept = keep(
        project, "model", lambda f: _saved(model, split.development.X, f, settings.trusted_types)
    )
    job.progress("tracking in MLflow")
    plots = job.scratch / "plots"
    shares = importance(model, list(split.development.X.columns))
    draw_all(plots, label, validated, shares, search, settings.metric)
    mlflow_run = _track(job, params, metrics, search, project.absolute(kept.path), kept.digest)
    return TrainedModel(
        path=kept.path,
        digest=kept.digest,
        flavor=flavor_of(model),
        features=job.features.features,
        params=params,
        metrics=metrics,
        seed=project.seed,
        holdout=split.holdout_from.isoformat(),
        mlflow_run_id=mlflow_run,
        training_set=job.features.digest,
        code=job.code,
    )


def _saved(model: Any, example: pd.DataFrame, folder: Path, trusted: tuple[str, ...]) -> None:
    save(model, example.head(100), folder, trusted)
    write_reference(example, folder)
    settle(folder)


def _fit(train: Train, part: TrainingSet, params: Mapping[str, Any]) -> Any:
    """The project's train(), with the global generators set: the same inputs, the same model."""
    random.seed(part.seed)
    np.random.seed(part.seed)  # for user code that draws from the global one
    return train(part, dict(params))


def _search(job: Job, split: Split, fixed: dict[str, Any]) -> SearchResult | None:
    section, settings = job.project.section("search"), job.project.settings.training
    space, trials = space_of(section), section.get("trials", 0)
    if not isinstance(trials, int) or trials < 0:
        raise SettingsError(f"params.yaml: search.trials is {trials!r}; a whole number is needed")
    if not space or not trials:
        return None
    label = split.validation.y.to_numpy()

    def objective(choice: dict[str, Any]) -> float:
        model = _fit(job.train, split.train, {**fixed, **choice})
        scores = score(label, probabilities(model, split.validation.X), settings.threshold)
        return scores[settings.metric]

    return run_search(
        objective,
        space,
        trials=trials,
        metric=settings.metric,
        seed=job.project.seed,
        journal=job.project.folder / "studies" / f"{job.key[:32]}.log",
        progress=job.progress,
    )


def _track(
    job: Job,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    search: SearchResult | None,
    model: Path,
    digest: str,
) -> str:
    """One MLflow run with all that is needed to do it again; marked failed if not whole."""
    tags = {
        "penstock.run": job.run_id,
        "penstock.dataset": job.dataset.digest,
        "penstock.dataset.dvc_md5": job.dataset.dvc_md5,
        "penstock.training_set": job.features.digest,
        "penstock.definitions": job.features.definitions,
        "penstock.code": job.code,
        "penstock.model": digest,
        **job.tags,
    }
    (job.scratch / "environment.txt").write_text(tracking.environment())
    files = {"model": model, "plots": job.scratch / "plots", "": job.scratch / "environment.txt"}
    if search:
        trials = [{"trial": t.number, "value": t.value, **t.params} for t in search.trials]
        (job.scratch / "search").mkdir()
        (job.scratch / "search" / "trials.json").write_text(json.dumps(trials, indent=1))
        files["search"] = job.scratch / "search" / "trials.json"
    run = tracking.start_run(job.project, job.run_id, tags)
    try:
        tracking.log(
            job.project,
            run,
            params={**params, "seed": job.project.seed, "rows": job.features.rows},
            metrics={f"validation_{name}": value for name, value in metrics.items()},
            files=files,
        )
    except BaseException:
        tracking.end_run(job.project, run, "FAILED")
        raise
    tracking.end_run(job.project, run)
    return run
