"""What is known of a customer at each label date and at the end of the data; and what came next.

A window of w days at t is (t - w, t]; the label's is (t, t + 90 d].
"""

from __future__ import annotations

from datetime import timedelta

import duckdb
import pyarrow as pa
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64

from penstock.records import DatasetVersion

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)

recent_rows = FileSource(
    name="recent", path="data/features/recent.parquet", timestamp_field="event_timestamp"
)
lifetime_rows = FileSource(
    name="lifetime", path="data/features/lifetime.parquet", timestamp_field="event_timestamp"
)

recent = FeatureView(
    name="recent",
    entities=[customer],
    ttl=timedelta(0),
    schema=[
        Field(name="purchases_30d", dtype=Int64),
        Field(name="quantity_30d", dtype=Int64),
        Field(name="amount_usd_30d", dtype=Float64),
        Field(name="purchases_90d", dtype=Int64),
        Field(name="quantity_90d", dtype=Int64),
        Field(name="amount_usd_90d", dtype=Float64),
    ],
    source=recent_rows,
)

lifetime = FeatureView(
    name="lifetime",
    entities=[customer],
    ttl=timedelta(0),
    schema=[
        Field(name="purchases", dtype=Int64),
        Field(name="quantity", dtype=Int64),
        Field(name="amount_usd", dtype=Float64),
        Field(name="recency_days", dtype=Int64),
        Field(name="tenure_days", dtype=Int64),
    ],
    source=lifetime_rows,
)

repurchase_v1 = FeatureService(name="repurchase_v1", features=[recent, lifetime])


def labels(dataset: DatasetVersion) -> pa.Table:
    """One row per label date and customer who had bought by then."""
    return _open(dataset).sql(LABELS).to_arrow_table()


def batch_sources(dataset: DatasetVersion) -> dict[str, pa.Table]:
    database = _open(dataset)
    return {
        "recent": database.sql(RECENT).to_arrow_table(),
        "lifetime": database.sql(LIFETIME).to_arrow_table(),
    }


def _open(dataset: DatasetVersion) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect()
    database.read_parquet(dataset.path).create_view("rows")
    database.execute(MOMENTS)
    return database


# `past` is what had been bought by the moment t, `age` days before it.
MOMENTS = """
SET TimeZone = 'UTC';

CREATE TABLE purchases AS
SELECT customer_id, purchased_at::TIMESTAMPTZ AS purchased_at, quantity,
       amount_usd::DECIMAL(12, 2) AS amount_usd
FROM rows;

CREATE TABLE label_dates AS
SELECT unnest(generate_series(TIMESTAMPTZ '1997-04-01', max(purchased_at) - INTERVAL 90 DAY,
                              INTERVAL 1 MONTH)) AS t
FROM purchases;

CREATE VIEW past AS
SELECT customer_id, t, quantity, amount_usd, date_diff('day', purchased_at, t) AS age
FROM (FROM label_dates UNION SELECT max(purchased_at) FROM purchases)
JOIN purchases ON purchased_at <= t;
"""

LABELS = """
SELECT customer_id, t AS event_timestamp,
       max((purchased_at > t AND purchased_at <= t + INTERVAL 90 DAY)::INT) AS buys_again
FROM label_dates, purchases
GROUP BY ALL HAVING min(purchased_at) <= t
ORDER BY event_timestamp, customer_id
"""

RECENT = """
SELECT customer_id, t AS event_timestamp,
       count(*) FILTER (age < 30) AS purchases_30d,
       coalesce(sum(quantity) FILTER (age < 30), 0)::BIGINT AS quantity_30d,
       coalesce(sum(amount_usd) FILTER (age < 30), 0)::DOUBLE AS amount_usd_30d,
       count(*) FILTER (age < 90) AS purchases_90d,
       coalesce(sum(quantity) FILTER (age < 90), 0)::BIGINT AS quantity_90d,
       coalesce(sum(amount_usd) FILTER (age < 90), 0)::DOUBLE AS amount_usd_90d
FROM past
GROUP BY ALL ORDER BY event_timestamp, customer_id
"""

LIFETIME = """
SELECT customer_id, t AS event_timestamp,
       count(*) AS purchases,
       sum(quantity)::BIGINT AS quantity,
       sum(amount_usd)::DOUBLE AS amount_usd,
       min(age) AS recency_days,
       max(age) AS tenure_days
FROM past
GROUP BY ALL ORDER BY event_timestamp, customer_id
"""
