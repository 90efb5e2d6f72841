"""What a training set may know, on small Feast stores, against the definition read row by row:
the latest fact of the same key, no later than the row and no older than the TTL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import DataError
from penstock.features.online import OnlineFeatures
from penstock.features.store import prepared_store
from penstock.features.training_set import features_as_of, features_by_feast, point_in_time_join
from penstock.project import open_project

pytestmark = pytest.mark.slow

T = datetime(2025, 6, 1, 12, tzinfo=UTC)
HOUR, DAY, MICROSECOND = timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)
INT, TIME, CREATED = pa.int64(), pa.timestamp("us", "UTC"), "created"


@dataclass(frozen=True)
class View:
    """A feature view of one feature, and the rows of its source in file order."""

    name: str
    keys: dict[str, pa.DataType]
    rows: Sequence[tuple[Any, ...]]  # the keys, event time, value, and created where it is declared
    ttl: timedelta = timedelta(0)
    value: pa.DataType = INT
    created: bool = False

    @property
    def feature(self) -> str:
        return f"{self.name}_value"

    @property
    def schema(self) -> pa.Schema:
        created = [(CREATED, TIME)] if self.created else []
        return pa.schema(
            [*self.keys.items(), ("happened", TIME), (self.feature, self.value), *created]
        )

    def known(self, key: tuple[Any, ...], at: datetime) -> Any:
        """The definition."""
        found: list[tuple[datetime, datetime, int, Any]] = []
        for position, row in enumerate(self.rows):
            *of, happened, value = row[: len(self.keys) + 2]
            created = row[-1] if self.created else happened
            fresh = not self.ttl or happened >= at - self.ttl
            exists = happened <= at and created <= at
            if tuple(of) == key and None not in key and fresh and exists:
                found.append((happened, created, position, value))
        return max(found, key=lambda fact: fact[:3])[3] if found else None


def shop_store(root: Path) -> Any:
    """The feature store of an empty project."""
    (root / "penstock.toml").write_text('[project]\nname = "shop"\n')
    return prepared_store(open_project(root))


class Shop:
    """A Feast store with some views and a service of all of them."""

    def __init__(self, root: Path, *views: View, apply: bool = True) -> None:
        from feast import Entity, FeatureService, FeatureView, Field, FileSource
        from feast.type_map import pa_to_feast_value_type as feast_type
        from feast.types import from_value_type

        self.root, self.views = root, views
        for view in views:
            self.write(view)
        kinds = {key: kind for view in views for key, kind in view.keys.items()}
        entities = {
            key: Entity(name=key, join_keys=[key], value_type=feast_type(str(kind)))
            for key, kind in kinds.items()
        }
        declared = [
            FeatureView(
                name=view.name,
                entities=[entities[key] for key in view.keys],
                ttl=view.ttl,
                schema=[
                    Field(name=view.feature, dtype=from_value_type(feast_type(str(view.value))))
                ],
                source=FileSource(
                    name=f"{view.name}_rows",
                    path=str(root / f"{view.name}.parquet"),
                    timestamp_field="happened",
                    created_timestamp_column=CREATED if view.created else "",
                ),
            )
            for view in views
        ]
        self.service = FeatureService(name="all", features=declared)
        self.store = shop_store(root)
        self.store.apply([*entities.values(), *declared, self.service])

    def write(self, view: View) -> None:
        columns = list(zip(*view.rows, strict=True)) or [()] * len(view.schema)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, view.schema, strict=True)]
        pq.write_table(pa.table(arrays, schema=view.schema), self.root / f"{view.name}.parquet")

    def join(self, labels: pa.Table) -> pa.Table:
        return point_in_time_join(self.store, self.service, labels, "at")

    def expected(self, labels: pa.Table) -> dict[str, list[Any]]:
        rows = labels.to_pylist()
        return {
            view.feature: [
                view.known(tuple(row[key] for key in view.keys), row["at"]) for row in rows
            ]
            for view in self.views
        }

    def check(self, labels: pa.Table) -> pa.Table:
        """One row per label row, in order, with exactly what the definition says."""
        joined = self.join(labels)
        assert joined.select(labels.column_names).equals(labels)
        features = joined.select([view.feature for view in self.views])
        assert features.to_pydict() == self.expected(labels)
        return joined


def labels(keys: dict[str, pa.DataType], *rows: tuple[Any, ...]) -> pa.Table:
    """Rows of keys and a label time; the label numbers them."""
    schema = pa.schema([*keys.items(), ("at", TIME)])
    columns = [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), schema, strict=True)]
    return pa.table(columns, schema=schema).append_column("label", pa.array(range(len(rows))))


CUSTOMER = {"customer_id": pa.int64()}
BASKET = {"customer_id": pa.int64(), "shop": pa.string()}


def test_a_fact_counts_from_its_own_moment_on_and_not_a_microsecond_earlier(tmp_path: Path) -> None:
    shop = Shop(tmp_path, View("visits", CUSTOMER, [(1, T, 10), (1, T + DAY, 11)]))
    asked = labels(CUSTOMER, (1, T - MICROSECOND), (1, T), (1, T + DAY - MICROSECOND), (1, T + DAY))

    joined = shop.check(asked)

    assert joined["visits_value"].to_pylist() == [None, 10, 10, 11]


def test_a_fact_holds_up_to_its_ttl_and_not_a_microsecond_longer(tmp_path: Path) -> None:
    shop = Shop(tmp_path, View("visits", CUSTOMER, [(1, T, 10)], ttl=DAY))
    asked = labels(CUSTOMER, (1, T + DAY), (1, T + DAY + MICROSECOND))

    assert shop.check(asked)["visits_value"].to_pylist() == [10, None]


def test_every_label_row_stays_in_its_place_whatever_is_known_of_it(tmp_path: Path) -> None:
    """Later times first, equal rows three times, customers never heard of."""
    shop = Shop(tmp_path, View("visits", CUSTOMER, [(1, T, 10), (2, T, 20), (1, T + DAY, 11)]))
    rows = [(2, T + DAY), (9, T), (1, T + DAY), (1, T), (1, T + DAY), (3, T), (1, T + DAY)]

    joined = shop.check(labels(CUSTOMER, *rows))

    assert joined["visits_value"].to_pylist() == [20, None, 11, 10, 11, None, 11]


def test_what_one_view_does_not_know_costs_the_row_nothing_of_another(tmp_path: Path) -> None:
    """In the first view all facts come too late, in the second they are expired."""
    shop = Shop(
        tmp_path,
        View("late", CUSTOMER, [(1, T + DAY, 1)]),
        View("stale", CUSTOMER, [(1, T - DAY, 2)], ttl=HOUR),
        View("visits", CUSTOMER, [(1, T - DAY, 3)]),
    )

    (row,) = shop.check(labels(CUSTOMER, (1, T))).to_pylist()

    assert (row["late_value"], row["stale_value"], row["visits_value"]) == (None, None, 3)


def test_of_facts_of_the_same_moment_the_last_in_the_file_wins(tmp_path: Path) -> None:
    """Thirty of them: sorts that are not stable are stable on a few."""
    facts = [(key, T - n % 3 * DAY, 100 * key + n) for n in range(90) for key in (1, 2)]
    shop = Shop(tmp_path, View("visits", CUSTOMER, facts))

    joined = shop.check(labels(CUSTOMER, (1, T), (2, T), (2, T - DAY)))

    assert joined["visits_value"].to_pylist() == [187, 287, 288]


def test_the_row_created_last_wins_once_it_exists(tmp_path: Path) -> None:
    """A correction is not known before it came, and an old fact does not undo a new one."""
    facts = [
        (1, T, 10, T + HOUR),  # known an hour later
        (1, T, 11, T + 3 * HOUR),  # corrects it
        (1, T, 12, T + 2 * HOUR),  # an earlier correction, later in the file
        (1, T - DAY, 9, T + 4 * HOUR),  # the day before, reported last
    ]
    shop = Shop(tmp_path, View("visits", CUSTOMER, facts, created=True))

    joined = shop.check(labels(CUSTOMER, *((1, T + n * HOUR) for n in range(5))))

    assert joined["visits_value"].to_pylist() == [None, 10, 12, 11, 11]


def test_a_null_key_matches_nothing_not_even_a_null(tmp_path: Path) -> None:
    facts = [(1, "a", T, 1), (None, "a", T, 2), (1, None, T, 3), (None, None, T, 4)]
    shop = Shop(tmp_path, View("sales", BASKET, facts))
    asked = labels(BASKET, (1, "a", T), (None, "a", T), (1, None, T), (None, None, T))

    assert shop.check(asked)["sales_value"].to_pylist() == [1, None, None, None]


def test_a_composite_key_matches_as_a_whole_beside_a_view_of_a_part_of_it(tmp_path: Path) -> None:
    """The view of the part comes first: it must not merge the rows that it cannot tell apart."""
    shop = Shop(
        tmp_path,
        View("visits", CUSTOMER, [(1, T, 5)]),
        View("sales", BASKET, [(1, "a", T, 1), (1, "b", T, 2), (2, "a", T, 3)]),
    )
    asked = labels(BASKET, (1, "a", T), (1, "b", T), (2, "a", T), (2, "b", T))

    joined = shop.check(asked)

    assert joined["sales_value"].to_pylist() == [1, 2, 3, None]
    assert joined["visits_value"].to_pylist() == [5, 5, None, None]


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (pa.int64(), 2**53, 2**53 + 1),  # the same number, as a float
        (pa.string(), "007", "7"),
    ],
    ids=["int", "string"],
)
def test_keys_are_compared_exactly(tmp_path: Path, kind: Any, one: Any, other: Any) -> None:
    key = {"customer_id": kind}
    shop = Shop(tmp_path, View("visits", key, [(one, T, 1)]))

    joined = shop.check(labels(key, (one, T), (other, T), (None, T)))

    assert joined["visits_value"].to_pylist() == [1, None, None]


@pytest.mark.parametrize(
    ("kind", "value"),
    [(pa.int64(), 2**53 + 1), (pa.bool_(), True), (pa.string(), "x"), (pa.float64(), 0.5)],
    ids=str,
)
def test_a_feature_keeps_its_type_where_some_values_are_unknown(
    tmp_path: Path, kind: pa.DataType, value: Any
) -> None:
    shop = Shop(tmp_path, View("visits", CUSTOMER, [(1, T, value)], value=kind))

    joined = shop.check(labels(CUSTOMER, (1, T), (2, T)))

    assert joined.schema.field("visits_value").type == kind


def test_nothing_known_at_all_still_gives_every_row(tmp_path: Path) -> None:
    shop = Shop(tmp_path, View("visits", CUSTOMER, []))

    joined = shop.check(labels(CUSTOMER, (1, T), (2, T)))

    assert joined["visits_value"].to_pylist() == [None, None]


def test_keys_of_another_type_than_the_source_are_named(tmp_path: Path) -> None:
    shop = Shop(tmp_path, View("visits", CUSTOMER, [(1, T, 1)]))
    with pytest.raises(DataError, match=r"customer_id.*string.*int64"):
        shop.join(labels({"customer_id": pa.string()}, ("1", T)))


def test_a_feature_may_not_share_its_name_with_a_column_of_the_labels(tmp_path: Path) -> None:
    shop = Shop(tmp_path, View("visits", CUSTOMER, [(1, T, 1)]))
    asked = labels(CUSTOMER, (1, T)).rename_columns(["customer_id", "at", "visits_value"])
    with pytest.raises(DataError, match="'visits_value' is a column of the label rows"):
        shop.join(asked)


def test_features_as_of_a_moment_follow_the_order_of_the_entities(tmp_path: Path) -> None:
    view = View("visits", CUSTOMER, [(1, T, 10), (2, T, 20), (1, T + DAY, 11)])
    Shop(tmp_path, view)
    entities = pd.DataFrame({"customer_id": [2, 7, 1, 2]})

    found = features_as_of(tmp_path, "all", entities, T + HOUR)

    expected = [view.known((key,), T + HOUR) for key in entities.customer_id]
    assert [None if pd.isna(v) else v for v in found["visits_value"]] == expected
    assert expected == [20, None, 10, 20]


def test_times_of_any_unit_and_without_a_zone_are_utc(tmp_path: Path) -> None:
    shop = Shop(tmp_path, View("visits", CUSTOMER, [(1, T, 10)]))
    asked = labels(CUSTOMER, (1, T - MICROSECOND), (1, T))
    for kind in (pa.timestamp("ns"), pa.timestamp("s"), pa.timestamp("ms", "America/New_York")):
        rows = {"customer_id": [1], "happened": pa.array([T]).cast(kind), "visits_value": [10]}
        pq.write_table(pa.table(rows), tmp_path / "visits.parquet")

        assert shop.join(asked)["visits_value"].to_pylist() == [None, 10]


def test_names_of_the_file_of_the_view_and_of_the_label_rows_may_differ(tmp_path: Path) -> None:
    """Feast's field_mapping renames the file's columns, a join_key_map those of the label rows."""
    from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
    from feast.types import Int64

    rows = {"id": [1, 2], "ts": pa.array([T, T], TIME), "n": [10, 20]}
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    customer = Entity(name="c", join_keys=["customer_id"], value_type=ValueType.INT64)
    source = FileSource(
        name="rows",
        path=str(tmp_path / "rows.parquet"),
        timestamp_field="happened",
        field_mapping={"id": "customer_id", "ts": "happened", "n": "visits"},
    )
    view = FeatureView(
        name="visits",
        entities=[customer],
        ttl=timedelta(0),
        schema=[Field(name="visits", dtype=Int64)],
        source=source,
    )
    referrer = view.with_join_key_map({"customer_id": "referrer_id"})
    service = FeatureService(name="all", features=[referrer])
    store = shop_store(tmp_path)
    store.apply([customer, view, service])
    asked = labels({"customer_id": INT, "referrer_id": INT}, (1, 2, T), (2, None, T), (1, 1, T))

    joined = point_in_time_join(store, service, asked, "at")

    assert joined["visits"].to_pylist() == [20, None, 10]


def test_a_view_without_entities_tells_every_row_the_same(tmp_path: Path) -> None:
    shop = Shop(tmp_path, View("rate", {}, [(T, 3), (T + DAY, 4)]))
    asked = labels(CUSTOMER, (1, T + DAY), (2, T), (None, T), (1, T - DAY))

    assert shop.join(asked)["rate_value"].to_pylist() == [4, 3, 3, None]


@pytest.mark.parametrize("missing", ["file", "column"])
def test_a_source_that_lacks_what_it_declares_is_named(tmp_path: Path, missing: str) -> None:
    shop = Shop(tmp_path, View("visits", CUSTOMER, [(1, T, 1)]))
    file = tmp_path / "visits.parquet"
    if missing == "file":
        file.unlink()
    else:
        pq.write_table(pq.read_table(file).drop_columns("visits_value"), file)

    with pytest.raises(DataError, match=r"'visits_rows'.*visits"):
        shop.join(labels(CUSTOMER, (1, T)))


def test_a_warehouse_that_drops_repeats_and_reorders_rows_still_gives_one_a_row(
    tmp_path: Path,
) -> None:
    """Views on a warehouse are joined by Feast; its dask engine stands in for a careless one."""
    view = View("visits", CUSTOMER, [(1, T, 10), (2, T, 20), (1, T + DAY, 11)], ttl=DAY)
    shop = Shop(tmp_path, view)
    asked = labels(
        CUSTOMER, (2, T), (9, T), (1, T + DAY), (1, T), (1, T + DAY), (None, T), (2, T + 3 * DAY)
    )

    found = features_by_feast(
        shop.store,
        shop.service,
        asked.select(["customer_id", "at"]).rename_columns(["customer_id", "event_timestamp"]),
    )

    values = found["visits_value"].to_pylist()
    assert values == shop.expected(asked)["visits_value"] == [20, None, 11, 10, 11, None, None]


def check_online(shop: Shop, at: datetime) -> None:
    """What is served at a moment is what the offline side knows then."""
    entities = {"customer_id": [1, 2, 3]}
    names = [view.feature for view in shop.views]
    shop.store.materialize(T - 99 * DAY, at)

    served = OnlineFeatures(str(shop.root), "all", names, ["customer_id"]).read(entities)

    known = features_as_of(shop.root, "all", pd.DataFrame(entities), at)
    pd.testing.assert_frame_equal(pd.DataFrame(served.columns), known, check_dtype=False)


def test_online_equals_offline(tmp_path: Path) -> None:
    facts = [(1, T, 10, T + HOUR), (1, T, 11, T + 2 * HOUR), (1, T - DAY, 9, T), (2, T, 20, T)]
    check_online(Shop(tmp_path, View("visits", CUSTOMER, facts, created=True)), T + 2 * HOUR)


def test_online_expires_as_offline_does(tmp_path: Path) -> None:
    check_online(Shop(tmp_path, View("visits", CUSTOMER, [(1, T - DAY, 10)], ttl=HOUR)), T)


def test_online_takes_the_last_of_equal_moments_as_offline_does(tmp_path: Path) -> None:
    facts = [(key, T - n % 3 * DAY, 1000 * key + n) for n in range(300) for key in (1, 2)]
    check_online(Shop(tmp_path, View("visits", CUSTOMER, facts)), T)


MOMENTS = st.sampled_from([T + n * HOUR for n in range(5)])
IDS, SHOPS = st.sampled_from([1, 2, None]), st.sampled_from(["a", "b", None])
FACT = st.tuples(IDS, MOMENTS, st.integers(0, 99), MOMENTS)
SALE = st.tuples(IDS, SHOPS, MOMENTS, st.integers(0, 99))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    root = tmp_path_factory.mktemp("shop")
    return Shop(
        root,
        View("visits", CUSTOMER, [], ttl=2 * HOUR, created=True),
        View("sales", BASKET, []),
    )


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    visits=st.lists(FACT, max_size=25),
    sales=st.lists(SALE, max_size=25),
    asked=st.lists(st.tuples(IDS, SHOPS, MOMENTS), min_size=1, max_size=12),
)
def test_the_join_is_the_definition(
    shop: Shop, visits: list[Any], sales: list[Any], asked: list[Any]
) -> None:
    """Few keys and few moments: ties, boundaries, repetitions and nulls in every example."""
    shop.views = (
        View("visits", CUSTOMER, visits, ttl=2 * HOUR, created=True),
        View("sales", BASKET, sales),
    )
    for view in shop.views:
        shop.write(view)
    shop.check(labels(BASKET, *asked))
