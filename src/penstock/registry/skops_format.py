"""scikit-learn models saved with skops, which constructs reviewed types only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.errors import ModelError
from penstock.records import Column
from penstock.registry.scorer import OfFrame, Scorer
from penstock.registry.signature import signature_of
from penstock.registry.trusted_types import TRUSTED_TYPES

PROBABILITIES = "predict_proba"


def load(
    data: bytes, features: tuple[Column, ...], trusted: tuple[str, ...] = (), predict: str = ""
) -> Scorer:
    """The classifier; `predict` is the method that MLflow calls, as the model folder says."""
    import skops.io

    return fitted(skops.io.loads(data, trusted=_reviewed(data, trusted)), features, predict)


def fitted(model: Any, _: tuple[Column, ...] = (), predict: str = PROBABILITIES) -> Scorer:
    """The same, before it is saved."""
    if not hasattr(model, PROBABILITIES) or len(getattr(model, "classes_", ())) != 2:
        raise ModelError(
            f"{type(model).__name__} does not give the probability of two classes",
            hint="expected a fitted classifier with predict_proba",
        )
    if predict == PROBABILITIES:
        return Scorer(_positive_of(model), model.predict_proba, None, lambda both: both[:, 1])
    return Scorer(_positive_of(model), model.predict, classes=True)


def _positive_of(model: Any) -> OfFrame:
    return lambda frame: model.predict_proba(frame)[:, 1]


def save(
    model: Any,
    folder: Path,
    features: tuple[Column, ...],
    trusted: tuple[str, ...],
    requirements: list[str],
) -> None:
    import mlflow.sklearn
    import skops.io

    try:
        data = skops.io.dumps(model)
    except Exception as error:  # whatever an object raises that cannot be taken apart
        raise ModelError(
            f"skops cannot save the model: {error}",
            hint="use scikit-learn's own transformers and classifiers",
        ) from error
    mlflow.sklearn.save_model(
        model,
        str(folder),
        serialization_format="skops",
        pyfunc_predict_fn=PROBABILITIES,
        skops_trusted_types=_reviewed(data, trusted),
        signature=signature_of(features),
        pip_requirements=requirements,
    )


def _reviewed(data: bytes, trusted: tuple[str, ...]) -> list[str]:
    """The types in `data` that skops wants named. Raises `ModelError` if one was not reviewed."""
    import skops.io

    found = set(skops.io.get_untrusted_types(data=data))
    unknown = sorted(found - {*TRUSTED_TYPES, *trusted})
    if unknown:
        raise ModelError(
            f"the model holds types that were not reviewed: {', '.join(unknown)}",
            hint="review their code, then list them in [training] trusted_types; "
            "Penstock neither saves nor loads pickles",
        )
    return sorted(found)
