"""Feast's own online stores by setting: values as they were when they were materialised."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from online_backends import redis_url  # noqa: F401  (a fixture)

from penstock.project import open_project

pytestmark = pytest.mark.slow

NOW = datetime.now(UTC).replace(microsecond=0)
FEATURES = """
from penstock.features import Aggregate, BatchSource, Entity, FeatureService, FeatureView

shop = Entity("shop")
sales = BatchSource("sales", path="sales.parquet", timestamp="t")
windows = FeatureView("windows", source=sales, entities=[shop], aggregates=[
    Aggregate("usd", "sum", window="1d"), Aggregate("usd", "sum")])
latest = FeatureView("latest", source=sales, entities=[shop], features=["usd"])
service = FeatureService("service", features=[windows, latest])
"""


def store_with(root: Path, settings: str) -> Any:
    from penstock.features.feast_objects import compiled
    from penstock.features.store import apply, prepared_store

    times = [NOW - timedelta(hours=hours) for hours in (60, 20, 2, 1)]
    table = pa.table({"shop": [1, 1, 1, 2], "t": times, "usd": [1.0, 2.0, 4.0, 8.0]})
    pq.write_table(table, root / "sales.parquet")
    (root / "features.py").write_text(FEATURES)
    (root / "penstock.toml").write_text(f'[project]\nname = "shop"\n[features]\n{settings}\n')
    sys.modules.pop("features", None)
    project = open_project(root)
    store = prepared_store(project)
    try:
        apply(store, project, compiled(project.module("features"), root))
    finally:
        sys.modules.pop("features", None)
        sys.path.remove(str(root))
    return store


@pytest.mark.parametrize("kind", ["feast-sqlite", "feast-redis"])
def test_windows_stand_as_they_were_when_they_were_materialised(
    kind: str,
    tmp_path: Path,
    redis_url: str,  # noqa: F811
) -> None:
    redis = f'redis_url = "{redis_url}"'
    store = store_with(tmp_path, f'online_store = "{kind}"\n{redis}')
    store.materialize(NOW - timedelta(days=9), NOW)
    answer = store.get_online_features(
        features=store.get_feature_service("service"), entity_rows={"shop": [1, 2, 3]}
    ).to_dict()
    assert answer["usd_sum_1d"] == [6.0, 8.0, None]
    assert answer["usd_sum_lifetime"] == [7.0, 8.0, None]
    assert answer["usd"] == [4.0, 8.0, None]
