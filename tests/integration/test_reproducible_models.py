"""The same model, saved twice, is the same bytes; and a settled folder is as good as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from penstock.digests import folder_digest
from penstock.registry.loading import load_model
from penstock.training.flavors import save
from penstock.training.reproducible import settle

pytestmark = pytest.mark.slow


def models() -> list[Any]:
    from lightgbm import LGBMClassifier
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return [
        make_pipeline(StandardScaler(), RandomForestClassifier(3, random_state=0)),
        LGBMClassifier(n_estimators=3, verbosity=-1, n_jobs=1, deterministic=True),
    ]


@pytest.mark.parametrize("which", [0, 1], ids=["sklearn", "lightgbm"])
def test_the_same_fit_has_the_same_digest_on_any_day(which: int, tmp_path: Path) -> None:
    import mlflow

    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(200, 2)), columns=["a", "b"])
    digests, kept = [], []  # what is kept has its addresses to itself
    for number in range(2):
        kept.append(models()[which].fit(frame, (frame.a > 0).astype("int8")))
        folder = tmp_path / str(number)
        save(kept[-1], frame, folder)
        settle(folder)
        digests.append(folder_digest(folder))
    assert digests[0] == digests[1]
    expected = kept[0].predict_proba(frame)[:, 1]
    found = load_model(folder, digests[1]).predict(frame)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert mlflow.models.Model.load(str(folder)).model_uuid
    assert len(mlflow.pyfunc.load_model(str(folder)).predict(frame)) == len(frame)
