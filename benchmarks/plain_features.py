"""The example's features without Penstock: plain Feast, and SQL for every moment asked about."""

from __future__ import annotations

from datetime import timedelta

import duckdb
import pyarrow as pa
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64

from penstock.records import DatasetVersion

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)

activity_rows = FileSource(
    name="activity",
    path="data/features/activity.parquet",
    timestamp_field="event_timestamp",
)
account_rows = FileSource(
    name="account",
    path="data/features/account.parquet",
    timestamp_field="event_timestamp",
)

activity = FeatureView(
    name="activity",
    description="How often, how recently and how long a customer visits",
    entities=[customer],
    ttl=timedelta(0),  # no limit, as this shop's past has an end; live data wants one
    schema=[
        Field(name="days_since_session", dtype=Float64),
        Field(name="sessions_7d", dtype=Int64),
        Field(name="sessions_30d", dtype=Int64),
        Field(name="sessions_90d", dtype=Int64),
        Field(name="session_trend", dtype=Float64, description="30 days against 90: 1 is steady"),
        Field(name="minutes_per_session_30d", dtype=Float64),
    ],
    source=activity_rows,
)

account = FeatureView(
    name="account",
    description="How long a customer has been with us, what they spend, whether they need help",
    entities=[customer],
    ttl=timedelta(0),
    schema=[
        Field(name="tenure_days", dtype=Float64),
        Field(name="sessions_total", dtype=Int64),
        Field(name="spend_total_usd", dtype=Float64),
        Field(name="spend_90d_usd", dtype=Float64),
        Field(name="purchases_90d", dtype=Int64),
        Field(name="support_30d", dtype=Int64),
        Field(name="support_90d", dtype=Int64),
    ],
    source=account_rows,
)

churn_v1 = FeatureService(name="churn_v1", features=[activity, account])


def labels(dataset: DatasetVersion) -> pa.Table:
    """Will the customer stay away for the next 30 days? One row per customer and month."""
    return _open(dataset).sql(LABELS).to_arrow_table()


def batch_sources(dataset: DatasetVersion) -> dict[str, pa.Table]:
    """The rows behind the sources above: what was known at every label time and at the end."""
    database = _open(dataset)
    return {
        "activity": database.sql(ACTIVITY).to_arrow_table(),
        "account": database.sql(ACCOUNT).to_arrow_table(),
    }


def _open(dataset: DatasetVersion) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect()
    events = database.read_parquet(dataset.path)
    # pandas often leaves nanoseconds, which DuckDB 2.0 cannot truncate to months.
    events.project("* REPLACE (event_time::TIMESTAMPTZ AS event_time)").create_view("events")
    database.execute(MOMENTS)
    return database


# A customer is asked about on the first of each month, with three months of data behind it and 30
# days ahead. `past` is what had happened by then. An `age` is in days: `age < 30` is (t - 30d, t].
# Decimals add up to the same sum in any order, so the same events give the same bytes.
MOMENTS = """
SET TimeZone = 'UTC';

CREATE TABLE customers AS
SELECT customer_id, min(event_time) AS joined FROM events GROUP BY customer_id;

CREATE TABLE period AS
SELECT date_trunc('month', min(event_time)) AS first_month,
       date_trunc('day', max(event_time)) + INTERVAL 1 DAY AS data_end
FROM events;

CREATE TABLE asked AS
SELECT customer_id, t
FROM (SELECT unnest(generate_series(first_month + INTERVAL 3 MONTH, data_end - INTERVAL 30 DAY,
                                    INTERVAL 1 MONTH)) AS t FROM period)
JOIN customers ON joined <= t;

CREATE VIEW past AS
SELECT customer_id, t, event_type AS type,
       minutes::DECIMAL(12, 2) AS minutes, amount_usd::DECIMAL(12, 2) AS usd,
       (epoch_us(t) - epoch_us(event_time)) / 86_400_000_000 AS age
FROM (FROM asked UNION SELECT customer_id, data_end FROM customers, period)
JOIN events USING (customer_id)
WHERE event_time <= t;
"""

LABELS = """
SELECT asked.customer_id, t AS event_timestamp,
       (next.event_time IS NULL OR next.event_time > t + INTERVAL 30 DAY)::INT AS churned
FROM asked
ASOF LEFT JOIN (FROM events WHERE event_type = 'session') AS next
  ON asked.customer_id = next.customer_id AND t < next.event_time
ORDER BY event_timestamp, customer_id
"""

ACTIVITY = """
SELECT customer_id, t AS event_timestamp,
       min(age) AS days_since_session,
       count(*) FILTER (age < 7) AS sessions_7d,
       count(*) FILTER (age < 30) AS sessions_30d,
       count(*) FILTER (age < 90) AS sessions_90d,
       3 * sessions_30d / nullif(sessions_90d, 0) AS session_trend,
       avg(minutes) FILTER (age < 30) AS minutes_per_session_30d
FROM past WHERE type = 'session'
GROUP BY ALL ORDER BY event_timestamp, customer_id
"""

ACCOUNT = """
SELECT customer_id, t AS event_timestamp,
       max(age) AS tenure_days,
       count(*) FILTER (type = 'session') AS sessions_total,
       coalesce(sum(usd), 0)::DOUBLE AS spend_total_usd,
       coalesce(sum(usd) FILTER (age < 90), 0)::DOUBLE AS spend_90d_usd,
       count(*) FILTER (type = 'purchase' AND age < 90) AS purchases_90d,
       count(*) FILTER (type = 'support' AND age < 30) AS support_30d,
       count(*) FILTER (type = 'support' AND age < 90) AS support_90d
FROM past
GROUP BY ALL ORDER BY event_timestamp, customer_id
"""
