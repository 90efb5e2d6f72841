"""The split by time: what is scored lies later than what was learned from, by the gap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from penstock.errors import DataError
from penstock.records import Column, FeatureSet
from penstock.settings import TrainingSettings
from penstock.training.split import Bounds, decide_bounds, part_from, split_by_time

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def day(number: float) -> datetime:
    return START + number * DAY


def days(*numbers: int) -> list[datetime]:
    return [day(number) for number in numbers]


def training(**settings: object) -> TrainingSettings:
    return TrainingSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("times", "settings", "bounds"),
    [
        # 10 days: the last 2 held out; of the 8 before, round(1.6) = 2 validate
        (days(*range(10)), {}, (6, 6, 8, 8)),
        # a gap of 1 day before each part: days 0-6 remain, round(1.4) = 1 validates
        (days(*range(10)), {"gap": "1d"}, (5, 6, 7, 8)),
        (days(*range(10)), {"holdout": 0.5, "validation": 0.5}, (3, 3, 5, 5)),
        # shares of next to nothing still give one label time
        (days(*range(10)), {"holdout": 0.0, "validation": 0.0}, (8, 8, 9, 9)),
        # an explicit day, even between two label times
        (days(*range(10)), {"holdout_from": day(4.5)}, (4, 4, 4.5, 4.5)),
        # three label times are the least: one to learn, one to validate, one held out
        (days(0, 1, 2), {}, (1, 1, 2, 2)),
        # a gap as long as all of it: the search learns from the earliest all the same
        (days(0, 1, 2, 9), {"gap": "7d", "holdout": 0.25}, (1, 1, 2, 9)),
    ],
)
def test_where_the_parts_begin(
    times: list[datetime], settings: dict[str, object], bounds: tuple[float, ...]
) -> None:
    assert decide_bounds(times, training(**settings)) == Bounds(*(day(n) for n in bounds))


@pytest.mark.parametrize(
    ("times", "settings", "said"),
    [
        ([], {}, "no rows"),
        (days(0), {}, "same time 2026-01-01 00:00"),
        (days(0, 1), {}, "there are 1 label times"),
        (days(*range(10)), {"holdout_from": day(0)}, "there are 0 label times"),
        (days(*range(10)), {"gap": "30d"}, "the gap of 30 days"),
    ],
)
def test_too_few_label_times_are_refused(
    times: list[datetime], settings: dict[str, object], said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        decide_bounds(times, training(**settings))
    assert caught.value.hint


FEATURES = FeatureSet(
    path="x.parquet",
    digest="",
    rows=0,
    features=(Column(name="row", type="int64"),),
    entity_keys=("id",),
    timestamp="at",
    label="churned",
    service="",
    definitions="",
    dataset="",
    online_until=None,
)


def frame(times: list[datetime]) -> pd.DataFrame:
    """Two rows, one of each class, for every time."""
    both = [time for time in times for _ in range(2)]
    return pd.DataFrame(
        {
            "row": range(len(both)),
            "id": 1,
            "at": pd.to_datetime(pd.Series(both), utc=True),
            "churned": pd.Series([0, 1] * len(times), dtype="int8"),
        }
    )


@given(
    hours=st.lists(st.integers(0, 400), min_size=3, max_size=40),
    gap=st.integers(0, 60).map(lambda hours: timedelta(hours=hours)),
    holdout=st.floats(0, 1),
    validation=st.floats(0, 1),
    explicit=st.none() | st.integers(0, 400),
)
@settings(max_examples=50, deadline=None)
def test_what_is_scored_lies_later_than_what_was_learned(
    hours: list[int], gap: timedelta, holdout: float, validation: float, explicit: int | None
) -> None:
    times = [START + timedelta(hours=hour) for hour in hours]
    asked = training(
        gap=gap,
        holdout=holdout,
        validation=validation,
        holdout_from=None if explicit is None else START + timedelta(hours=explicit),
    )
    rows = frame(times)
    try:
        split = split_by_time(rows, FEATURES, asked, seed=7)
    except DataError:
        assume(False)
        raise
    train, scored = split.train.event_timestamps, split.validation.event_timestamps
    held = split.holdout.event_timestamps
    assert train.max() < scored.min() <= scored.max() < held.min()
    assert split.development.event_timestamps.max() + gap < held.min() + timedelta(microseconds=1)
    gap_was_possible = rows["at"].min() < scored.min() - gap
    if gap_was_possible:
        assert train.max() + gap < scored.min() + timedelta(microseconds=1)
    parts = [split.train, split.validation, split.holdout]
    chosen = [row for part in parts for row in part.X["row"]]
    assert len(chosen) == len(set(chosen))
    learned = {*split.train.X["row"], *split.validation.X["row"]}
    assert learned <= set(split.development.X["row"])
    assert set(rows["row"][rows["at"] >= split.holdout_from]) == set(split.holdout.X["row"])


def test_a_part_has_the_features_and_not_the_keys_label_or_time() -> None:
    part = part_from(frame(days(0, 1, 2)), FEATURES, day(1), seed=7)
    assert list(part.X.columns) == ["row"]
    assert part.X["row"].tolist() == [2, 3, 4, 5]
    assert part.y.tolist() == [0, 1, 0, 1]
    assert list(part.X.index) == list(part.y.index) == [0, 1, 2, 3]
    assert len(part) == 4


@pytest.mark.parametrize(
    ("last", "name"),
    [(slice(16, 20), "holdout"), (slice(12, 16), "validation"), (slice(12), "training")],
)
def test_a_part_with_one_class_is_refused_by_name(last: slice, name: str) -> None:
    rows = frame(days(*range(10)))
    rows.loc[rows.index[last], "churned"] = 0
    with pytest.raises(DataError, match=f"the {name} part has .* labels .0.; it needs both") as e:
        split_by_time(rows, FEATURES, training(), seed=0)
    assert "holdout_from" in e.value.hint


def test_a_holdout_behind_all_rows_is_refused_with_their_times() -> None:
    with pytest.raises(DataError, match=r"holdout part has 0 rows .* 2026-01-01 to 2026-01-03"):
        split_by_time(frame(days(0, 1, 2)), FEATURES, training(holdout_from=day(9)), seed=0)
