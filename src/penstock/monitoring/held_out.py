"""A version on the rows that it was judged on before it was registered: what it is compared with.

Only counts by score are kept, in `.penstock/monitoring/held-out/`, so that they are computed once.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine

from penstock.approvals.book import REGISTERED
from penstock.audit.ledger import Ledger
from penstock.digests import written_whole
from penstock.errors import DataError, PenstockError
from penstock.project import Project
from penstock.records import FeatureSet, TrainedModel, from_json
from penstock.state.runs import Runs
from penstock.stats.outcomes_by_score import DIGITS, Outcomes, counted


def held_out(project: Project, engine: Engine, model: str) -> Outcomes:
    """Of name@version. Raises a `PenstockError` where its rows or its files are not there."""
    features, trained = _records(engine, model)
    kept = project.folder / "monitoring" / "held-out" / f"{trained.digest[:32]}.json"
    if kept.is_file():
        return _read(kept)
    found = _scored(project, features, trained)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(kept) as part:
        part.write_text(json.dumps({n: v.tolist() for n, v in found._asdict().items()}))
    return found


def _records(engine: Engine, model: str) -> tuple[FeatureSet, TrainedModel]:
    """Of the run that registered a version."""
    entries = [one for one in Ledger(engine).entries(REGISTERED) if one.subject == model]
    run = Runs(engine).get(entries[-1].run_id) if entries else None
    found: dict[str, Any] = {}
    for step in run.steps if run else ():
        if step.record:
            one = from_json(step.record)
            found[type(one).__name__] = one
    try:
        return found[FeatureSet.__name__], found[TrainedModel.__name__]
    except KeyError:
        raise DataError(
            f"no run is known that trained {model}: there are no held-out rows to compare with",
            hint="`penstock run` registers versions together with what they were judged on",
        ) from None


def _scored(project: Project, features: FeatureSet, trained: TrainedModel) -> Outcomes:
    import pandas as pd

    from penstock.registry.loading import load_model
    from penstock.training.split import part_from

    file = project.absolute(features.path)
    if not file.is_file():
        raise DataError(
            f"the training set {features.digest[:12]} is not at {file}",
            hint="bring the project's .penstock/artifacts here, or train again",
        )
    holdout = part_from(
        pd.read_parquet(file), features, datetime.fromisoformat(trained.holdout), project.seed
    )
    trusted = project.settings.training.trusted_types
    model = load_model(project.absolute(trained.path), trained.digest, trusted)
    score = np.round(np.asarray(model.predict(holdout.X), np.float64), DIGITS)
    return counted(score, holdout.y.to_numpy())


def _read(kept: Path) -> Outcomes:
    try:
        document = json.loads(kept.read_text())
        return Outcomes(*(np.array(document[name], np.float64) for name in Outcomes._fields))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{kept} is damaged: {error}", hint="delete it; it is computed again"
        ) from error


def why_missing(error: PenstockError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
