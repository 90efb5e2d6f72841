"""Real purchases (CDNOW): vectors of training and of serving at the same times agree exactly with
plain SQL on the published file. Days have no hours, so that many purchases tie."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from penstock.project import Project, open_project

ROOT = Path(__file__).parents[2]
CSV = Path(os.environ.get("CDNOW_CSV") or ROOT.parent / "shared/data/cdnow/purchases.csv")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not CSV.is_file(), reason="the CDNOW purchases are not here; CDNOW_CSV may name the file"
    ),
]

FEATURES = """
from penstock.features import Aggregate, BatchSource, Entity, FeatureService, FeatureView

customer = Entity("customer", join_keys=["customer_id"])
purchases = BatchSource("purchases", path="purchases.parquet", timestamp="day")
bought = FeatureView(
    "bought",
    source=purchases,
    entities=[customer],
    aggregates=[
        Aggregate("*", "count", window="30d", name="purchases_30d"),
        Aggregate("*", "count", name="purchases"),
        Aggregate("quantity", "sum", window="90d", name="quantity_90d"),
        Aggregate("amount_usd", "sum", window="90d", name="spent_90d"),
        Aggregate("amount_usd", "sum", name="spent"),
        Aggregate("amount_usd", "mean", window="180d", offset="30d", name="mean_before"),
        Aggregate("amount_usd", "max", window="90d", name="largest_90d"),
        Aggregate("amount_usd", "last", name="last_amount"),
        Aggregate("quantity", "count_distinct", name="quantities"),
        Aggregate("quantity", "last_distinct(3)", window="365d", name="last_quantities"),
    ],
)
latest = FeatureView("latest", source=purchases, entities=[customer], ttl="120d",
                     features=["quantity"])
all_of_it = FeatureService("all_of_it", features=[bought, latest])
"""

MOMENTS = [
    datetime(1997, 4, 1, tzinfo=UTC),
    datetime(1997, 10, 17, 13, 30, tzinfo=UTC),
    datetime(1998, 6, 30, tzinfo=UTC),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    from penstock.features.feast_objects import compiled
    from penstock.features.store import apply, prepared_store

    root = tmp_path_factory.mktemp("cdnow")
    duckdb.sql(f"""
        COPY (SELECT customer_id, purchase_date::TIMESTAMP AS day, quantity,
                     amount_usd::DOUBLE AS amount_usd
              FROM read_csv('{CSV}')) TO '{root / "purchases.parquet"}' (FORMAT parquet)""")
    (root / "penstock.toml").write_text('[project]\nname = "cdnow"\n')
    (root / "features.py").write_text(FEATURES)
    made = open_project(root)
    import sys

    sys.modules.pop("features", None)
    apply(prepared_store(made), made, compiled(made.module("features"), root))
    yield made
    sys.modules.pop("features", None)
    sys.path.remove(str(root))


@pytest.fixture(scope="module")
def customers(project: Project) -> list[int]:
    """A hundred, the one with most purchases among them, and one who never bought."""
    rows = duckdb.sql(f"""
        SELECT customer_id FROM '{project.root / "purchases.parquet"}'
        GROUP BY ALL ORDER BY count(*) DESC, customer_id""").fetchall()
    return [*(row[0] for row in rows[::240]), 999_999]


@pytest.fixture(scope="module")
def truth(project: Project, customers: list[int]) -> dict[tuple[int, datetime], dict[str, Any]]:
    database = duckdb.connect()
    database.execute(f"""
        CREATE TABLE purchases AS
        SELECT *, row_number() OVER () AS row FROM '{project.root / "purchases.parquet"}'""")
    return {(c, t): by_sql(database, c, t) for c in customers for t in MOMENTS}


def by_sql(database: duckdb.DuckDBPyConnection, customer: int, t: datetime) -> dict[str, Any]:
    def ask(what: str, days: int | None = None, before: int = 0) -> Any:
        window = "" if days is None else f"AND day > TIMESTAMP '{t:%F %T}' - INTERVAL {days} DAY"
        query = f"""SELECT {what} FROM purchases WHERE customer_id = {customer} {window}
            AND day <= TIMESTAMP '{t:%F %T}' - INTERVAL {before} DAY"""
        return database.sql(query).fetchall()[0][0]

    recent, before = ask("list(amount_usd)", 90) or [], ask("list(amount_usd)", 210, 30) or []
    newest = ask("list(quantity ORDER BY day DESC, row DESC)", 365) or []
    return {
        "purchases_30d": ask("count(*)", 30),
        "purchases": ask("count(*)"),
        "quantity_90d": ask("coalesce(sum(quantity), 0)::BIGINT", 90),
        "spent_90d": math.fsum(recent),
        "spent": math.fsum(ask("list(amount_usd)") or []),
        "mean_before": math.fsum(before) / len(before) if before else None,
        "largest_90d": ask("max(amount_usd)", 90),
        "last_amount": ask("last(amount_usd ORDER BY day, row)"),
        "quantities": ask("count(DISTINCT quantity)"),
        "last_quantities": list(dict.fromkeys(newest))[:3] or None,
        "quantity": ask("last(quantity ORDER BY day, row)") if within(ask("max(day)"), t) else None,
    }


def within(day: datetime | None, t: datetime) -> bool:
    return day is not None and (t - day.replace(tzinfo=UTC)).total_seconds() <= 120 * 86_400


def test_training_vectors_are_those_of_plain_sql(
    project: Project, customers: list[int], truth: dict[tuple[int, datetime], dict[str, Any]]
) -> None:
    from penstock.features.store import open_store
    from penstock.features.training_set import historical_features

    store = open_store(project.root)
    asked = [(customer, t) for t in MOMENTS for customer in customers]
    table = pa.table(
        {"customer_id": [c for c, _ in asked], "event_timestamp": [t for _, t in asked]}
    )
    found = historical_features(store, store.get_feature_service("all_of_it"), table)
    assert found.to_pylist() == [truth[question] for question in asked]


def test_vectors_served_at_the_same_times_are_those_of_plain_sql(
    project: Project, customers: list[int], truth: dict[tuple[int, datetime], dict[str, Any]]
) -> None:
    """The store is filled as time goes by, each time with what had happened by then."""
    from penstock.features.store import open_store

    store = open_store(project.root)
    online = store._get_provider().online_store
    service = store.get_feature_service("all_of_it")
    start = datetime(1996, 12, 31, tzinfo=UTC)
    for t in MOMENTS:
        online.now = lambda t=t: int(t.timestamp()) * 10**9
        store.materialize(start, t)
        answer = store.get_online_features(
            features=service, entity_rows={"customer_id": customers}
        ).to_dict()
        found = [
            {name: answer[name][i] for name in truth[customer, t]}
            for i, customer in enumerate(customers)
        ]
        assert found == [truth[customer, t] for customer in customers]
        start = t
