"""Two functions make a pipeline: where the rows come from, and how the model is fitted."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def extract(context):
    """Replace this by your own source: return a data frame, an Arrow table, or a file's path.

    `context.params` is the section `extract` of params.yaml, `context.as_of` the run's time (UTC).
    """
    random = np.random.default_rng(context.seed)
    rows = context.params["rows"]
    usage, age = random.gamma(2.0, 2.0, rows), random.uniform(0, 60, rows)
    chance = 1 / (1 + np.exp(0.6 * usage - 0.05 * age))
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "event_timestamp": pd.date_range("2026-01-01", periods=rows, freq="2h", tz="UTC"),
            "usage": usage,
            "age": age,
            "label": (random.random(rows) < chance).astype("int8"),
        }
    )


def train(training_set, params):
    """Fit on `training_set.X` and `.y`; the held-out rows are not in it.

    `params` is the section `train` of params.yaml with the search's choice laid over it.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(C=params["C"]))
    return model.fit(training_set.X, training_set.y)


# More, when you need it:
#
#   def evaluate(model, holdout) -> dict          own metrics, for [gates.model] to judge
#
#   from penstock import step
#   @step(after="validate_data")                  a step of your own; takes records by annotation
#   def profile(context, dataset: DatasetVersion): ...
#
#   features.py                                   Feast entities, views and a service; with it,
#                                                 predictions are asked for by entity key
