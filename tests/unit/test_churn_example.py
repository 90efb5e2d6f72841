"""The example project: what its source delivers, what extract() makes of it, and its features and
labels against the same questions asked row by row in pandas."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import yaml

from penstock import Context
from penstock.records import DatasetVersion
from penstock.settings_source import load_settings
from penstock.training.search import space_of

CHURN = Path(__file__).parents[2] / "examples" / "churn"
SOURCE = {
    "start": "2025-01-01",
    "months": 7,
    "customers": 400,
    "late_share": 0.1,
    "duplicate_share": 0.05,
}
KEYS = ["customer_id", "event_timestamp"]
MICROSECOND = pd.Timedelta(1, "us")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"churn_{name}", CHURN / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def simulator() -> ModuleType:
    return load("simulator")


@pytest.fixture(scope="module")
def pipeline(simulator: ModuleType) -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "simulator", simulator)
        yield load("pipeline")


@pytest.fixture(scope="module")
def features() -> ModuleType:
    return load("features")


@pytest.fixture(scope="module")
def feed(simulator: ModuleType) -> pd.DataFrame:
    return simulator.simulate(7, **SOURCE)


@pytest.fixture(scope="module")
def events(pipeline: ModuleType) -> pd.DataFrame:
    return extract(pipeline, datetime(2026, 1, 1, tzinfo=UTC))


def extract(pipeline: ModuleType, as_of: datetime) -> pd.DataFrame:
    context = Context(
        project=CHURN,
        environment="dev",
        run_id="test",
        as_of=as_of,
        params=SOURCE | {"months": 6},
        seed=7,
        scratch=CHURN,
    )
    return pipeline.extract(context)


def stored(events: pd.DataFrame, folder: Path) -> DatasetVersion:
    path = folder / "events.parquet"
    events.to_parquet(path, index=False)
    return DatasetVersion.model_construct(path=str(path))


def features_of(
    features: ModuleType, events: pd.DataFrame, asked: pd.DataFrame, folder: Path
) -> pd.DataFrame:
    """All features side by side, one row for each row asked (customer_id and event_timestamp)."""
    from penstock.features.compile import view_definitions
    from penstock.features.facts import facts_of
    from penstock.features.history import Asked, features_at

    (folder / "data").mkdir(exist_ok=True)
    events.to_parquet(folder / "data" / "events.parquet", index=False)
    questions = Asked(
        pa.Table.from_pandas(asked, preserve_index=False),
        "event_timestamp",
        {"customer_id": "customer_id"},
    )
    views = view_definitions(features, folder).values()
    found = [features_at(view, facts_of(view, folder), questions, 2**30) for view in views]
    return pd.concat([asked, *(table.to_pandas() for table in found)], axis=1).set_index(KEYS)


# The source


def test_the_same_seed_gives_the_same_events(simulator: ModuleType, feed: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(simulator.simulate(7, **SOURCE), feed)
    assert not simulator.simulate(8, **SOURCE).equals(feed)


def test_some_events_arrive_hours_or_days_late(feed: pd.DataFrame) -> None:
    delay = feed.drop_duplicates("event_id").eval("created_at - event_time")
    assert delay.min() >= pd.Timedelta(0)
    # 10 % wait for 36 hours on average: exp(-1/36) = 97 % of those for more than one.
    assert (delay > pd.Timedelta(1, "h")).mean() == pytest.approx(0.097, abs=0.01)
    assert delay.max() > pd.Timedelta(3, "d")


def test_some_events_arrive_twice(feed: pd.DataFrame) -> None:
    again = feed[feed.duplicated("event_id")]
    assert len(again) / feed.event_id.nunique() == pytest.approx(0.05, abs=0.01)
    first = feed.drop_duplicates("event_id").set_index("event_id").loc[again.event_id]
    assert (again.created_at.to_numpy() > first.created_at.to_numpy()).all()
    same = ["customer_id", "event_type", "event_time", "amount_usd", "minutes"]
    assert again.set_index("event_id")[same].equals(first[same])


def test_the_past_stays_as_it_was_when_time_goes_on(
    simulator: ModuleType, feed: pd.DataFrame
) -> None:
    later = simulator.simulate(7, **SOURCE, weeks=2)
    then = later[later.event_time <= feed.event_time.max()]
    assert set(zip(feed.event_id, feed.created_at, strict=True)) == set(
        zip(then.event_id, then.created_at, strict=True)
    )
    assert (later.event_time.max() - feed.event_time.max()).days in range(13, 16)


def test_with_the_app_come_more_and_shorter_visits(simulator: ModuleType) -> None:
    later = simulator.simulate(7, **SOURCE, weeks=12, app_week=31)
    since = later.event_time >= pd.Timestamp(SOURCE["start"], tz="UTC") + pd.Timedelta(weeks=31)
    takes = later.customer_id % 5 < 3
    minutes = later.minutes.groupby([takes, since]).mean()
    assert minutes[True, True] / minutes[True, False] == pytest.approx(0.35, abs=0.05)
    assert minutes[False, True] / minutes[False, False] == pytest.approx(1, abs=0.15)


# extract()


def test_extract_keeps_the_first_arrival_of_every_event(
    feed: pd.DataFrame, events: pd.DataFrame
) -> None:
    assert events.event_id.is_unique
    first = feed.groupby("event_id").created_at.min()
    assert events.set_index("event_id").created_at.sort_index().equals(first)


def test_extract_gives_only_what_was_known_at_the_time_of_the_run(
    pipeline: ModuleType, events: pd.DataFrame
) -> None:
    as_of = datetime(2025, 4, 10, 13, 30, tzinfo=UTC)
    known = extract(pipeline, as_of)
    expected = events[(events.created_at <= as_of) & (events.event_time < "2025-04-10T00:00Z")]
    assert sorted(known.event_id) == sorted(expected.event_id)
    assert len(known) < (events.event_time < "2025-04-10T00:00Z").sum()  # some were still to come


# Features and labels


def features_by_hand(events: pd.DataFrame, customer: int, t: pd.Timestamp) -> dict[str, Any]:
    known = (events.event_time <= t) & (events.created_at <= t)
    past = events[known & (events.customer_id == customer)]
    kinds = {kind: past[past.event_type == kind] for kind in ("session", "purchase", "support")}

    def last(days: int, kind: str) -> pd.DataFrame:
        return kinds[kind][kinds[kind].event_time > t - pd.Timedelta(days, "d")]

    return {
        **{f"sessions_{days}d": len(last(days, "session")) for days in (3, 7, 14, 30, 90)},
        "minutes_per_session_30d": last(30, "session").minutes.mean(),
        "sessions_total": len(kinds["session"]),
        "spend_total_usd": past.amount_usd.sum(),
        "spend_90d_usd": last(90, "purchase").amount_usd.sum(),
        "purchases_90d": len(last(90, "purchase")),
        **{f"support_{days}d": len(last(days, "support")) for days in (14, 30, 90)},
    }


def test_features_are_those_computed_row_by_row(
    features: ModuleType, events: pd.DataFrame, tmp_path: Path
) -> None:
    labels = features.labels(stored(events, tmp_path)).to_pandas()
    asked = labels[KEYS].sample(300, random_state=1, ignore_index=True)
    some = features_of(features, events, asked, tmp_path)
    expected = [features_by_hand(events, customer, t) for customer, t in some.index]
    expected_frame = pd.DataFrame(expected, index=some.index)
    pd.testing.assert_frame_equal(some, expected_frame, check_dtype=False)
    assert some.minutes_per_session_30d.isna().any()  # nulls are among those compared


def test_labels_are_those_computed_row_by_row(
    features: ModuleType, events: pd.DataFrame, tmp_path: Path
) -> None:
    labels = features.labels(stored(events, tmp_path)).to_pandas()
    sessions = events[events.event_type == "session"]
    known = sessions.groupby("customer_id").created_at.min()  # some first visits are told late
    expected = []
    for month in ("2025-04", "2025-05", "2025-06", "2025-07"):  # data ends with July
        t = pd.Timestamp(f"{month}-01", tz="UTC")
        ahead = sessions.event_time.between(t, t + pd.Timedelta(30, "d"), inclusive="right")
        came = set(sessions[ahead].customer_id)
        expected += [(c, t, int(c not in came)) for c in known.index[known <= t]]
    assert list(labels.itertuples(index=False, name=None)) == expected
    assert 0.1 < labels.churned.mean() < 0.5


def test_a_window_leaves_out_its_beginning_and_includes_its_end(
    features: ModuleType, events: pd.DataFrame, tmp_path: Path
) -> None:
    t, month = pd.Timestamp("2025-05-01", tz="UTC"), pd.Timedelta(30, "d")
    moments = {  # of the sessions of each customer
        1: [t - month, t - month + MICROSECOND, t, t + MICROSECOND],
        2: [t - month, t + month],
        3: [t - month, t, t + month + MICROSECOND],
    }
    session = events[events.event_type == "session"].iloc[0]
    rows = [
        {**session, "customer_id": customer, "event_time": moment, "created_at": moment}
        for customer, times in moments.items()
        for moment in [pd.Timestamp("2025-01-01", tz="UTC"), *times]
    ]
    asked = pd.DataFrame({"customer_id": [1, 2, 3], "event_timestamp": t})
    counts = features_of(features, pd.DataFrame(rows), asked, tmp_path).sessions_30d
    assert counts.tolist() == [2, 0, 1]
    labels = features.labels(stored(pd.DataFrame(rows), tmp_path)).to_pandas()
    churned = labels.set_index(KEYS).churned.xs(t, level="event_timestamp")
    assert churned.to_dict() == {1: 0, 2: 0, 3: 1}


# Settings


def test_the_settings_and_the_search_space_are_valid() -> None:
    settings = load_settings(CHURN / "penstock.toml", "dev", {})
    assert settings.pipeline.retries == 0
    assert str(settings.gates.model["auc_roc"]) == ">= 0.85"
    params = yaml.safe_load((CHURN / "params.yaml").read_text())
    assert {dimension.kind for dimension in space_of(params["search"])} == {
        "int",
        "float",
        "categorical",
    }
