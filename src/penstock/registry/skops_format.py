"""scikit-learn models saved with skops, which constructs reviewed types only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.errors import ModelError
from penstock.registry.trusted_types import TRUSTED_TYPES

if TYPE_CHECKING:
    import pandas


def load(data: bytes, trusted_types: tuple[str, ...]) -> Callable[[pandas.DataFrame], Any]:
    """The classifier's probability of its second class."""
    import skops.io

    trusted = {*TRUSTED_TYPES, *trusted_types}
    found = set(skops.io.get_untrusted_types(data=data))
    if found - trusted:
        raise ModelError(
            f"the model holds types that were not reviewed: {', '.join(sorted(found - trusted))}",
            hint="review them, then list them in [training] trusted_types",
        )
    model = skops.io.loads(data, trusted=sorted(found))
    classes = getattr(model, "classes_", ())
    if not hasattr(model, "predict_proba") or len(classes) != 2:
        raise ModelError(
            f"{type(model).__name__} does not give the probability of two classes",
            hint="expected a fitted classifier with predict_proba",
        )
    return lambda frame: model.predict_proba(frame)[:, 1]
