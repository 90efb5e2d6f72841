"""Suite files that cannot be used are refused before Great Expectations is loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import ProjectError
from penstock.validation.suites import parse_suite, read_suites

UNIQUE = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}}


def write(folder: Path, stored: Any) -> Path:
    path = folder / "events.json"
    path.write_text(stored if isinstance(stored, str) else json.dumps(stored))
    return path


def test_a_folder_without_suites_says_how_to_draft_one(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("suites live here")
    with pytest.raises(ProjectError, match="no suite") as caught:
        read_suites(tmp_path)
    assert "penstock validate --suggest" in caught.value.hint


def test_a_missing_folder_is_a_folder_without_suites(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="no suite"):
        read_suites(tmp_path / "expectations")


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ('{"name": "events", ', r"events\.json is not JSON: .* line 1 column 20"),
        ([1, 2], "it has no list 'expectations'"),
        ({"name": "events"}, "it has no list 'expectations'"),
        ({"expectations": []}, "has no expectations, so it would pass"),
        ({"expectations": [UNIQUE, 7]}, "expectation 2 is 7, not a table"),
        ({"expectations": [{"kwargs": {}}]}, "expectation 1 has no 'type'"),
        (
            {"expectations": [{**UNIQUE, "kwargs": ["id"]}]},
            r"expectation 1, expect_column_values_to_be_unique: 'kwargs' is \['id'\]",
        ),
    ],
)
def test_the_file_and_the_expectation_are_named(tmp_path: Path, stored: Any, message: str) -> None:
    with pytest.raises(ProjectError, match=message) as caught:
        parse_suite(write(tmp_path, stored))
    assert "events.json" in caught.value.message
    assert caught.value.hint


def test_a_suite_of_the_old_format_is_recognised(tmp_path: Path) -> None:
    old = {"expectation_type": "expect_column_to_exist", "kwargs": {"column": "id"}}
    path = write(tmp_path, {"expectation_suite_name": "events", "expectations": [old]})
    with pytest.raises(ProjectError) as caught:
        parse_suite(path)
    assert "Great Expectations 0.x" in caught.value.hint


@pytest.mark.parametrize(
    "entry",
    [
        {"meta": {"notes": "one order each"}},
        {"meta": {"notes": {"format": "markdown", "content": ["one order", "each"]}}},
        {"notes": ["one order", "each"]},
        {"notes": "one order each", "meta": None},
    ],
)
def test_notes_are_read_in_every_form_they_have_had(tmp_path: Path, entry: dict[str, Any]) -> None:
    suite = parse_suite(write(tmp_path, {"expectations": [{**UNIQUE, **entry}]}))
    assert suite.expectations[0].notes == "one order each"
    assert suite.name == "events"  # the file's, as it has none of its own


def test_great_expectations_is_not_loaded_to_parse(tmp_path: Path) -> None:
    before = "great_expectations" in sys.modules
    parse_suite(write(tmp_path, {"expectations": [UNIQUE]}))
    assert ("great_expectations" in sys.modules) == before
