"""What a step's result depends on, and the sentences that say what changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.pipeline.inputs import changes, inputs_of, key_of, matching
from penstock.pipeline.plan import STANDARD_PLAN, Step
from penstock.project import Project
from penstock.records import Column, DatasetVersion

MakeProject = Callable[..., Project]
STEP = Step("profile", "", reads=("data.event_time",), params=("seed", "train"), files=("raw",))
A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("param train.depth", "3", "4", "param train.depth changed: 3 → 4"),
        ("setting data.key", '["a"]', '["b"]', 'setting data.key changed: ["a"] → ["b"]'),
        ("file raw/a.csv", A, B, f"file raw/a.csv changed: {A[:12]} → {B[:12]}"),
        ("file raw/a.csv", None, B, f"file raw/a.csv is new: {B[:12]}"),
        ("file raw/a.csv", A, None, f"file raw/a.csv is gone (was {A[:12]})"),
        (
            "DatasetVersion: columns",
            "id: int64; at: timestamp[us, tz=UTC]; old: struct<a: int64, b: string>",
            "id: int64; at: timestamp[us, tz=UTC]; new: decimal128(10, 2)",
            "DatasetVersion: columns changed: + new: decimal128(10, 2), "
            "- old: struct<a: int64, b: string>",
        ),
        (
            "FeatureSet: features",
            "a: int64; b: int64",
            "a: double; b: int64",
            "FeatureSet: features changed: + a: double, - a: int64",
        ),
        (
            "DatasetVersion: columns",
            "a: int64; b: int64",
            "b: int64; a: int64",
            "DatasetVersion: columns changed: another order",
        ),
        ("param x", "0", "9" * 100, "param x changed: 0 → " + "9" * 77 + "…"),
    ],
)
def test_each_change_is_one_sentence(
    name: str, old: str | None, new: str | None, sentence: str
) -> None:
    before = {"same": "1"} | ({name: old} if old else {})
    now = {"same": "1"} | ({name: new} if new else {})
    assert changes(before, now) == [sentence]


INPUTS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123"))


@given(INPUTS, INPUTS)
def test_there_is_a_sentence_for_every_difference_and_for_nothing_else(
    before: dict[str, str], now: dict[str, str]
) -> None:
    differing = {name for name in before | now if before.get(name) != now.get(name)}
    assert {sentence[0] for sentence in changes(before, now)} == differing
    assert (key_of(before) == key_of(now)) == (not differing)


def test_the_inputs_are_named_one_by_one(make_project: MakeProject) -> None:
    project = make_project(
        **{
            "params.yaml": "seed: 7\ntrain:\n  depth: 3\n  nested: {rate: 0.1}\nother: 1\n",
            "raw/deep/a.csv": "1",
        }
    )
    dataset = DatasetVersion(
        name="events",
        path="data/events.parquet",
        digest=A,
        dvc_md5="",
        remote="",
        rows=1,
        columns=(Column(name="id", type="int64"),),
        first_event=None,
        last_event=None,
    )
    found = inputs_of(STEP, project, {"DatasetVersion": dataset})
    assert found.pop("penstock")
    assert found.pop("file raw/deep/a.csv") == project.digests.of(project.root / "raw/deep/a.csv")
    assert found == {
        "DatasetVersion: data": A,
        "DatasetVersion: columns": "id: int64",
        "DatasetVersion: path": "data/events.parquet",
        "setting data.event_time": '""',
        "param seed": "7",
        "param train.depth": "3",
        "param train.nested.rate": "0.1",
    }


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("seed: 7\ntrain: {b: 2, a: 1}\n", True),  # another order
        ("# why\nseed:   7\ntrain:\n  a: 1\n  b: 2\n", True),  # another layout
        ("seed: 7\ntrain: {a: 1, b: 2}\nsearch: {}\n", True),  # a section it does not see
        ("seed: 8\ntrain: {a: 1, b: 2}\n", False),
        ("seed: 7\ntrain: {a: 1, b: '2'}\n", False),
        ("seed: 7\ntrain: {a: 1}\n", False),
    ],
)
def test_parameters_count_by_value(make_project: MakeProject, text: str, same: bool) -> None:
    before = make_project(**{"params.yaml": "seed: 7\ntrain: {a: 1, b: 2}\n"})
    known = inputs_of(STEP, before, {})
    now = inputs_of(STEP, make_project(**{"params.yaml": text}), {})
    assert (key_of(known) == key_of(now)) is same


def test_a_changed_setting_is_named(make_project: MakeProject) -> None:
    evaluate = next(step for step in STANDARD_PLAN if step.name == "evaluate_model")
    text = '[project]\nname = "s"\n[gates.model]\nf1 = ">= {0}"\n[serving]\nport = {1}\n'

    def inputs(threshold: str, port: int) -> dict[str, str]:
        return inputs_of(
            evaluate, make_project(**{"penstock.toml": text.format(threshold, port)}), {}
        )

    said = changes(inputs("0.2", 8000), inputs("0.3", 8001))  # the port is not its business
    assert said == ['setting gates.model.f1 changed: ">= 0.2" → ">= 0.3"']


def test_no_secret_is_an_input(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_NOTIFY_SMTP_PASSWORD", "hunter2")
    monkeypatch.setenv("PENSTOCK_NOTIFY_URLS", "slack://hunter2")
    notify = next(step for step in STANDARD_PLAN if step.name == "notify_team")
    assert "hunter2" not in str(inputs_of(notify, make_project(), {}))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("raw/a.csv", ["raw/a.csv"]),
        ("raw/*.csv", ["raw/a.csv", "raw/b.csv"]),
        ("raw", ["raw/a.csv", "raw/b.csv", "raw/deep/c.csv"]),  # a folder means all that is in it
        ("raw/**", ["raw/a.csv", "raw/b.csv", "raw/deep/c.csv"]),
        ("**/c.csv", ["raw/deep/c.csv"]),
        ("none/*.csv", []),
    ],
)
def test_the_files_of_a_pattern(make_project: MakeProject, pattern: str, found: list[str]) -> None:
    project = make_project(**{"raw/a.csv": "1", "raw/b.csv": "2", "raw/deep/c.csv": "3"})
    expected = [project.root / name for name in found]
    assert matching(project, pattern) == expected
    assert matching(project, f"{project.root}/{pattern}") == expected  # absolute as well


def test_a_file_outside_the_project_counts_too(make_project: MakeProject, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside.csv"
    outside.write_text("1")
    step = replace(STEP, files=(str(outside),))
    assert f"file {outside}" in inputs_of(step, make_project(), {})
