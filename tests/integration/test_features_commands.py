"""`penstock features …` as it is typed: what it prints and leaves, and how it ends on bad input."""

from __future__ import annotations

import io
import json
import sys
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

    def served(self, customer: Any = 1) -> dict[str, Any]:
        from penstock.features.store import open_store

        store = open_store(self.root)
        service = store.get_feature_service("shop_v1")
        answer = store.get_online_features(service, {"customer_id": [customer]}).to_dict()
        return {name: values[0] for name, values in answer.items() if name != "customer_id"}


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
    shop.done("materialize", "--view", "spending", "--start", f"{NOW - 9 * DAY:%Y-%m-%d}")
    assert shop.served() == SERVED | {"usd_sum_7d": 6.0}


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


@pytest.mark.parametrize(
    ("query", "told"),
    [
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
    assert shop.served()["orders_2d"] == 0
    assert days("spending", 5, 0) == [f"{NOW - n * DAY:%Y-%m-%d}" for n in (5, 2, 1)]
    assert shop.served() == SERVED | {"plan": None}
    assert days("spending", 5, 0) == []


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
    assert shop.served() == {"usd_sum_7d": 0.0, "orders_2d": 0, "plan": None}


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
    told = shop.refused("materialize", "--start", "1400-01-01")
    assert "source 'orders'" in told or "view 'spending', column 'ordered_at'" in told
    assert shop.served() == SERVED
    assert shop("freshness").status == 0  # it says what it can


def test_an_empty_source_is_no_error(declared: Shop) -> None:
    for name in ("1", "2"):
        declared.write(name)
    declared.done("apply")
    declared.done("materialize")
    assert declared.served() == {"usd_sum_7d": 0.0, "orders_2d": 0, "plan": None}
    assert "no data" in declared.done("freshness").out


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
    assert "customer_id" in shop.refused("materialize", "--start", f"{NOW - 9 * DAY:%Y-%m-%d}")
    assert shop.served() == SERVED

    answer = shop("apply")
    assert answer.status == 2
    assert answer.out.count("the keys from customer_id: int64 to customer_id: string") == 4
    shop.done("apply", "--yes")
    shop.done("materialize", "--start", f"{NOW - 9 * DAY:%Y-%m-%d}")
    assert shop.served("c1") == SERVED
