"""Windows of predictions: which rows count, what their text says, and how many tell something."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.errors import DataError
from penstock.monitoring.window import window_of_file
from penstock.profiles.profile import PREDICTION, Column, Numbers, Words

ODD = 'a "quoted"."name"'
NUMBER = Column(
    name=ODD, type="DOUBLE", rows=2, nulls=0,
    numbers=Numbers(edges=(1.0,), counts=(1, 1), least=0.0, greatest=2.0),
)  # fmt: skip
WORD = Column(name="word", type="VARCHAR", rows=2, nulls=0, words=Words(counts={"a": 2}))


def logged(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows of a prediction log, as Parquet has them."""
    lines = [
        {
            "arrived_at": datetime(2026, 1, 1, tzinfo=UTC),
            "model": row.get("model", "m@1"),
            "status": row.get("status", 200),
            "features": None if row.get("features") is None else json.dumps(row["features"]),
            "entities": None if row.get("id") is None else json.dumps({"id": row["id"]}),
            "output": row.get("output", [0.5]),
        }
        for row in rows
    ]
    pq.write_table(pa.Table.from_pylist(lines), folder / "log.parquet")
    return folder / "log.parquet"


def test_only_answers_of_the_model_that_still_have_their_values_count(tmp_path: Path) -> None:
    good = {"features": {ODD: 0.5, "word": "a"}}
    others = [{**good, "model": "m@2"}, {**good, "status": 503}, {"features": None}]
    window = window_of_file(logged(tmp_path, [good, *others]))
    assert set(window.models()) == {"m@1", "m@2"}
    number, word = window.of("m@1").counted([NUMBER, WORD], [NUMBER, WORD])
    assert (number.rows, word.rows) == (1, 1)


def test_values_of_another_type_are_missing_and_counted(tmp_path: Path) -> None:
    values = [0.5, "1.5", True, None, "many", [1], {"a": 1}]
    rows = [{"features": {ODD: value, "word": value}} for value in values]
    window = window_of_file(logged(tmp_path, [*rows, {"features": {}}]))
    number, word = window.counted([NUMBER, WORD], [NUMBER, WORD])
    assert (number.rows, number.filled) == (8, 3)
    assert window.unreadable([NUMBER, WORD]) == {ODD: 3}
    assert word.filled == 6  # text can say all of them


def test_the_last_output_is_the_prediction(tmp_path: Path) -> None:
    window = window_of_file(logged(tmp_path, [{"features": {}, "output": [0.8, 0.2]}]))
    answers = window.ask(lambda rows: window.table(rows, [NUMBER]).project(PREDICTION).fetchall())
    assert answers == [(0.2,)]


def test_rows_about_one_entity_are_worth_as_many_as_kish_says(tmp_path: Path) -> None:
    rows = [{"features": {}, "id": i} for i in [1] * 8 + [2, 3]] + [{"features": {}}] * 2
    window = window_of_file(logged(tmp_path, rows))
    # (8 + 1 + 1 + 1 + 1)² / (64 + 4) of 12
    assert window.independent_share() == pytest.approx(12 / 68)
    assert window_of_file(logged(tmp_path, [{"features": {}}])).independent_share() == 1


def test_a_table_has_a_column_a_feature_and_may_lack_some(tmp_path: Path) -> None:
    pq.write_table(pa.table({ODD: ["0.5", "x", None]}), tmp_path / "rows.parquet")
    window = window_of_file(tmp_path / "rows.parquet")
    number, word = window.counted([NUMBER, WORD], [NUMBER, WORD])
    assert (number.filled, word.filled, word.rows) == (1, 0, 3)
    assert window.unreadable([NUMBER, WORD]) == {ODD: 1}
    assert window.models() == []


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        window_of_file(tmp_path / "gone.parquet")
    (tmp_path / "text.parquet").write_text("no Parquet")
    with pytest.raises(DataError, match="cannot be read"):
        window_of_file(tmp_path / "text.parquet")
