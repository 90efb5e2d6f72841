"""Continuous integration: a sample is always the same one, and pipelines call what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.init import CONTINUOUS
from penstock.cli.table import COMMANDS
from penstock.data.sampling import sampled
from penstock.errors import DataError

PIPELINES = (".github/workflows/penstock.yml", ".gitlab-ci.yml")


@given(
    users=st.lists(st.integers(0, 50), min_size=30, max_size=200),
    shares=st.tuples(st.floats(0.2, 1.0), st.floats(0.2, 1.0)),
)
def test_a_larger_sample_holds_the_smaller_one_and_nobody_in_part(
    users: list[int], shares: tuple[float, float]
) -> None:
    rows = pa.table({"user": users, "at": range(len(users))})
    small, large = (
        set(kept.column("at").to_pylist())
        for kept in (_kept(rows, share) for share in sorted(shares))
    )
    assert small <= large
    for user in set(users):
        theirs = {at for at, one in enumerate(users) if one == user}
        assert theirs <= small or not theirs & small


def _kept(rows: pa.Table, share: float) -> pa.Table:
    try:
        return sampled(rows, share, "user")
    except DataError:  # of few users, none may be left
        return rows.slice(0, 0)


def test_a_sample_has_about_its_share_and_all_is_all() -> None:
    rows = pa.table({"row": range(20_000), "text": ["same"] * 20_000})
    assert 1_800 < sampled(rows, 0.1, "").num_rows < 2_200
    assert sampled(rows, 1.0, "") is rows


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="sample_by is 'user'"):
        sampled(pa.table({"row": [1]}), 0.5, "user")


@pytest.mark.parametrize("file", PIPELINES)
def test_pipelines_are_valid_and_call_commands_that_there_are(file: str) -> None:
    text = (Path(CONTINUOUS) / file).read_text()
    assert yaml.safe_load(text)
    known = {command.name for command in COMMANDS}
    called = set(re.findall(r"^\s*(?:- )?(?:run: )?(?:\w+=\w+ )?penstock (ci \w+|\w+)", text, re.M))
    called |= set(re.findall(r"- (?:run: |PENSTOCK_\w+=\w+ )?penstock (ci \w+|\w+)", text))
    assert {"ci check", "ci trial", "ci promote", "run"} <= called <= known
