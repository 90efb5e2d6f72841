"""The two functions every project writes: where the rows come from, and how a model is fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from penstock import Context, TrainingSet

from simulator import simulate

if TYPE_CHECKING:
    from lightgbm import LGBMClassifier


def extract(context: Context) -> pd.DataFrame:
    """All events of whole days before the run, as far as they had arrived by then; each once."""
    context.progress("simulating the shop")
    today = pd.Timestamp(context.as_of).floor("D")
    months, weeks = context.params["months"], pd.Timedelta(weeks=context.params.get("weeks", 0))
    start = today.replace(day=1) - pd.DateOffset(months=months) - weeks
    feed = simulate(context.seed, **{"start": start, **context.params, "months": months + 1})
    known = feed[(feed.event_time < today) & (feed.created_at <= context.as_of)]
    in_order = known.sort_values("created_at", kind="stable")
    return in_order.drop_duplicates("event_id", keep="first", ignore_index=True)


def train(training_set: TrainingSet, params: dict[str, Any]) -> LGBMClassifier:
    """Gradient-boosted trees; `params` are those of params.yaml, with the search's choices."""
    from lightgbm import LGBMClassifier  # a heavy import that extract() can do without

    model = LGBMClassifier(**params, random_state=training_set.seed)
    return model.fit(training_set.X, training_set.y)
