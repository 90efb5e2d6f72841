# ruff: noqa: F401, F811 - pytest finds fixtures by the names they are imported under
"""Every store and engine against the definition of a feature, read row by row.

Examples hold ties, nulls, late and repeated rows, unsorted files, times with and without a zone, a
leap day, edges of windows and of ttl to the microsecond, and an entity with half of all events.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import FeatureStore
from feature_worlds import (
    BEGIN,
    SERVICE,
    TIMES,
    Question,
    Shop,
    World,
    differences,
    moment,
    moments,
    pushed_frame,
    worlds,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from online_backends import Settings, dynamodb_url, redis_url, settings_of

from penstock.features.facts import facts_of
from penstock.features.history import Asked, features_at

pytestmark = pytest.mark.slow

RELAXED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
NOWHERE: Settings = {"type": "sqlite", "path": "online.db"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    """A new folder at each turn of a property test."""
    return (tmp_path / str(number) for number in itertools.count())


def check(shop: Shop, world: World, found: Mapping[str, Any]) -> None:
    rows = {name: world.rows_of(view) for name, view in shop.definitions.items()}
    assert differences(found, shop.definitions.values(), rows, world.asked) == []


@settings(max_examples=60, deadline=None, suppress_health_check=RELAXED)
@given(world=worlds(), time=st.sampled_from(TIMES), framed=st.booleans())
def test_history_through_feast_is_the_definition(
    shop: Shop, folders: Iterator[Path], world: World, time: pa.DataType, framed: bool
) -> None:
    """One row a question, in the order of the questions, asked in Arrow or pandas."""
    folder = next(folders)
    world.write(folder)
    store = shop.opened(folder, NOWHERE)
    asked = world.questions(time)
    frame = asked.to_pandas(types_mapper={pa.int64(): "Int64"}.get) if framed else asked
    job = store.get_historical_features(
        entity_df=frame, features=store.get_feature_service(SERVICE), full_feature_names=True
    )
    found = job.to_arrow()
    assert found.select(["shop", "name"]).to_pylist() == asked.select(["shop", "name"]).to_pylist()
    check(shop, world, found.to_pydict())


