"""`penstock features …` as it is typed: what it prints and leaves, and how it ends on bad input."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from penstock.cli.main import run

pytestmark = pytest.mark.slow

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FEATURES = """
from penstock.features import Aggregate, BatchSource, Entity, FeatureService, FeatureView

customer = Entity("customer", join_keys=["customer_id"])
orders = BatchSource("orders", path="orders", timestamp="ordered_at", created="loaded_at")
spending = FeatureView(
    "spending",
    source=orders,
    entities=[customer],
    aggregates=[
        Aggregate("usd", "sum", window="7d"),
        Aggregate("*", "count", window="2d", name="orders_2d"),
    ],
    owner="growth",
    description="What a customer spends",
    expected_freshness="30d",
)
membership = FeatureView(
    "membership",
    source=orders,
    entities=[customer],
    features=["plan"],
    ttl="30d",
    expected_freshness="30d",
)
unused = FeatureView("unused", source=orders, entities=[customer], features=["usd"])
shop_v1 = FeatureService("shop_v1", features=[spending, membership])
"""
SCHEMA = pa.schema(
    {
        "customer_id": pa.int64(),
        "ordered_at": pa.timestamp("us", "UTC"),
        "loaded_at": pa.timestamp("us", "UTC"),
        "usd": pa.float64(),
        "plan": pa.string(),
    }
)


class Answer(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shop:
    """A project, and a user who types in it."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Answer:
        """`penstock features …` in a process that has imported nothing of a project."""
        self._capsys.readouterr()
        try:
            status = run(["features", *arguments, "--project", str(self.root)])
        finally:
            forget(self.root)
        return Answer(status, *self._capsys.readouterr())

    def done(self, *arguments: str) -> Answer:
        answer = self(*arguments)
        assert answer.status == 0, answer.err
        return answer

    def refused(self, *arguments: str) -> str:
        """The one message of a command that ends with a PenstockError, and its hint."""
        answer = self(*arguments)
        assert answer.status in (1, 2), answer
        told, remedy = answer.err.strip().splitlines()[-2:]
        assert told.startswith("error: ")
        assert remedy.startswith("  → ")
        return f"{told}\n{remedy}"

    def edit(self, old: str, new: str) -> None:
        text = (self.root / "features.py").read_text()
        assert old in text
        (self.root / "features.py").write_text(text.replace(old, new))

    def write(self, name: str, *rows: tuple[Any, ...], schema: pa.Schema = SCHEMA) -> None:
        """A file of the source: customer, hours ago that it happened and was loaded, usd, plan."""
        made = [(c, NOW - h * HOUR, NOW - loaded * HOUR, *rest) for c, h, loaded, *rest in rows]
        columns = list(zip(*made, strict=True)) or [()] * len(schema)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
        pq.write_table(pa.table(arrays, schema=schema), self.root / "orders" / f"{name}.parquet")

    def served(self, customer: Any = 1, **request: Any) -> dict[str, Any]:
        from penstock.features.store import open_store

        store = open_store(self.root)
        service = store.get_feature_service("shop_v1")
        asked = {"customer_id": [customer]} | {name: [value] for name, value in request.items()}
        answer = store.get_online_features(service, asked).to_dict()
        return {name: values[0] for name, values in answer.items() if name not in asked}

    def lose(self) -> None:
        """The online store. A reader finds out within a tenth of a second."""
        shutil.rmtree(self.root / ".penstock" / "feast" / "online")
        late = time.monotonic() + 10
        while any(v is not None for v in self.served().values()) and time.monotonic() < late:
            pass


def forget(root: Path) -> None:
    sys.modules.pop("features", None)
    sys.path[:] = [path for path in sys.path if path != str(root)]


ORDERS = [  # customer, hours ago that it happened and was loaded, usd, plan
    (1, 100, 100, 1.0, "basic"),
    (2, 30, 30, 5.0, "basic"),
    (1, 20, 20, 2.0, "basic"),
    (1, 10, 10, 4.0, "plus"),
]
SERVED = {"usd_sum_7d": 7.0, "orders_2d": 2, "plan": "plus"}
UNFILLED = {"usd_sum_7d": None, "orders_2d": None}  # windows of which the store lacks events


@pytest.fixture
def declared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    """Features that have not been applied."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # which is not told from an edit by time
    (tmp_path / "orders").mkdir()
    (tmp_path / "penstock.toml").write_text('[project]\nname = "shop"\n')
    (tmp_path / "features.py").write_text(FEATURES)
    shop = Shop(tmp_path, capsys)
    shop.write("1", *ORDERS[:2])
    shop.write("2", *ORDERS[2:])
    yield shop
    forget(tmp_path)


@pytest.fixture
def shop(declared: Shop) -> Shop:
    declared.done("apply")
    return declared


# What there is


def test_before_anything_is_applied_it_is_said_what_to_do(declared: Shop) -> None:
    for command in ("list", "freshness", "materialize", "show spending", "skew"):
        assert "have not been applied yet" in (told := declared.refused(*command.split()))
        assert "`penstock features apply`" in told


def test_views_are_listed(shop: Shop) -> None:
    printed = shop.done("list").out
    lines = {line.split()[0]: line for line in printed.splitlines()[1:] if line}
    assert set(lines) == {"spending", "membership", "unused"}
    for word in ("customer_id", "2", "orders", "growth", "shop_v1", "never"):
        assert word in lines["spending"]
    listed = {view["name"]: view for view in shop.done("list", "--json").json}
    assert listed["spending"]["services"] == ["shop_v1"]
    assert listed["unused"]["services"] == []
    assert listed["membership"]["materialised_until"] is None


def test_a_view_is_shown_in_words(shop: Shop) -> None:
    printed = shop.done("show", "spending").out
    for words in (
        "What a customer spends",
        "customer_id: int64",
        "sum of usd, 7d",
        "count of rows",
    ):
        assert words in printed
    shown = shop.done("show", "spending", "--json").json
    assert [a["name"] for a in shown["aggregates"]] == ["usd_sum_7d", "orders_2d"]
    assert len(shown["digest"]) == 64


def test_lineage_goes_from_the_source_to_the_service(shop: Shop) -> None:
    printed = shop.done("lineage", "spending.orders_2d").out
    assert "source   orders: orders" in printed
    assert "service  shop_v1: orders_2d" in printed
    assert "no service uses it" in shop.done("lineage", "unused.usd").out
    found = shop.done("lineage", "spending", "--json").json
    assert found["services"] == {"shop_v1": ["orders_2d", "usd_sum_7d"]}


def test_lineage_goes_on_to_the_models_that_use_the_service(shop: Shop) -> None:
    from penstock.project import open_project
    from penstock.registry.client import open_client
    from penstock.registry.versions import register, set_alias

    project = open_project(shop.root)
    client = open_client(project)
    experiment = client.create_experiment("shop")
    for service in ("shop_v1", ""):  # and one that reads no features
        run_id = client.create_run(experiment).info.run_id
        made = register(project, run_id, {"model": "0" * 64}, {}, service)
        set_alias(project, "shop", "champion" if service else "staging", made.version)
    printed = shop.done("lineage", "spending.orders_2d").out
    assert "model    shop@1 champion" in printed
    assert "shop@2" not in printed
    found = shop.done("lineage", "membership", "--json").json
    assert found["models"] == [{"model": "shop@1", "aliases": ["champion"], "service": "shop_v1"}]
    assert shop.done("lineage", "unused", "--json").json["models"] == []


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("show spendings", "no feature view 'spendings'"),
        ("lineage spendings.usd", "no feature view 'spendings'"),
        ("lineage spending.usd", "'spending' has no feature 'usd'"),
        ("materialize --view spendings", "no online feature view spendings"),
        ("materialize --end soon", "'soon' is no time"),
        ("materialize --every often", "often"),
        ("materialize --start 2026-01-02 --end 2026-01-01", "from 2026-01-02 00:00 to 2026-01-01"),
        ("skew --since then", "then"),
        ("skew --service shop_v2", "no feature service 'shop_v2'"),
        ("history asked.csv --output x.parquet", "asked.csv"),
        ("history SELECT --output x.parquet", "DuckDB cannot answer the query"),
        ("history nosuch.parquet --output x.parquet", "nosuch.parquet does not exist"),
        ("push orders nosuch.csv", "nosuch.csv does not exist"),
        ("materialize --every 0d", "intervals of '0d' have no length"),
        ("lineage spending.", "'spending.' names no feature of 'spending'"),
        ("push order new.csv", "new.csv"),
    ],
)
def test_what_is_not_there_is_named_in_one_line_with_a_remedy(
    shop: Shop, command: str, told: str
) -> None:
    assert told in shop.refused(*command.split())
    answer = shop(*command.split(), "--json").json
    assert told in answer["message"]
    assert answer["hint"]


# Changes


def test_a_first_apply_says_that_all_is_new(declared: Shop) -> None:
    assert "3 feature views applied; 4 features added\n" in declared.done("apply").out
    declared.edit('        Aggregate("*", "count", window="2d", name="orders_2d"),\n', "")
    declared.edit('features=["usd"]', 'features=["usd", "plan"]')
    told = declared.done("apply", "--yes").out
    assert "3 feature views applied; 1 features added, 1 removed\n" in told


def test_applying_again_changes_nothing(shop: Shop) -> None:
    before = shop.done("list", "--json").out
    assert shop.done("apply", "--json").json == []
    assert "3 feature views applied; 0 features changed" in shop.done("apply").out
    assert shop.done("list", "--json").out == before


def test_a_served_feature_changes_only_when_it_is_said_to(shop: Shop) -> None:
    shop.done("materialize")
    shop.edit('"usd", "sum", window="7d"', '"usd", "sum", window="3d", name="usd_sum_7d"')
    answer = shop("apply")
    assert answer.status == 2
    difference = (
        "spending.usd_sum_7d is changed: the window from 7 days, 0:00:00 to 3 days, 0:00:00"
    )
    assert f"! {difference}; served by shop_v1\n" in answer.out
    assert "nothing was applied" in answer.err
    assert "apply with --yes" in answer.err
    assert shop.served() == SERVED

    [change] = shop.done("apply", "--yes", "--json").json
    assert (change["view"], change["feature"], change["breaks"]) == ("spending", "usd_sum_7d", True)
    assert shop.served() == SERVED | UNFILLED
    shop.done("materialize")
    assert shop.served() == SERVED | {"usd_sum_7d": 6.0}
    assert shop.served(9) == {"usd_sum_7d": 0.0, "orders_2d": 0, "plan": None}


def test_a_longer_window_is_right_after_the_next_materialisation(shop: Shop) -> None:
    """Whose events the store has dropped or never had."""
    shop.write("0", (1, 15 * 24, 15 * 24, 64.0, "basic"))
    shop.done("materialize")
    shop.edit('"usd", "sum", window="7d"', '"usd", "sum", window="20d", name="usd_sum_7d"')
    shop.done("apply", "--yes")
    assert shop.served() == SERVED | UNFILLED
    shop.done("push", "orders", pushed("csv", shop.root))
    assert shop.served() == {**UNFILLED, "plan": "gold"}
    shop.done("materialize")
    assert shop.served() == {"usd_sum_7d": 79.0, "orders_2d": 3, "plan": "gold"}


TRANSFORMED = """
from penstock.features import (
    Aggregate, BatchSource, Entity, FeatureService, FeatureView, RequestSource, batch_feature_view,
    on_demand_feature_view,
)

customer = Entity("customer", join_keys=["customer_id"])
orders = BatchSource("orders", path="orders", timestamp="ordered_at", created="loaded_at")
basket = RequestSource("basket", schema={"basket_usd": "float64"})

@batch_feature_view(
    source=orders,
    entities=[customer],
    mode="pandas",
    aggregates=[Aggregate("cents", "sum", window="7d")],
)
def spending(rows):
    return rows.assign(cents=rows.usd * 100)[["customer_id", "ordered_at", "loaded_at", "cents"]]

@on_demand_feature_view(sources=[spending, basket], schema={"share": "float64"})
def share(rows):
    return rows.assign(share=rows.basket_usd / rows.cents_sum_7d)[["share"]]

shop_v1 = FeatureService("shop_v1", features=[spending, share])
"""


@pytest.mark.parametrize(
    ("old", "new", "told", "feature"),
    [
        ("usd * 100", "usd * 1000", "the transformation from features.py:spending of digest", 0),
        ("basket_usd /", "basket_usd * 100 /", "the function from pandas of digest", 1),
        ('"basket_usd": "float64"', '"basket_usd": "float64", "tip": "int64"', "the inputs", 1),
    ],
)
def test_code_that_changes_a_served_feature_is_noticed(
    declared: Shop, old: str, new: str, told: str, feature: int
) -> None:
    (declared.root / "features.py").write_text(TRANSFORMED)
    declared.done("apply")
    declared.done("materialize")
    assert declared.done("apply", "--json").json == []
    declared.edit(old, new)
    answer = declared("apply")
    assert answer.status == 2
    named = ["spending.cents_sum_7d", "share.share"][feature]
    assert f"! {named} is changed: {told}" in answer.out
    assert "; served by shop_v1" in answer.out
    [change] = declared.done("apply", "--yes", "--json").json
    assert change["breaks"] is True
    declared.done("materialize")
    served = declared.served(basket_usd=7.0, **({"tip": 1} if "tip" in new else {}))
    assert served["cents_sum_7d"] == (7000.0 if feature == 0 else 700.0)
    assert served["share"] == {0: 0.001, 1: 1.0 if "* 100" in new else 0.01}[feature]
    assert declared.done("apply", "--json").json == []


@pytest.mark.parametrize(("said", "status"), [("y\n", 0), ("n\n", 2), ("\n", 2)])
def test_a_user_at_a_terminal_is_asked(
    shop: Shop, said: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shop.edit('window="2d"', 'window="1d"')
    monkeypatch.setattr(sys, "stdin", Terminal(said))
    answer = shop("apply")
    assert answer.status == status
    assert "1 served features would mean something else. Apply? [y/N]" in answer.out
    shown = shop.done("show", "spending", "--json").json["aggregates"]
    assert shown[1]["window"] == ("P1D" if status == 0 else "P2D")


def test_what_no_service_uses_changes_and_goes_without_a_question(shop: Shop) -> None:
    shop.edit('entities=[customer], features=["usd"]', 'entities=[customer], features=["plan"]')
    printed = shop.done("apply").out
    assert "unused.usd is removed" in printed
    assert "unused.plan is added" in printed
    shop.edit("unused = ", "_ = lambda: ")
    shop.done("apply")
    assert "unused" not in shop.done("list").out


def test_a_service_that_goes_takes_its_features_along_only_with_yes(shop: Shop) -> None:
    shop.edit("features=[spending, membership]", "features=[spending]")
    shop.edit("membership = FeatureView", "_ = lambda **_: FeatureView")
    shop.edit('    "membership",\n', '    name="membership",\n')
    assert "membership.plan is removed; served by shop_v1" in shop("apply").out
    shop.done("apply", "--yes")
    assert set(shop.done("list", "--json").out.split('"')) & {"membership"} == set()


# Freshness


def test_a_stale_view_ends_with_status_1(shop: Shop) -> None:
    assert shop.done("freshness").out.count("fresh ") == 2
    shop.edit('ttl="30d",\n    expected_freshness="30d"', 'ttl="30d",\n    expected_freshness="9h"')
    shop.done("apply")
    answer = shop("freshness")
    assert answer.status == 1
    [stale] = [line for line in answer.out.splitlines() if "stale" in line]
    assert stale.split()[:4] == ["membership", "stale", "10h", stale.split()[3]]
    states = {view["view"]: view["state"] for view in shop("freshness", "--json").json}
    assert states == {
        "membership": "stale",
        "spending": "fresh",
        "unused": "nothing expected",
    }


def test_durations_are_said_as_they_are_written_and_as_iso_8601(shop: Shop) -> None:
    shop.write("1", (1, 49, 49, 1.0, "basic"))
    shop.write("2")
    [line] = [one for one in shop.done("freshness").out.splitlines() if "spending" in one]
    assert line.split()[2:5] == ["2d", "1h", "30d"]
    found = {view["view"]: view for view in shop.done("freshness", "--json").json}
    assert found["spending"]["expected"] == "P30D"
    assert found["spending"]["age"].startswith("P2DT1H")
    assert found["unused"]["expected"] is None
    assert "ttl         30d" in shop.done("show", "membership").out


def test_what_cannot_be_read_is_not_fresh(shop: Shop) -> None:
    corrupt(shop)
    answer = shop("freshness")
    assert answer.status == 1
    assert answer.out.count("unreadable  ") == 3
    assert "spending is unreadable: source 'orders' cannot be read" in answer.out
    found = {view["view"]: view for view in shop("freshness", "--json").json}
    assert "source 'orders' cannot be read" in found["unused"]["reason"]
    gone(shop)
    assert "source 'orders' has no file" in shop("freshness").out


def test_where_nothing_is_expected_nothing_is_late(shop: Shop) -> None:
    for name in ("1", "2"):
        shop.write(name)
    answer = shop("freshness")
    assert (answer.status, answer.out.count("no data")) == (1, 3)
    shop.edit('    expected_freshness="30d",\n', "")
    shop.done("apply")
    assert shop.done("freshness").out.count("no data") == 3
    corrupt(shop)
    assert shop.done("freshness").out.count("unreadable  ") == 3


# Training sets


def test_a_training_set_is_the_same_from_a_file_and_from_a_query(shop: Shop) -> None:
    asked = pa.table(
        {
            "customer_id": [1, 2, 9, 1],
            "event_timestamp": pa.array([NOW, NOW, NOW, NOW - 15 * HOUR], SCHEMA.types[1]),
            "label": [0, 1, 0, 1],
        }
    )
    pq.write_table(asked, shop.root / "asked.parquet")
    pyarrow.csv.write_csv(asked, shop.root / "asked.csv")
    found = {}
    for rows in ("asked.parquet", "asked.csv", "SELECT * FROM 'asked.parquet'"):
        output = shop.root / f"out-{len(found)}" / "training.parquet"
        given = rows if " " in rows else str(shop.root / rows)
        written = shop.done("history", given, "--output", str(output), "--json").json
        beside = output.with_name("training.parquet.json")
        assert json.loads(beside.read_text()) == written
        assert (written["rows"], written["service"]) == (4, "shop_v1")
        table = pq.read_table(output)
        assert table.column_names == ["customer_id", "event_timestamp", "label", *SERVED]
        found[rows] = table.select(["customer_id", "label", *SERVED]).to_pydict()
    first, *others = found.values()
    assert all(other == first for other in others)
    assert first == {
        "customer_id": [1, 2, 9, 1],
        "label": [0, 1, 0, 1],
        "usd_sum_7d": [7.0, 5.0, 0.0, 3.0],
        "orders_2d": [2, 1, 0, 1],
        "plan": ["plus", "basic", None, "basic"],
    }


def test_the_digests_of_a_training_set_tell_what_changed(shop: Shop) -> None:
    def written() -> dict[str, Any]:
        query = f"SELECT 1 AS customer_id, TIMESTAMPTZ '{NOW}' AS event_timestamp"
        output = str(shop.root / "training.parquet")
        answer: dict[str, Any] = shop.done("history", query, "--output", output, "--json").json
        return answer

    first = written()
    assert written() == first
    shop.write("3", (1, 5, 5, 8.0, "plus"))
    more = written()
    assert more["digest"] != first["digest"]
    assert more["sources"] != first["sources"]
    assert more["definitions"] == first["definitions"]
    shop.edit('owner="growth"', 'owner="sales"')
    shop.done("apply")
    assert written() == more
    shop.edit('window="2d"', 'window="1d"')
    shop.done("apply", "--yes")
    assert written()["definitions"] != more["definitions"]


ORIGINS = """
import feast
from penstock.features import (
    BatchSource, Entity, FeatureService, FeatureView, RequestSource, on_demand_feature_view,
)

customer = Entity("customer", join_keys=["customer_id"])
plain_customer = feast.Entity(
    name="customer", join_keys=["customer_id"], value_type=feast.ValueType.INT64)
plans = BatchSource(
    "plans", query="SELECT customer_id, ordered_at, plan FROM 'orders/*.parquet'",
    timestamp="ordered_at")
membership = FeatureView("membership", source=plans, entities=[customer], features=["plan"])
# A folder of its own, called as another source is.
visits = feast.FeatureView(
    name="visits", entities=[plain_customer], ttl=None,
    schema=[feast.Field(name="customer_id", dtype=feast.types.Int64),
            feast.Field(name="pages", dtype=feast.types.Int64)],
    source=feast.FileSource(name="plans_of_visits", path="visits.parquet", timestamp_field="at"))
basket = RequestSource("basket", schema={"usd": "float64"})
RATE = 1.2

def gross(usd):
    return usd * RATE

@on_demand_feature_view(sources=[basket], schema={"gross_usd": "float64"})
def with_tax(rows):
    return rows.assign(gross_usd=gross(rows.usd))[["gross_usd"]]

shop_v1 = FeatureService("shop_v1", features=[membership, visits, with_tax])
"""


def visits(shop: Shop, pages: int) -> None:
    at = pa.array([NOW - DAY], SCHEMA.types[1])
    table = pa.table({"customer_id": [1], "at": at, "pages": [pages]})
    pq.write_table(table, shop.root / "visits.parquet")


def test_the_digests_know_of_on_demand_code_queries_and_plain_feast_views(declared: Shop) -> None:
    (declared.root / "features.py").write_text(ORIGINS)
    visits(declared, 3)
    declared.done("apply")

    def written() -> tuple[str, dict[str, str]]:
        output = str(declared.root / "training.parquet")
        query = f"SELECT 1 AS customer_id, 10.0::DOUBLE AS usd, TIMESTAMPTZ '{NOW}' event_timestamp"
        answer = declared.done("history", query, "--output", output, "--json").json
        of = {source["name"]: source["of"] for source in answer["sources"]}
        assert of == {
            "plans": "the rows of its result, in any order",
            "plans_of_visits": "the bytes of its files",
        }
        return answer["definitions"], {one["name"]: one["digest"] for one in answer["sources"]}

    meaning, sources = written()
    assert written() == (meaning, sources)
    assert all(len(digest) == 64 for digest in sources.values())
    # The data of a query: its text stays.
    declared.write("3", (1, 1, 1, 1.0, "gold"))
    assert written() == (meaning, sources | {"plans": (more := written()[1]["plans"])})
    assert more != sources["plans"]
    # That of plain Feast.
    visits(declared, 4)
    assert written()[1]["plans_of_visits"] != sources["plans_of_visits"]
    # What an on-demand view's function calls.
    declared.edit("return usd * RATE", "return usd * RATE + 1")
    declared.done("apply", "--yes")
    assert (called := written()[0]) != meaning
    declared.edit("RATE = 1.2", "RATE = 1.3")
    declared.done("apply", "--yes")
    assert (named := written()[0]) not in (called, meaning)
    # How long a plain Feast view counts.
    declared.edit("ttl=None", "ttl=__import__('datetime').timedelta(days=9)")
    declared.done("apply", "--yes")
    assert written()[0] not in (named, called, meaning)


@pytest.mark.parametrize("nothing", ["", "  ", "/* a remark */"])
def test_a_query_that_asks_nothing_is_refused(shop: Shop, nothing: str) -> None:
    output = shop.root / "training.parquet"
    assert "SELECT" in shop.refused("history", nothing, "--output", str(output))
    assert not output.exists()


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (
            f"FROM (VALUES (1, TIMESTAMPTZ '{NOW}'), (2, NULL)) AS r(customer_id, event_timestamp)",
            "'event_timestamp' is null in 1 of 2 rows of the rows asked about, first in row 2",
        ),
        ("SELECT 1 AS customer_id, 2 AS customer_id, now() AS event_timestamp", "customer_id"),
        ("SELECT 1 AS customer_id", "event_timestamp"),
        ("SELECT now() AS event_timestamp", "customer_id"),
        ("SELECT 'x' AS customer_id, now() AS event_timestamp", "customer_id"),
        ("SELECT 1 AS customer_id, 'today' AS event_timestamp", "event_timestamp"),
        ("SELECT 1 AS customer_id, now() AS event_timestamp, 'a' AS plan", "'plan'"),
    ],
)
def test_rows_that_cannot_be_asked_about_are_refused(shop: Shop, query: str, told: str) -> None:
    output = shop.root / "training.parquet"
    assert told in shop.refused("history", query, "--output", str(output))
    assert not output.exists()


# The online store


def test_materialising_twice_changes_nothing(shop: Shop) -> None:
    end = ["--end", f"{NOW:%Y-%m-%dT%H:%M:%S}"]
    done = shop.done("materialize", *end, "--json").json
    assert sorted(interval["view"] for interval in done) == ["membership", "spending", "unused"]
    assert shop.served() == SERVED
    assert shop.done("materialize", *end).out == "nothing to do: it is all there\n"
    assert shop.served() == SERVED
    listed = shop.done("list", "--json").json
    assert {view["materialised_until"] for view in listed} == {f"{NOW:%Y-%m-%dT%H:%M:%S}+00:00"}


def test_a_backfill_does_the_intervals_that_are_missing(shop: Shop) -> None:
    def days(view: str, start: int, end: int) -> list[str]:
        times = [f"{NOW - n * DAY:%Y-%m-%dT%H:%M:%S}" for n in (start, end)]
        options = ["--view", view, "--start", times[0], "--end", times[1], "--every", "1d"]
        done = shop.done("materialize", *options, "--json").json
        return [interval["start"][:10] for interval in done]

    assert days("spending", 4, 2) == [f"{NOW - n * DAY:%Y-%m-%d}" for n in (4, 3)]
    assert days("spending", 5, 0) == [f"{NOW - n * DAY:%Y-%m-%d}" for n in (5, 2, 1)]
    assert days("spending", 5, 0) == []
    # Of seven days only five are there.
    assert shop.served() == {"usd_sum_7d": None, "orders_2d": 2, "plan": None}
    assert days("spending", 8, 0) == [f"{NOW - n * DAY:%Y-%m-%d}" for n in (8, 7, 6)]
    assert shop.served() == SERVED | {"plan": None}


def test_new_rows_are_brought_by_the_next_materialisation(shop: Shop) -> None:
    shop.done("materialize", "--end", f"{NOW - 2 * HOUR:%Y-%m-%dT%H:%M:%S}")
    shop.write("3", (1, 1, 1, 8.0, "gold"), (1, 40, 1, 16.0, "late"))
    shop.done("materialize", "--end", f"{NOW:%Y-%m-%dT%H:%M:%S}")
    # The second happened long ago and was loaded just now.
    assert shop.served() == {"usd_sum_7d": 31.0, "orders_2d": 4, "plan": "gold"}


def pushed(kind: str, folder: Path, **columns: Any) -> str:
    row = {"customer_id": 1, "ordered_at": NOW, "loaded_at": NOW, "usd": 8.0, "plan": "gold"}
    row |= columns
    table = pa.Table.from_pylist([{n: v for n, v in row.items() if v is not ...}])
    path = folder / f"new.{kind}"
    if kind == "csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return str(path)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_pushed_row_counts_at_once(shop: Shop, kind: str) -> None:
    shop.done("materialize")
    answer = shop.done("push", "orders", pushed(kind, shop.root))
    assert answer.out == "1 rows of orders count from now on\n"
    assert shop.served() == {"usd_sum_7d": 15.0, "orders_2d": 3, "plan": "gold"}
    # When the source brings the same row later, it counts once.
    shop.write("3", (1, 0, 0, 8.0, "gold"))
    shop.done("materialize", "--end", f"{NOW + HOUR:%Y-%m-%dT%H:%M:%S}")
    assert shop.served() == {"usd_sum_7d": 15.0, "orders_2d": 3, "plan": "gold"}


def test_rows_that_cannot_be_pushed_are_refused(shop: Shop) -> None:
    file = pushed("csv", shop.root, usd=...)
    assert "usd" in shop.refused("push", "orders", file)
    assert "no source 'order' to push to" in (told := shop.refused("push", "order", file))
    assert "orders" in told
    assert "usd" in shop.refused("push", "orders", pushed("csv", shop.root, usd="much"))
    pq.write_table(SCHEMA.empty_table(), shop.root / "none.parquet")
    assert "no rows" in shop.refused("push", "orders", str(shop.root / "none.parquet"))
    assert shop.served() == {**UNFILLED, "plan": None}


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("customer_id", "'customer_id' is null in row 2 of the rows to push to 'orders'"),
        ("ordered_at", "'ordered_at' is null in 1 of 3 rows of the rows to push to 'orders', fir"),
        ("loaded_at", "'loaded_at' is null in 1 of 3 rows of the rows to push to 'orders', first"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_row_that_could_not_count_is_refused_and_none_is_pushed(
    shop: Shop, kind: str, column: str, told: str
) -> None:
    shop.done("materialize")
    table = pq.read_table(pushed("parquet", shop.root))
    table = pa.concat_tables([table] * 3)
    values = table[column].to_pylist()
    values[1] = None
    place = table.column_names.index(column)
    table = table.set_column(place, column, pa.array(values, table.schema.field(column).type))
    file = shop.root / f"three.{kind}"
    (pyarrow.csv.write_csv if kind == "csv" else pq.write_table)(table, file)
    assert told in (message := shop.refused("push", "orders", str(file)))
    assert "row 2" in message
    assert shop.served() == SERVED


def test_a_row_counts_where_its_key_is_known(shop: Shop) -> None:
    """One view may know whom a row is about though another does not."""
    shop.edit("customer = Entity", 'plan = Entity("plan")\ncustomer = Entity')
    shop.edit(
        '"unused", source=orders, entities=[customer]', '"unused", source=orders, entities=[plan]'
    )
    shop.done("apply", "--yes")
    shop.done("materialize")
    rows = {"customer_id": [1, None], "ordered_at": [NOW] * 2, "loaded_at": [NOW] * 2,
            "usd": [8.0, 9.0], "plan": ["gold", "gold"]}  # fmt: skip
    pq.write_table(pa.table(rows), shop.root / "new.parquet")
    shop.done("push", "orders", str(shop.root / "new.parquet"))
    assert shop.served() == {"usd_sum_7d": 15.0, "orders_2d": 3, "plan": "gold"}


def test_pushed_integers_keep_their_digits_and_rows_of_nulls_count(shop: Shop) -> None:
    for name in ("1", "2"):
        (shop.root / "orders" / f"{name}.parquet").unlink()
    schema = SCHEMA.set(3, pa.field("usd", pa.int64()))
    shop.write("1", (1, 90, 90, 1, "basic"), schema=schema)
    shop.done("apply", "--yes")
    shop.done("materialize")
    large = 2**53 + 1
    for usd in ([large, None], [None]):
        rows = pa.table({"customer_id": [1] * len(usd), "ordered_at": [NOW] * len(usd),
                         "loaded_at": [NOW] * len(usd), "usd": pa.array(usd, pa.int64()),
                         "plan": ["gold"] * len(usd)})  # fmt: skip
        rows = rows.set_column(1, "ordered_at", pa.array(
            [NOW - timedelta(seconds=10 * len(usd) + n) for n in range(len(usd))], SCHEMA.types[1])
        )  # fmt: skip
        pq.write_table(rows, shop.root / "new.parquet")
        shop.done("push", "orders", str(shop.root / "new.parquet"))
    assert shop.served() == {"usd_sum_7d": large + 1, "orders_2d": 3, "plan": "gold"}


# What the store has lost, or never had


def test_an_empty_source_counts_zero_once_it_is_materialised(declared: Shop) -> None:
    for file in ("1", "2"):
        declared.write(file)
    declared.done("apply")
    assert declared.served() == {**UNFILLED, "plan": None}
    declared.done("materialize")
    assert declared.served() == {"usd_sum_7d": 0.0, "orders_2d": 0, "plan": None}


def test_a_store_that_was_lost_is_filled_again_from_the_beginning(shop: Shop) -> None:
    shop.done("materialize", "--end", f"{NOW - 15 * HOUR:%Y-%m-%dT%H:%M:%S}")
    shop.lose()
    assert shop.served() == {**UNFILLED, "plan": None}
    assert all(view["materialised_until"] is None for view in shop.done("list", "--json").json)
    shop.done("push", "orders", pushed("csv", shop.root, usd=0.5, ordered_at=NOW - 21 * DAY))
    assert shop.served() == {**UNFILLED, "plan": "gold"}  # a row says all there is to it
    done = shop.done("materialize", "--json").json
    assert {interval["view"] for interval in done} == {"spending", "membership", "unused"}
    assert shop.served() == SERVED


def test_a_range_that_was_lost_is_materialised_again(shop: Shop) -> None:
    span = ["--start", f"{NOW - 9 * DAY:%Y-%m-%d}", "--end", f"{NOW:%Y-%m-%dT%H:%M:%S}"]
    shop.done("materialize", *span)
    assert shop.done("materialize", *span).out == "nothing to do: it is all there\n"
    shop.lose()
    assert shop.done("materialize", *span).out == "3 intervals materialised\n"
    assert shop.served() == SERVED


def test_feast_s_own_materialisation_fills_the_windows_of_a_lost_store(shop: Shop) -> None:
    from penstock.features.store import open_store

    shop.done("materialize")
    shop.lose()
    open_store(shop.root).materialize_incremental(datetime.now(UTC))
    # To Feast, the rows of the other view are there.
    assert shop.served() == SERVED | {"plan": None}
    shop.done("materialize")
    assert shop.served() == SERVED


def test_rows_that_came_late_are_brought_by_force(declared: Shop) -> None:
    declared.edit(', created="loaded_at"', "")
    declared.done("apply")
    span = ["--start", f"{NOW - 9 * DAY:%Y-%m-%d}", "--end", f"{NOW:%Y-%m-%dT%H:%M:%S}"]
    declared.done("materialize", *span)
    declared.write("3", (1, 30, 1, 16.0, "late"))
    assert declared.done("materialize", *span).out == "nothing to do: it is all there\n"
    assert declared.served() == SERVED
    assert declared.done("materialize", *span, "--force", "--every", "3d").out == (
        "12 intervals materialised\n"
    )
    assert declared.served() == SERVED | {"usd_sum_7d": 23.0, "orders_2d": 3}


@pytest.mark.parametrize("way", ["materialize", "push"])
def test_a_row_of_the_future_hides_nothing(shop: Shop, way: str) -> None:
    tomorrow = NOW + DAY
    if way == "push":
        shop.done("materialize")
        shop.done("push", "orders", pushed("csv", shop.root, ordered_at=tomorrow))
    else:
        shop.write("3", (1, -24, -24, 8.0, "gold"))
        shop.done("materialize", "--end", f"{NOW + 2 * DAY:%Y-%m-%dT%H:%M:%S}")
        untils = {view["materialised_until"] for view in shop.done("list", "--json").json}
        assert all(datetime.fromisoformat(until) < tomorrow for until in untils)
    assert shop.served() == SERVED


def test_a_backfill_begins_with_the_first_row(shop: Shop) -> None:
    done = shop.done("materialize", "--view", "unused", "--every", "1d", "--json").json
    assert 5 <= len(done) <= 6  # of a hundred hours
    assert done[0]["start"] < done[1]["start"]
    assert shop.done("materialize", "--view", "unused", "--end", f"{NOW}").out.startswith("nothing")


# Interruptions

MANY = 25_000  # customers, which are written in several goes
KILLED = """
import os, signal, sys
from penstock.cli.main import run
from penstock.features.online_stores.lmdb import LmdbRows

merge, left = LmdbRows.merge, int(sys.argv[1])

def killed_in_the_middle(self, space, keys, combine):
    def dying(positions, old):
        global left
        left -= len(keys) > 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return combine(positions, old)
    merge(self, space, keys, dying)

LmdbRows.merge = killed_in_the_middle
run(sys.argv[2:])
"""


def materialise_and_die(shop: Shop, writes: int, *options: str) -> None:
    """A process that is killed when it has written so many times."""
    command = ["features", "materialize", "--project", str(shop.root), *options]
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(writes), *command], capture_output=True, check=False
    )
    assert process.returncode == -signal.SIGKILL, process.stderr


def of_all(shop: Shop) -> list[tuple[Any, ...]]:
    """What is served for each of many customers."""
    from penstock.features.store import open_store

    store = open_store(shop.root)
    asked = {"customer_id": list(range(MANY))}
    answer = store.get_online_features(store.get_feature_service("shop_v1"), asked).to_dict()
    return list(zip(*(answer[name] for name in SERVED), strict=True))


def write_for_all(shop: Shop, name: str, hours_ago: int, usd: float) -> None:
    shop.write(name, *((n, hours_ago, hours_ago, usd, name) for n in range(MANY)))


def test_a_materialisation_that_is_killed_leaves_old_values_and_the_next_completes_it(
    shop: Shop,
) -> None:
    (shop.root / "orders" / "2.parquet").unlink()
    write_for_all(shop, "1", 50, 1.0)
    shop.done("materialize", "--end", f"{NOW - 40 * HOUR:%Y-%m-%dT%H:%M:%S}")
    old, new = (1.0, 0, "1"), (3.0, 1, "2")
    assert set(of_all(shop)) == {old}
    write_for_all(shop, "2", 20, 2.0)
    materialise_and_die(shop, 1, "--view", "spending")
    half = of_all(shop)
    assert {half.count((*new[:2], "1")), half.count(old)} == {10_000, MANY - 10_000}
    shop.done("materialize")
    assert set(of_all(shop)) == {new}


def test_a_first_materialisation_that_is_killed_serves_no_count(shop: Shop) -> None:
    (shop.root / "orders" / "2.parquet").unlink()
    write_for_all(shop, "1", 50, 1.0)
    materialise_and_die(shop, 2, "--view", "spending")
    assert set(of_all(shop)) == {(None, None, None)}
    shop.done("materialize")
    assert set(of_all(shop)) == {(1.0, 0, "1")}


def test_intervals_that_are_interrupted_go_on_where_they_ended(shop: Shop) -> None:
    """By day, two at a time; of days 1 to 4 each customer has an order."""
    rows = [(n, 24 * day - 12, 24 * day - 12, 1.0, "basic") for n in range(9) for day in (1, 2, 3)]
    shop.write("1", *rows)
    (shop.root / "orders" / "2.parquet").unlink()
    options = ["--view", "spending", "--every", "1d", "--end", f"{NOW:%Y-%m-%dT%H:%M:%S}"]
    materialise_and_die(shop, 2, *options)
    # The latest days come first, and no window gives a value before all of it is there.
    assert shop.served()["usd_sum_7d"] is None
    done = shop.done("materialize", *options, "--json").json
    # Of 8 days and some that windows reach back; those without events need no write.
    assert 0 < len(done) <= 8
    assert len({interval["start"] for interval in done}) == len(done)
    assert shop.served() == {"usd_sum_7d": 3.0, "orders_2d": 2, "plan": None}
    assert shop.done("materialize", *options).out == "nothing to do: it is all there\n"


# Skew


def serve(shop: Shop, *customers: int) -> None:
    """What a served model reads, all of it logged."""
    from penstock.features.online import OnlineFeatures

    online = OnlineFeatures(str(shop.root), "shop_v1", list(SERVED), ["customer_id"], 1.0)
    online.read({"customer_id": list(customers)})


def test_a_healthy_system_has_no_skew(shop: Shop) -> None:
    assert "no vectors of shop_v1 were served" in shop.done("skew").out
    shop.done("materialize")
    serve(shop, 1, 2, 9)
    printed = shop.done("skew").out
    assert "3 served vectors of shop_v1" in printed
    found = shop.done("skew", "--json").json
    assert found["vectors"] == 3
    compared = {f["feature"]: (f["compared"], f["differing"]) for f in found["features"]}
    assert compared == dict.fromkeys(SERVED, (3, 0))


def test_a_wrong_value_online_is_found(shop: Shop) -> None:
    """Rows that no source knows of."""
    shop.done("materialize")
    shop.done("push", "orders", pushed("csv", shop.root, usd=0.5, plan="basic"))
    serve(shop, 1, 2)
    answer = shop("skew")
    assert answer.status == 1
    assert "plan of customer_id=1 at" in answer.out
    assert "served basic, offline plus" in answer.out
    found = {f["feature"]: f for f in shop("skew", "--json").json["features"]}
    assert {name: one["differing"] for name, one in found.items()} == dict.fromkeys(SERVED, 1)
    [example] = found["usd_sum_7d"]["examples"]
    assert (example["keys"], example["served"], example["offline"]) == (
        {"customer_id": 1},
        7.5,
        7.0,
    )


# Bad sources


def corrupt(shop: Shop) -> None:
    (shop.root / "orders" / "2.parquet").write_bytes(b"PAR1 this is not Parquet PAR1")


def cut_short(shop: Shop) -> None:
    file = shop.root / "orders" / "2.parquet"
    file.write_bytes(file.read_bytes()[:-100])


def of_no_bytes(shop: Shop) -> None:
    (shop.root / "orders" / "2.parquet").write_bytes(b"")


def texts_for_numbers(shop: Shop) -> None:
    schema = SCHEMA.set(3, pa.field("usd", pa.string()))
    shop.write("2", (1, 20, 20, "two", "basic"), schema=schema)


def texts_for_keys(shop: Shop) -> None:
    schema = SCHEMA.set(0, pa.field("customer_id", pa.string()))
    shop.write("2", ("one", 20, 20, 2.0, "basic"), schema=schema)


def before_nanoseconds(shop: Shop) -> None:
    shop.write("2", (1, 24 * 365 * 600, 20, 2.0, "basic"))


def gone(shop: Shop) -> None:
    for file in (shop.root / "orders").iterdir():
        file.unlink()
    (shop.root / "orders").rmdir()


BAD = [corrupt, cut_short, of_no_bytes, texts_for_numbers, texts_for_keys, before_nanoseconds, gone]
QUERY = f"SELECT 1 AS customer_id, TIMESTAMPTZ '{NOW}' AS event_timestamp"


@pytest.mark.parametrize("damage", BAD, ids=lambda damage: damage.__name__)
def test_a_bad_source_is_named_and_nothing_is_written(
    shop: Shop, damage: Callable[[Shop], None]
) -> None:
    shop.done("materialize", "--end", f"{NOW:%Y-%m-%dT%H:%M:%S}")
    damage(shop)
    output = shop.root / "training.parquet"
    assert "orders" in shop.refused("history", QUERY, "--output", str(output))
    assert not output.exists()
    told = shop.refused("materialize", "--start", "1400-01-01", "--force")
    assert "orders" in told or "view 'spending', column 'ordered_at'" in told
    assert shop.served() == SERVED
    assert "spending" in shop("freshness").out  # it says what it can


def test_an_empty_source_is_no_error(declared: Shop) -> None:
    for name in ("1", "2"):
        declared.write(name)
    declared.done("apply")
    declared.done("materialize")
    assert declared.served() == {"usd_sum_7d": 0.0, "orders_2d": 0, "plan": None}
    assert "no data" in declared("freshness").out


def test_the_order_of_rows_and_files_does_not_matter(declared: Shop) -> None:
    declared.write("1", *reversed(ORDERS))
    declared.write("2")
    declared.done("apply")
    declared.done("materialize")
    assert declared.served() == SERVED


def test_a_key_that_changes_its_type_is_a_change_of_all_features(shop: Shop) -> None:
    shop.done("materialize", "--end", f"{NOW:%Y-%m-%dT%H:%M:%S}")
    schema = SCHEMA.set(0, pa.field("customer_id", pa.string()))
    for name, rows in (("1", ORDERS[:2]), ("2", ORDERS[2:])):
        shop.write(name, *((f"c{c}", *rest) for c, *rest in rows), schema=schema)
    assert "customer_id" in shop.refused("history", QUERY, "--output", str(shop.root / "x.parquet"))
    start = ["--start", f"{NOW - 9 * DAY:%Y-%m-%d}"]
    assert "customer_id" in shop.refused("materialize", *start, "--force")
    assert shop.served() == SERVED

    answer = shop("apply")
    assert answer.status == 2
    assert answer.out.count("the keys from customer_id: int64 to customer_id: string") == 4
    shop.done("apply", "--yes")
    shop.done("materialize", *start)
    assert shop.served("c1") == SERVED


def test_an_earlier_release_gets_its_definitions_back_and_leaves_what_came_later(
    shop: Shop, tmp_path: Path
) -> None:
    from penstock.features.restoring import restore
    from penstock.project import open_project

    earlier = tmp_path / "earlier"
    earlier.mkdir()
    for name in ("features.py", "penstock.toml"):
        shutil.copy(shop.root / name, earlier)
    shop.edit('"count", window="2d"', '"count", window="3d"')
    shop.edit(
        "shop_v1 =", 'later = FeatureView("later", source=orders, features=["usd"])\nshop_v1 ='
    )
    shop.done("apply", "--yes")
    assert "count of rows, 3d" in shop.done("show", "spending").out

    changed = restore(open_project(shop.root), earlier)

    assert len(changed) == 1
    assert changed[0].startswith("spending.orders_2d is changed")
    assert "count of rows, 2d" in shop.done("show", "spending").out
    assert {one["name"] for one in shop.done("list", "--json").json} >= {"later", "spending"}
    assert restore(open_project(shop.root), earlier) == []
