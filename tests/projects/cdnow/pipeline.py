"""Purchases from the published CSV file, and gradient-boosted trees."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pandas as pd

from penstock import Context, TrainingSet

if TYPE_CHECKING:
    from lightgbm import LGBMClassifier


def extract(context: Context) -> pd.DataFrame:
    """Every purchase with an id. The file knows days only: a purchase counts as at 00:00 UTC."""
    rows = pd.read_csv(os.environ["CDNOW_CSV"])
    return pd.DataFrame(
        {
            "purchase_id": range(len(rows)),
            "customer_id": rows.customer_id,
            "purchased_at": pd.to_datetime(rows.purchase_date, utc=True),
            "quantity": rows.quantity,
            "amount_usd": rows.amount_usd,
        }
    )


def train(training_set: TrainingSet, params: dict[str, Any]) -> LGBMClassifier:
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(**params, random_state=training_set.seed)
    return model.fit(training_set.X, training_set.y)
