"""Suites on data, with Great Expectations itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.errors import DataError, ProjectError
from penstock.records import Check, DataReport, DatasetVersion
from penstock.validation.suggest import suggest
from penstock.validation.suites import read_suites
from penstock.validation.validate import validate

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CDNOW = ROOT.parent / "shared" / "data" / "cdnow" / "purchases.csv"
ROWS = 1_000
# Row 3 has no amount; rows 5 and 6 have absurd ones; row 8 repeats id and country of row 7.
HOLES, ABSURD, REPEATED = [3], [5, 6], 8


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """1,000 orders a minute apart, most of them sound."""
    random = np.random.default_rng(7)
    amount = np.round(random.gamma(2.0, 20.0, ROWS), 2)
    amount[HOLES], amount[ABSURD] = np.nan, [-5.0, 99_999.0]
    order_id = np.arange(ROWS)
    order_id[REPEATED] = REPEATED - 1
    country = np.where(order_id % 2, "FR", "DE")
    path = tmp_path / "events.parquet"
    pd.DataFrame(
        {
            "order_id": order_id,
            "ordered_at": pd.date_range("2025-01-01", periods=ROWS, freq="min", tz="UTC"),
            "amount": amount,
            "country": country,
            "visits": random.integers(0, 90, ROWS),
        }
    ).to_parquet(path)
    return path


def expect(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{kind}", "kwargs": kwargs, "meta": {}}


def dataset(rows: int = ROWS) -> DatasetVersion:
    return DatasetVersion(
        name="events",
        path="data/events.parquet",
        digest="d" * 64,
        dvc_md5="",
        remote="",
        rows=rows,
        columns=(),
        first_event=None,
        last_event=None,
    )


def judged(parquet: Path, *expectations: dict[str, Any], **suite: Any) -> DataReport:
    folder = parquet.parent / "expectations"
    folder.mkdir(exist_ok=True)
    stored = {"name": "orders", "expectations": expectations, **suite}
    (folder / "orders.json").write_text(json.dumps(stored))
    return validate(dataset(), parquet, read_suites(folder), key=["order_id"])


def check(parquet: Path, kind: str, **kwargs: Any) -> Check:
    (found,) = judged(parquet, expect(kind, **kwargs)).checks
    return found


def test_what_holds_passes(events: Path) -> None:
    report = judged(
        events,
        expect("column_values_to_not_be_null", column="order_id"),
        expect("column_values_to_be_in_set", column="country", value_set=["DE", "FR"]),
        expect("column_values_to_be_between", column="amount", min_value=0, mostly=0.99),
        expect("column_values_to_be_between", column="ordered_at", min_value="2025-01-01T00:00Z"),
        expect("table_row_count_to_equal", value=ROWS),
        expect("column_to_exist", column="visits"),
    )
    assert report.passed
    assert report.subject == "d" * 64
    assert report.suites == ("orders",)
    assert [found.name for found in report.checks] == [
        "expect_column_values_to_not_be_null(order_id)",
        "expect_column_values_to_be_in_set(country)",
        "expect_column_values_to_be_between(amount)",
        "expect_column_values_to_be_between(ordered_at)",
        "expect_table_row_count_to_equal",
        "expect_column_to_exist(visits)",
    ]
    assert report.checks[2].failed_rows == 1  # seen, and allowed


@pytest.mark.parametrize(
    ("kind", "kwargs", "observed", "failed_rows", "sample"),
    [
        (
            "column_values_to_not_be_null",
            {"column": "amount"},
            "1 of 1,000 rows null (0.1 %)",
            1,
            ("row 3: amount=null, order_id=3",),
        ),
        (
            "column_values_to_be_between",
            {"column": "amount", "min_value": 0, "max_value": 500},
            "2 of 999 non-null rows unexpected (0.2 %)",
            2,
            ("row 5: amount=-5, order_id=5", "row 6: amount=99999, order_id=6"),
        ),
        (
            "column_values_to_be_unique",
            {"column": "order_id"},
            "2 of 1,000 rows duplicated (0.2 %)",
            2,
            ("row 7: order_id=7", "row 8: order_id=7"),
        ),
        (
            "compound_columns_to_be_unique",
            {"column_list": ["order_id", "country"]},
            "2 of 1,000 rows duplicated (0.2 %)",
            2,
            ("row 7: order_id=7, country='FR'", "row 8: order_id=7, country='FR'"),
        ),
        (
            "column_values_to_be_between",
            {
                "column": "amount",
                "min_value": 0,
                "row_condition": "order_id<6",
                "condition_parser": "pandas",
            },
            "1 of 5 non-null rows unexpected (20.0 %)",
            1,
            ("row 5: amount=-5, order_id=5",),
        ),
        (
            "column_pair_values_a_to_be_greater_than_b",
            {"column_A": "visits", "column_B": "amount", "row_condition": "order_id==6"},
            "1 of 1 rows unexpected (100.0 %)",
            1,
            None,
        ),
        ("column_values_to_be_of_type", {"column": "visits", "type_": "str"}, "int64", None, ()),
        ("table_row_count_to_be_between", {"max_value": 5}, "1000", None, ()),
        ("column_min_to_be_between", {"column": "amount", "min_value": 0}, "-5", None, ()),
        (
            "column_distinct_values_to_be_in_set",
            {"column": "country", "value_set": ["DE"]},
            "also 'FR'",
            None,
            ("'FR'",),
        ),
        (
            "table_columns_to_match_set",
            {"column_set": ["order_id", "ordered_at", "amount", "country", "price"]},
            "unexpected visits; missing price",
            None,
            (),
        ),
        (
            "table_columns_to_match_ordered_list",
            {"column_list": ["order_id"]},
            "the columns order_id, ordered_at, amount, country, visits",
            None,
            (),
        ),
    ],
)
def test_a_failure_says_what_was_seen_in_which_rows(
    events: Path,
    kind: str,
    kwargs: dict[str, Any],
    observed: str,
    failed_rows: int | None,
    sample: tuple[str, ...] | None,
) -> None:
    found = check(events, kind, **kwargs)
    assert not found.passed
    assert (found.observed, found.failed_rows) == (observed, failed_rows)
    assert "suite 'orders' expects" in found.reason
    if sample is not None:
        assert found.sample == sample


def test_no_more_than_five_rows_are_shown(events: Path) -> None:
    found = check(events, "column_values_to_be_in_set", column="country", value_set=["US"])
    assert found.failed_rows == ROWS
    assert len(found.sample) == 5


@pytest.mark.parametrize(
    "kind",
    [
        ("column_values_to_not_be_null", {}),
        ("column_mean_to_be_between", {"min_value": 0}),
        ("column_values_to_be_of_type", {"type_": "str"}),
        ("column_to_exist", {}),
    ],
)
def test_a_missing_column_fails_with_those_there_are(
    events: Path, kind: tuple[str, dict[str, Any]]
) -> None:
    found = check(events, kind[0], column="amnt", **kind[1])
    assert not found.passed
    assert found.reason == (
        "column 'amnt' is not in the data; it has order_id, ordered_at, amount, country, visits"
    )


@pytest.mark.parametrize(
    ("kind", "kwargs", "message"),
    [
        ("column_values_to_match_regex", {"column": "country", "regex": "("}, "unterminated"),
        (
            "column_values_to_be_between",
            {"column": "ordered_at", "min_value": "2025-01-01"},
            "write the bound as a time, with an offset",
        ),
        ("column_mean_to_be_between", {"column": "country", "min_value": 1}, "concatenate|str"),
    ],
)
def test_what_great_expectations_cannot_evaluate_fails_alone(
    events: Path, kind: str, kwargs: dict[str, Any], message: str
) -> None:
    sound = expect("column_to_exist", column="amount")
    broken, other = judged(events, expect(kind, **kwargs), sound).checks
    assert not broken.passed
    assert broken.observed == "not evaluated"
    assert re.search(message, broken.reason)
    assert other.passed


def test_an_expectation_may_take_the_parameters_of_its_suite(events: Path) -> None:
    bound = expect("column_values_to_be_between", column="visits", max_value={"$PARAMETER": "most"})
    assert judged(events, bound, suite_parameters={"most": 90}).passed
    with pytest.raises(ProjectError, match="most"):
        judged(events, bound)


@pytest.mark.parametrize(
    ("expectation", "message", "hint"),
    [
        (
            expect("column_values_to_be_betwen", column="amount"),
            "no expectation of that type",
            "expect_column_values_to_be_between",
        ),
        (
            expect("column_values_to_be_between", column="amount", min_valeu=0),
            "it takes no argument 'min_valeu'",
            "did you mean min_value",
        ),
        (
            expect("column_values_to_not_be_null", column="amount", mostly=99),
            "mostly = 99: ensure this value is less than or equal to 1.0",
            "it takes column, mostly",
        ),
        (expect("column_values_to_be_between", column="amount"), "cannot both be None", "it takes"),
        (expect("column_values_to_not_be_null"), "column: field required", "it takes column"),
    ],
)
def test_an_expectation_that_cannot_be_is_named_with_a_way_out(
    events: Path, expectation: dict[str, Any], message: str, hint: str
) -> None:
    sound = expect("column_to_exist", column="amount")
    with pytest.raises(ProjectError) as caught:
        judged(events, sound, expectation)
    assert f"orders.json: expectation 2, {expectation['type']}: " in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_suite_made_with_the_sdk_is_used_as_it_stands(events: Path) -> None:
    import great_expectations as gx
    from great_expectations import expectations as gxe

    made = gx.ExpectationSuite(
        name="by hand",
        id="7f3c6bd9-6f2a-4c57-8b39-0a4a2f3c6bd9",
        expectations=[
            gxe.ExpectColumnValuesToNotBeNull(
                column="amount", mostly=0.99, notes="some are paid later", severity="warning"
            ),
            gxe.ExpectTableRowCountToEqual(value=3, description="three orders", meta={"by": "me"}),
        ],
    )
    folder = events.parent / "expectations"
    folder.mkdir()
    (folder / "made.json").write_text(json.dumps(made.to_json_dict()))
    nulls, rows = validate(dataset(), events, read_suites(folder)).checks
    assert nulls.passed
    assert not rows.passed
    assert rows.expected == "exactly 3"


def test_columns_that_pandas_kept_as_an_index_are_columns_here(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pd.DataFrame({"order_id": [1, 2], "amount": [1.0, 2.0]}).set_index("order_id").to_parquet(path)
    assert check(path, "column_to_exist", column="order_id").passed


def test_data_without_rows_cannot_be_judged(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"amount": pa.array([], pa.float64())}), path)
    with pytest.raises(DataError, match="'events' has no rows"):
        check(path, "column_values_to_not_be_null", column="amount")


def drafted(parquet: Path, name: str) -> DataReport:
    folder = parquet.parent / "drafted"
    folder.mkdir()
    (folder / f"{name}.json").write_text(json.dumps(suggest(parquet, name)))
    return validate(dataset(), parquet, read_suites(folder))


def test_a_draft_holds_for_the_data_it_was_drafted_from(events: Path) -> None:
    report = drafted(events, "events")
    assert report.failures == ()
    assert len(report.checks) > 10


def test_a_draft_holds_for_awkward_columns(tmp_path: Path) -> None:
    path = tmp_path / "awkward.parquet"
    n = 1_200
    columns = {
        "a": pa.array(range(n)),
        "A": pa.nulls(n, pa.int32()),
        'quo"ted name': pa.array([1, None] * (n // 2)),
        "nan": pa.array([float("nan"), 2.5] * (n // 2)),
        "infinite": pa.array([1.0, float("inf")] * (n // 2)),
        "constant": pa.array([0.29] * n),
        "tiny": pa.array([i * -1e-9 for i in range(n)]),
        "float32": pa.array([i / 7 for i in range(n)], pa.float32()),
        "outlier": pa.array([0.0] * (n - 1) + [1e5]),
        "flag": pa.array([True, None] * (n // 2)),
        "category": pa.array(["x", "y"] * (n // 2)).dictionary_encode(),
        "day": pa.array([20_000] * n, pa.date32()),
        "naive": pa.array([0] * n, pa.timestamp("ns")),
        "list": pa.array([[1]] * n),
        "nothing": pa.nulls(n),
    }
    pq.write_table(pa.table(columns), path)
    assert drafted(path, "awkward").failures == ()


@pytest.mark.skipif(not CDNOW.is_file(), reason=f"the CDNOW purchases are not at {CDNOW}")
def test_a_draft_holds_for_a_real_purchase_history(tmp_path: Path) -> None:
    path = tmp_path / "purchases.parquet"
    pd.read_csv(CDNOW, parse_dates=["purchase_date"]).to_parquet(path)
    assert drafted(path, "purchases").failures == ()

    spoilt = pd.read_parquet(path)
    spoilt["amount_usd"] *= 100  # cents instead of dollars
    spoilt.to_parquet(path)
    failed = validate(dataset(), path, read_suites(path.parent / "drafted")).failures
    assert {found.name for found in failed} >= {"expect_column_mean_to_be_between(amount_usd)"}


# Runs one validation and prints what Python's audit events show of it, as JSON.
WATCHED = """
import json, os, sys
from pathlib import Path
from penstock.records import DatasetVersion
from penstock.validation.suites import read_suites
from penstock.validation.validate import validate

seen = {"network": [], "written": []}
WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        seen["network"].append(str(args[1:]))
    elif event == "open" and args[2] and args[2] & WRITE and args[0] != os.devnull:
        seen["written"].append(str(args[0]))
    elif event == "os.mkdir":
        seen["written"].append(str(args[0]))

sys.dont_write_bytecode = True
sys.addaudithook(watch)
dataset = DatasetVersion.model_validate_json(sys.argv[1])
report = validate(dataset, Path(sys.argv[2]), read_suites(Path(sys.argv[3])))
print(json.dumps({"checks": len(report.checks), **seen}))
"""


def test_nothing_is_written_sent_or_printed(events: Path, tmp_path: Path) -> None:
    folder, home = tmp_path / "expectations", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    (folder / "events.json").write_text(json.dumps(suggest(events, "events")))
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, dataset().model_dump_json(), str(events), str(folder)],
        env={"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(done.stdout)
    assert seen.pop("checks") > 10
    assert seen == {"network": [], "written": []}
    assert list(home.rglob("*")) == []
    assert done.stderr == ""  # no progress bars
