"""Continuous integration: a sample is always the same one, and pipelines call what there is."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock.ci.report import report
from penstock.ci.trial import Cost, Trial
from penstock.cli.init import CONTINUOUS
from penstock.cli.table import COMMANDS
from penstock.compliance import markdown
from penstock.data.sampling import sampled
from penstock.errors import DataError
from penstock.orchestrators.outcomes import RunOutcome, StepOutcome
from penstock.records import Check, GateReport
from penstock.releases.differences import differences
from penstock.releases.history import Made
from penstock.releases.manifest import Data, Manifest, Training

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


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def release(label: str, rows: int, trees: int, **metrics: float) -> Manifest:
    training = Training(params={"trees": trees}, metrics=metrics)
    return Manifest(model=label, digest_of_model="0", data=Data(rows=rows), training=training)


def test_a_reviewer_reads_what_got_better_and_of_a_sample_only_what_the_change_made() -> None:
    before = release("shop@1", 800, 10, auc_roc=0.8, brier=0.2, log_loss=0.5, profit=7.0)
    after = release("this change", 80, 20, auc_roc=0.81, brier=0.25, log_loss=0.5, profit=9.0)
    checks = (
        Check(name="auc_roc", passed=True, observed="0.81", expected=">= 0.7"),
        Check(name="brier", passed=False, observed="0.25", expected="<= 0.22"),
    )
    judged = StepOutcome("evaluate_model", "failed", 1.0, GateReport(subject="0", checks=checks))
    tried = Trial(
        project="shop",
        share=0.1,
        outcome=RunOutcome("r1", 1.0, (judged,)),
        cost=Cost(1.0, 1.0, 1, 1),
        change=after,
        champion=Made(before, "0", 1, NOON, "somebody"),
        champion_label="shop@1",
        differences=differences(before, after),
        commits=(),
        files=(),
    )
    text = markdown.text(report(tried, NOON))
    lines = [re.sub(" +", " ", line) for line in text.splitlines()]
    assert "| Gate: evaluate_model | 1 of 2 checks hold; refused: brier |" in lines
    first = lines.index("| metric | shop@1 | this change | difference |")
    assert lines[first + 2 : first + 6] == [
        "| auc_roc | 0.8 | 0.81 | +0.0100 better |",
        "| log_loss | 0.5 | 0.5 | +0.0000 |",
        "| brier | 0.2 | 0.25 | +0.0500 worse |",
        "| profit | 7 | 9 | +2.0000 |",  # the project's own: nobody knows which way is better
    ]
    assert "| trees | 10 | 20 |" in lines
    assert "rows of the dataset" not in text
