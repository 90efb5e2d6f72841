"""CDNOW, month by month: does the monitor say when retraining pays?

Customers buy less and less often again. A model is trained on what is known in July 1997, and asked
on the first of each month about every customer; labels come 90 days later. Three ways to go on are
compared by log-loss: never train again, train each month, train when `monitoring.retraining` says
so, from labels of the present model's own predictions alone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pandas as pd
import yaml
from side_by_side import Row, write

from penstock.monitoring.retraining import Decision, decide
from penstock.monitoring_settings import PerformanceSettings
from penstock.stats.outcomes_by_score import Outcomes, counted

ROOT = Path(__file__).parents[1]
CSV = Path(os.environ.get("CDNOW_CSV") or ROOT.parent / "shared/data/cdnow/purchases.csv")
PROJECT = ROOT / "tests" / "projects" / "cdnow"
HORIZON = timedelta(days=90)
KEYS = ["customer_id", "event_timestamp"]
Model = Callable[[pd.DataFrame], np.ndarray[Any, Any]]


class Month(NamedTuple):
    """The first of a month."""

    at: datetime
    rate: float  # of those who do buy within the next 90 days
    losses: dict[str, float]  # log-loss of the predictions made then, by the way to go on
    decision: Decision | None  # None: no label of the present model's predictions has come
    retrained: bool


def rows(csv: Path = CSV) -> pd.DataFrame:
    """The training set of the project in tests/projects/cdnow: a row per customer and month."""
    sys.path.insert(0, str(PROJECT))
    try:
        import features
    finally:
        sys.path.remove(str(PROJECT))
    database = duckdb.connect()
    database.execute(f"""CREATE VIEW rows AS SELECT customer_id, quantity, amount_usd,
        purchase_date::TIMESTAMP AS purchased_at FROM read_csv('{csv}')""")
    database.execute(features.MOMENTS)
    found = database.sql(features.LABELS).df()
    for part in (features.RECENT, features.LIFETIME):
        found = found.merge(database.sql(part).df(), on=KEYS, how="left")
    return found


def walk(
    table: pd.DataFrame, settings: PerformanceSettings, fit: Callable[[pd.DataFrame], Model]
) -> list[Month]:
    """All months for which there is a label by then, in order."""
    first: Model | None = None
    told: Model | None = None
    asked = dict[datetime, Outcomes]()  # of the present model alone
    found = []
    for at, now in table.groupby("event_timestamp", sort=True):
        known = table[table.event_timestamp + HORIZON <= at]
        if known.empty:
            continue
        newest = fit(known)
        first, told = first or newest, told or newest
        due = [day for day in asked if day + HORIZON <= at]
        decision = decide(asked[due[-1]], settings) if due else None
        if retrained := bool(decision and decision.pays):
            told, asked = newest, {}
        label = now.buys_again.to_numpy(np.int8)
        asked[at] = counted(told(now).round(4), label)
        ways = {"never": first, "each month": newest, "when told": told}
        losses = {name: log_loss(model(now), label) for name, model in ways.items()}
        found.append(Month(at.to_pydatetime(), label.mean(), losses, decision, retrained))
    return found


def log_loss(score: np.ndarray[Any, Any], label: np.ndarray[Any, Any]) -> float:
    score = np.clip(score, 1e-6, 1 - 1e-6)
    return float(-np.mean(np.where(label == 1, np.log(score), np.log1p(-score))))


def trees(known: pd.DataFrame) -> Model:
    """The project's own model."""
    from lightgbm import LGBMClassifier

    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    names = [name for name in known.columns if name not in (*KEYS, "buys_again")]
    model = LGBMClassifier(**params["train"], random_state=params["seed"])
    model.fit(known[names], known.buys_again)
    return lambda rows: model.predict_proba(rows[names])[:, 1]


def main() -> int:
    if not CSV.is_file():
        print(f"{CSV} is not here; CDNOW_CSV may name the file")
        return 0
    table, settings, fitted = rows(), PerformanceSettings(), dict[int, Model]()

    def fit(known: pd.DataFrame) -> Model:
        """Each month's model is trained once, for all walks."""
        if len(known) not in fitted:
            fitted[len(known)] = trees(known)
        return fitted[len(known)]

    months = walk(table, settings, fit)
    print("month       buys again   never  each month  when told")
    for month in months:
        losses = month.losses
        print(f"{month.at:%Y-%m-%d}  {month.rate:9.1%}  {losses['never']:.4f}  "
              f"{losses['each month']:10.4f}  {losses['when told']:9.4f}"
              + ("  ← retrained" if month.retrained else ""))  # fmt: skip
        if month.decision:
            print(f"    {month.decision.reason}")
    print(summary(months, settings))
    for share in (0.001, 0.002, 0.005, 0.01):
        other = settings.model_copy(update={"retraining_gain": share})
        print(summary(walk(table, other, fit), other))
    write("cdnow", kept(months))
    plot(months, ROOT / "benchmarks" / "out" / "cdnow_walk.png")
    return 0


def kept(months: list[Month]) -> list[Row]:
    """No seconds: log-losses, and numbers of retrainings."""
    mean = {name: float(np.mean([m.losses[name] for m in months])) for name in months[0].losses}
    told, each, never = (mean[name] for name in ("when told", "each month", "never"))
    times = sum(one.retrained for one in months)
    return [
        Row("log-loss when told / never", told, never, told / never, 1.0, told < never),
        Row("log-loss when told / each month", told, each, told / each, 1.01, told <= 1.01 * each),
        Row(
            "retrainings when told / each month",
            times,
            len(months) - 1,
            times / (len(months) - 1),
            0.5,
            2 * times <= len(months) - 1,
        ),
    ]


def summary(months: list[Month], settings: PerformanceSettings) -> str:
    mean = {name: np.mean([one.losses[name] for one in months]) for name in months[0].losses}
    won = (mean["never"] - mean["when told"]) / (mean["never"] - mean["each month"])
    times = sum(one.retrained for one in months)
    return (
        f"retraining_gain {settings.retraining_gain:g}: {times} retrainings instead of "
        f"{len(months) - 1}, and {won:.0%} of what they win "
        f"(log-loss {json.dumps({name: round(value, 4) for name, value in mean.items()})})"
    )


def plot(months: list[Month], target: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    days = [one.at for one in months]
    above.plot(days, [100 * one.rate for one in months], color="black", marker="o")
    above.set_ylabel("buy again within 90 days, %")
    for name in months[0].losses:
        below.plot(days, [one.losses[name] for one in months], marker="o", label=name)
    for one in months:
        if one.retrained:
            below.axvline(one.at, color="grey", linestyle=":")
    below.set_ylabel("log-loss")
    below.legend(frameon=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)
    print(f"→ {target.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
