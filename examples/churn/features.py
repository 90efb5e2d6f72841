"""What the model knows of a customer, declared once, and what it has to foretell.

A training row sees each window as it stood at its label time; the endpoint sees it as it stands
now. Nothing here says how either is computed.
"""

from __future__ import annotations

import duckdb
import pyarrow as pa
from penstock.features import (
    Aggregate,
    BatchSource,
    Entity,
    FeatureService,
    FeatureView,
    batch_feature_view,
)
from penstock.records import DatasetVersion

customer = Entity("customer", join_keys=["customer_id"])

events = BatchSource(
    "events",
    path="data/events.parquet",
    timestamp="event_time",
    created="created_at",  # some arrive days late: until then, nobody knew
)

VISITS = ("3d", "7d", "14d", "30d", "90d")

activity = FeatureView(
    "activity",
    description="How often, how recently and how long a customer visits",
    source=events,
    entities=[customer],
    aggregates=[
        *(Aggregate("minutes", "count", window=w, name=f"sessions_{w}") for w in VISITS),
        Aggregate("minutes", "mean", window="30d", name="minutes_per_session_30d"),
        Aggregate("minutes", "count", name="sessions_total"),
    ],
    expected_freshness="2d",
    owner="customer-analytics",
)


@batch_feature_view(
    source=events,
    entities=[customer],
    aggregates=[
        Aggregate("amount_usd", "sum", name="spend_total_usd"),
        Aggregate("amount_usd", "sum", window="90d", name="spend_90d_usd"),
        Aggregate("amount_usd", "count", window="90d", name="purchases_90d"),
        Aggregate("question", "count", window="14d", name="support_14d"),
        Aggregate("question", "count", window="30d", name="support_30d"),
        Aggregate("question", "count", window="90d", name="support_90d"),
    ],
    expected_freshness="2d",
    owner="customer-analytics",
)
def account(events: str) -> str:
    """What a customer spends, and whether they need help"""
    return f"""
        SELECT customer_id, event_time, created_at, amount_usd,
               CASE WHEN event_type = 'support' THEN 1 END AS question
        FROM {events}
    """


churn_v1 = FeatureService("churn_v1", features=[activity, account])


def labels(dataset: DatasetVersion) -> pa.Table:
    """Will the customer stay away for the next 30 days? One row per customer and month."""
    database = duckdb.connect()
    events = database.read_parquet(dataset.path)
    # pandas often leaves nanoseconds, which DuckDB 2.0 cannot truncate to months.
    times = ", ".join(f"{name}::TIMESTAMPTZ AS {name}" for name in ("event_time", "created_at"))
    events.project(f"* REPLACE ({times})").create_view("events")
    database.execute("SET TimeZone = 'UTC'")
    return database.sql(LABELS).to_arrow_table()


# A customer is asked about on the first of each month, from when a visit of theirs is known, with
# three months of data behind it and 30 days ahead.
LABELS = """
WITH period AS (
    SELECT date_trunc('month', min(event_time)) AS first_month,
           date_trunc('day', max(event_time)) + INTERVAL 1 DAY AS data_end
    FROM events
), asked AS (
    SELECT customer_id, t
    FROM (SELECT unnest(generate_series(first_month + INTERVAL 3 MONTH,
                                        data_end - INTERVAL 30 DAY, INTERVAL 1 MONTH)) AS t
          FROM period)
    JOIN (SELECT customer_id, min(created_at) AS known
          FROM events WHERE event_type = 'session' GROUP BY customer_id)
      ON known <= t
)
SELECT asked.customer_id, t AS event_timestamp,
       (next.event_time IS NULL OR next.event_time > t + INTERVAL 30 DAY)::INT AS churned
FROM asked
ASOF LEFT JOIN (FROM events WHERE event_type = 'session') AS next
  ON asked.customer_id = next.customer_id AND t < next.event_time
ORDER BY event_timestamp, customer_id
"""
