"""A mistake in features.py is one error: what is wrong, where, what was seen, and what to do."""

from __future__ import annotations

import importlib.util
import itertools
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.errors import PenstockError
from penstock.features.code import code_digest
from penstock.features.compile import view_definitions
from penstock.features.definition import arrow_type, span_words
from penstock.features.feast_objects import compiled

HEAD = """
from datetime import timedelta
from penstock.features import *

user = Entity("user", join_keys=["user_id"])
orders = BatchSource("orders", path="orders.parquet", timestamp="happened", created="known_at")
timeless = BatchSource("timeless", path="orders.parquet")
basket = RequestSource("basket", schema={"basket_usd": "float64"})
plans = FeatureView("plans", source=orders, entities=[user], features=["plan"])
spending = FeatureView("spending", source=orders, entities=[user], aggregates=[
    Aggregate("usd", "sum", window="7d")])
"""
AT = datetime(2024, 2, 29, tzinfo=UTC)
ROWS = pa.table(
    {
        "user_id": [1, 2],
        "name": ["a", "b"],
        "score": [0.5, 1.5],
        "happened": pa.array([AT, AT], pa.timestamp("us", "UTC")),
        "known_at": pa.array([AT, AT], pa.timestamp("us", "UTC")),
        "usd": [1.0, 2.0],
        "plan": ["basic", "plus"],
        "tags": [["x"], []],
        "place": [{"x": 1}, {"x": 2}],
    }
)
modules = itertools.count()


@pytest.fixture
def declare(tmp_path: Path) -> Callable[[str], ModuleType]:
    """Makes features.py of some lines after `HEAD`, and reads it."""
    pq.write_table(ROWS, tmp_path / "orders.parquet")

    def read(lines: str) -> ModuleType:
        # A file of its own each time, as the text of functions is remembered by file.
        file = tmp_path / str(next(modules)) / "features.py"
        file.parent.mkdir()
        file.write_text(HEAD + textwrap.dedent(lines))
        spec = importlib.util.spec_from_file_location("features", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return read


def refused(read: Callable[[], Any], *told: str) -> None:
    with pytest.raises(PenstockError) as caught:
        read()
    message = f"{caught.value.message}\n{caught.value.hint}"
    for words in told:
        assert words in message
    assert caught.value.hint


VIEW = "view = FeatureView('view', source=orders, entities=[user], "
WORDS: list[tuple[str, tuple[str, ...]]] = [
    # Names
    ("Entity('a b')", ("entity 'a b': this is not a name",)),
    ("Entity(7)", ("entity: its name is 7",)),
    ("BatchSource('a__b', path='x')", ("source 'a__b'", "single underscores")),
    ("Aggregate('usd', 'sum', name='1st')", ("feature '1st': this is not a name",)),
    # Lists that are not lists
    ("Entity('e', join_keys='id')", ("entity 'e': join_keys is the text 'id'", "['id']")),
    ("Entity('e', join_keys=[1])", ("entity 'e': join_keys holds 1",)),
    ("Entity('e', join_keys=['a', 'a'])", ("entity 'e': join_keys names a twice",)),
    (
        "FeatureView('v', source=orders, entities=user)",
        ("feature view 'v': entities is a penstock", "write entities=[the entity]"),
    ),
    ("FeatureView('v', source=orders, entities=['user'])", ("entities holds the text 'user'",)),
    (VIEW + "features='usd')", ("features is the text 'usd' and not", "features=['usd']")),
    (VIEW + "features=[Aggregate('usd', 'sum')])", ("features holds a", "aggregates=[…]")),
    (VIEW + "aggregates=Aggregate('usd', 'sum'))", ("aggregates is a", "not a list")),
    (VIEW + "aggregates=['usd'])", ("aggregates holds the text 'usd'",)),
    # Sources
    ("FeatureView('v', source='orders')", ("feature view 'v': its source is the text 'orders'",)),
    ("FeatureView('v', source=None)", ("feature view 'v': its source is None",)),
    ("BatchSource('s')", ("source 's': it has no path and no query",)),
    ("BatchSource('s', path='a', query='b')", ("source 's': it has both a path and a query",)),
    ("BatchSource('s', path=7)", ("source 's': path is 7",)),
    ("BatchSource('s', path='a', created='c')", ("source 's'", "no `timestamp`")),
    (
        "BatchSource('s', path='a', schema={'usd': 'floaty'})",
        ("source 's': column 'usd': 'floaty' is not a type", "float64"),
    ),
    ("BatchSource('s', path='a', schema={'usd': 'decimal128(a, b)'})", ("column 'usd'",)),
    ("BatchSource('s', path='a', schema={'usd': float})", ("column 'usd'", "float")),
    ("BatchSource('s', path='a', schema={'t': 'timestamp[us, tz=Mars]'})", ("column 't'", "Mars")),
    ("BatchSource('s', path='a', schema=['usd'])", ("source 's': its schema is a list",)),
    ("RequestSource('r', schema={})", ("request source 'r': its schema is empty",)),
    ("RequestSource('r', schema={'x': 'number'})", ("request source 'r': column 'x'",)),
    # Durations
    (VIEW + "features=['usd'], ttl='x')", ("feature view 'view': ttl is 'x'", 'ttl="7d"')),
    (VIEW + "features=['usd'], ttl=7)", ("feature view 'view': ttl is 7",)),
    (VIEW + "features=['usd'], ttl=timedelta(-1))", ("ttl is", "less than nothing")),
    (VIEW + "features=['usd'], ttl='999999d')", ("ttl is '999999d', longer than",)),
    (VIEW + "features=['usd'], ttl='9999999999999d')", ("ttl is '9999999999999d'",)),
    (VIEW + "features=['usd'], expected_freshness='soon')", ("expected_freshness is 'soon'",)),
    (VIEW + "features=['usd'], resolution='1h')", ("a resolution but no aggregates",)),
    (VIEW + "aggregates=[Aggregate('usd', 'sum')], ttl='1d')", ("ttl has no meaning",)),
    ("Aggregate('usd', 'sum', window='week')", ("window is 'week'",)),
    ("Aggregate('usd', 'sum', window='0d')", ("its window is empty",)),
    ("Aggregate('usd', 'sum', window=None)", ("window is None",)),
    ("Aggregate('usd', 'sum', offset='late')", ("offset is 'late'",)),
    # Functions
    ("Aggregate('usd', 'median')", ("'median' of 'usd': there is no such", "count_distinct")),
    ("Aggregate('usd', None)", ("there is no such function",)),
    ("Aggregate('usd', 'last_distinct')", ("there is no such function", "last_distinct(n)")),
    ("Aggregate('usd', 'last_distinct(0)')", ("there is no such function",)),
    ("Aggregate('*', 'sum')", ("only rows can be counted",)),
    ("Aggregate(None, 'sum')", ("its column is None",)),
    ("OnDemandFeatureView('o', [plans], {'x': 'int64'}, None)", ("'o': its function is None",)),
    ("OnDemandFeatureView('o', [plans], {'x': 'int64'}, 'f')", ("function is the text 'f'",)),
    ("OnDemandFeatureView('o', [plans], {'x': 'whole'}, print)", ("'o': column 'x': 'whole'",)),
    ("OnDemandFeatureView('o', [], {'x': 'int64'}, print)", ("'o': its sources are empty",)),
    ("OnDemandFeatureView('o', plans, {'x': 'int64'}, print)", ("'o': sources is a",)),
    ("OnDemandFeatureView('o', ['plans'], {'x': 'int64'}, print)", ("holds the text 'plans'",)),
    (VIEW + "transform='SELECT 1')", ("transform is the text 'SELECT 1' and not a function",)),
    (VIEW + "mode='spark')", ("feature view 'view': mode 'spark' is unknown", "polars")),
    # Features
    (VIEW + "features=['usd', 'usd'])", ("more than one feature is called usd", "another name")),
    (
        VIEW + "aggregates=[Aggregate('usd', 'sum'), Aggregate('usd', 'sum')])",
        ("more than one feature is called usd_sum_lifetime",),
    ),
    (
        VIEW + "aggregates=[Aggregate('usd', 'sum')], features=['usd'])",
        ("both features and aggregates", "two views"),
    ),
    (VIEW + "features=['happened'])", ("the feature 'happened' is called as the event time is",)),
    (VIEW + "features=['known_at'])", ("'known_at' is called as the created time is",)),
    (VIEW + "features=['user_id'])", ("the feature 'user_id' is called as a key is",)),
    (
        VIEW + "aggregates=[Aggregate('usd', 'sum', name='happened')])",
        ("'happened' is called as the event",),
    ),
    (VIEW + "features=['event_timestamp'])", ("'event_timestamp' is called as the time that",)),
    (
        "FeatureView('v', source=orders, entities=[user, Entity('u', join_keys=['user_id'])])",
        ("more than one of its entities has the join key user_id",),
    ),
    (
        "FeatureView('v', source=timeless, aggregates=[Aggregate('usd', 'sum', window='7d')])",
        ("usd_sum_7d needs an event time", "'timeless' names none", 'BatchSource("timeless"'),
    ),
    ("FeatureView('v', source=timeless, features=['usd'])", ("v': usd needs an event time",)),
    # Selections and services
    ("plans[[]]", ("a selection of feature view 'plans': it names no feature",)),
    ("plans[['plan', 'plan']]", ("names plan twice",)),
    ("plans[[7]]", ("it holds 7",)),
    ("plans[7]", ("the selection is 7 and not a list",)),
    ("plans[['age']]", ("feature view 'plans': it has no feature age; it has plan",)),
    ("FeatureService('s', [])", ("feature service 's': its features are empty",)),
    ("FeatureService('s', 'plans')", ("features is the text 'plans' and not a list",)),
    ("FeatureService('s', plans)", ("features is a penstock", "not a list")),
    ("FeatureService('s', ['plans'])", ("holds the text 'plans'", "not their names")),
    ("FeatureService('s', [orders])", ("features holds a penstock",)),
    ("FeatureService('s', [None])", ("features holds None",)),
    # What the registry keeps
    (VIEW + "owner=None)", ("feature view 'view': owner is None",)),
    (VIEW + "tags={'tier': 1})", ("tag 'tier' is 1", '"tier": "1"')),
    (VIEW + "tags='gold')", ("tags is the text 'gold'",)),
]


@pytest.mark.parametrize(("lines", "told"), WORDS, ids=[lines for lines, _ in WORDS])
def test_what_the_words_alone_show_is_refused_where_it_is_written(
    declare: Callable[[str], ModuleType], lines: str, told: tuple[str, ...]
) -> None:
    refused(lambda: declare(lines), *told)


SOURCES: list[tuple[str, tuple[str, ...]]] = [
    # Columns
    (VIEW + "features=['age'])", ("'view': the feature 'age' is not a column", "user_id, name")),
    (
        VIEW + "aggregates=[Aggregate('age', 'sum', window='7d')])",
        ("feature view 'view', feature 'age_sum_7d': the column 'age'", "correct the name"),
    ),
    (
        "e = FeatureView('e', source=orders, entities=[Entity('age')], features=['usd'])",
        ("feature view 'e': the key 'age' is not a column",),
    ),
    (
        "s = BatchSource('s', path='orders.parquet', timestamp='when')\n"
        "view = FeatureView('view', source=s, features=['usd'])",
        ("feature view 'view': the time 'when' is not a column",),
    ),
    # Types
    (VIEW + "aggregates=[Aggregate('plan', 'sum')])", ("sum of 'plan', which is a string",)),
    (VIEW + "aggregates=[Aggregate('tags', 'last')])", ("last of 'tags', which is a list",)),
    (VIEW + "features=['place'])", ("feature view 'view', feature 'place': it is a struct",)),
    (VIEW + ")", ("feature view 'view', feature 'place': it is a struct", "leave it out")),
    (
        "s = BatchSource('s', path='orders.parquet', timestamp='name')\n"
        "view = FeatureView('view', source=s, features=['usd'])",
        ("feature view 'view': the time 'name' is a string", "timestamp"),
    ),
    (
        "e = FeatureView('e', source=orders, entities=[Entity('score')], features=['usd'])",
        ("feature view 'e': the key 'score' is a double, which cannot be a key", "cast it"),
    ),
    # Queries and transformations
    (
        "s = BatchSource('s', query='SELEC 1', timestamp='happened')\n"
        "view = FeatureView('view', source=s)",
        ("source 's': DuckDB cannot answer the query", "SELEC"),
    ),
    (
        "s = BatchSource('s', path='missing.parquet', timestamp='happened')\n"
        "view = FeatureView('view', source=s)",
        ("source 's' has no file", "missing.parquet"),
    ),
    (
        "slim = BatchSource('slim', query=\"SELECT user_id, happened FROM 'orders.parquet'\","
        " timestamp='happened')\n"
        "view = FeatureView('view', source=slim, entities=[user])",
        ("feature view 'view' has no features", "Aggregate('*', 'count'"),
    ),
    (
        """
        slim = BatchSource("slim", query="SELECT * EXCLUDE (place) FROM 'orders.parquet'",
                           timestamp="happened")
        @batch_feature_view(source=slim, entities=[user])
        def view(rows):
            return f"SELECT user_id, happened, usdd FROM {rows}"
        """,
        ("feature view 'view'", "usdd", "correct the query"),
    ),
    (
        """
        @batch_feature_view(source=orders, entities=[user])
        def view(rows):
            return f"SELECT user_id, happened, usd FROM {rows}"
        """,
        ("source 'orders', column 'place': it is a struct",),
    ),
    (
        """
        slim = BatchSource("slim", query="SELECT user_id, happened FROM 'orders.parquet'",
                           timestamp="happened")
        @batch_feature_view(source=slim, entities=[user])
        def view(rows):
            return 7
        """,
        ("feature view 'view': its transformation returned 7 and not a query", "mode="),
    ),
    (
        """
        slim = BatchSource("slim", query="SELECT user_id, happened FROM 'orders.parquet'",
                           timestamp="happened")
        @batch_feature_view(source=slim, entities=[user])
        def view(rows):
            return rows.usd
        """,
        ("feature view 'view': its transformation raised AttributeError",),
    ),
    # Names that are there twice
    (
        "a = FeatureView('same', source=orders, entities=[user], features=['usd'])\n"
        "b = FeatureView('same', source=orders, entities=[user], features=['plan'])",
        ("more than one feature view called same", "its own name"),
    ),
    (
        "b = FeatureView('Plans', source=orders, entities=[user], features=['usd'])",
        ("more than one feature view plans and Plans",),
    ),
    (
        """
        @on_demand_feature_view(sources=[basket], schema={"x": "float64"})
        def plans_(rows): return rows
        b = OnDemandFeatureView("plans", [basket], {"x": "float64"}, plans_.function)
        """,
        ("more than one feature view called plans: a feature view and an on-demand",),
    ),
    (
        "a = FeatureService('s', [plans])\nb = FeatureService('s', [spending])",
        ("more than one feature service called s",),
    ),
    (
        "more = BatchSource('orders', path='more.parquet', timestamp='happened')\n"
        "b = FeatureView('b', source=more, entities=[user], features=['usd'])",
        ("more than one source called orders, with path 'orders.parquet' and 'more.parquet'",),
    ),
    (
        "ask = RequestSource('orders', {'x': 'int64'})",
        ("more than one source called orders: a batch source and a request source",),
    ),
    (
        "b = FeatureView('b', source=orders, entities=[Entity('user', join_keys=['name'])],"
        " features=['usd'])",
        ("more than one entity called user, with join_keys ('user_id',) and ('name',)",),
    ),
    # Services
    (
        "s = FeatureService('s', [FeatureView('inline', source=orders, features=['usd'])])",
        ("feature service 's' draws on the feature view 'inline', which features.py does not",),
    ),
    (
        "s = FeatureService('s', [plans])\n"
        "plans = FeatureView('plans', source=orders, entities=[user], features=['usd'])",
        ("draws on the feature view 'plans'", "another of that name is"),
    ),
    (
        "slim = BatchSource('slim', query=\"SELECT user_id, happened, usd FROM"
        " 'orders.parquet'\", timestamp='happened')\n"
        "every = FeatureView('every', source=slim, entities=[user])\n"
        "s = FeatureService('s', [every[['age']]])",
        ("feature view 'every': it has no feature age; it has usd",),
    ),
    (
        "b = FeatureView('b', source=orders, entities=[user], features=['plan'])\n"
        "s = FeatureService('s', [plans, b])",
        ("service 's' has more than one feature called plan: of plans and of b", "rename one"),
    ),
    (
        "b = FeatureView('b', source=orders, entities=[Entity('plan')], features=['usd'])\n"
        "s = FeatureService('s', [plans, b])",
        ("feature service 's': the feature 'plan' of 'plans' is called as a column", "'b'"),
    ),
    (
        "texts = BatchSource('texts', timestamp='happened',"
        " query=\"SELECT 'u' || user_id AS user_id, happened, usd FROM 'orders.parquet'\")\n"
        "b = FeatureView('b', source=texts, entities=[user], features=['usd'])",
        ("the key 'user_id' of entity 'user' is", "int64", "string", "cast it"),
    ),
    (
        "texts = BatchSource('texts', timestamp='happened',"
        " query=\"SELECT 'u' || user_id AS user_id, happened, usd FROM 'orders.parquet'\")\n"
        "b = FeatureView('b', source=texts, entities=[Entity('u', join_keys=['user_id'])],"
        " features=['usd'])\n"
        "s = FeatureService('s', [plans, b])",
        ("feature service 's': the key 'user_id' is", "'plans'", "'b'"),
    ),
    (
        """
        @on_demand_feature_view(sources=[basket], schema={"x": "float64"})
        def priced(rows):
            return rows.assign(x=rows.basket_usd * len(orders.name))[["x"]]
        """,
        ("view 'priced', its function: it names 'orders', a BatchSource", "inside the function"),
    ),
    # Beside plain Feast
    (
        "import feast\n"
        "b = feast.FeatureService(name='s', features=[])\n"
        "s = FeatureService('s', [plans])",
        ("more than one feature service called s, in plain Feast",),
    ),
    (
        "import feast\ns = FeatureService('s', [feast.Entity(name='user', join_keys=['user_id'])])",
        ("feature service 's': features holds a feast.entity.Entity",),
    ),
]


@pytest.mark.parametrize(("lines", "told"), SOURCES, ids=[lines for lines, _ in SOURCES])
def test_where_declarations_and_sources_disagree_it_is_said(
    declare: Callable[[str], ModuleType], tmp_path: Path, lines: str, told: tuple[str, ...]
) -> None:
    module = declare(lines)
    refused(lambda: compiled(module, tmp_path), *told)


def test_what_is_right_is_taken(declare: Callable[[str], ModuleType], tmp_path: Path) -> None:
    module = declare(
        """
        @on_demand_feature_view(sources=[spending, basket], schema={"share": "float64"})
        def share(rows):
            return rows.assign(share=rows.basket_usd / rows.usd_sum_7d)[["share"]]

        again = BatchSource("orders", path="orders.parquet", timestamp="happened",
                            created="known_at")
        scores = FeatureView("scores", source=again, entities=(Entity("name"),),
                             features=(name for name in ("score", "usd")), ttl=timedelta(days=2))
        service = FeatureService("service", features=[plans[["plan"]], spending, share, scores])
        """
    )
    found = compiled(module, tmp_path)
    assert list(found.definitions) == ["plans", "spending", "scores"]
    assert [c.name for c in found.definitions["scores"].features] == ["score", "usd"]
    [service] = [one for one in found.objects if one.name == "service"]
    names = [f.name for projection in service.feature_view_projections for f in projection.features]
    assert names == ["plan", "usd_sum_7d", "share", "score", "usd"]


def test_a_decorator_may_be_used_again(
    declare: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    module = declare(
        """
        slim = BatchSource("slim", query="SELECT user_id, happened, usd FROM 'orders.parquet'",
                           timestamp="happened")
        of_users = batch_feature_view(source=slim, entities=[user])
        @of_users
        def halves(rows): return f"SELECT user_id, happened, usd / 2 AS half FROM {rows}"
        @of_users
        def thirds(rows): return f"SELECT user_id, happened, usd / 3 AS third FROM {rows}"
        """
    )
    assert {"halves", "thirds"} <= set(view_definitions(module, tmp_path))


def test_an_on_demand_function_takes_along_what_it_names(
    declare: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    """Feast 0.67 makes it anew of its text alone, wherever it is served."""
    import pandas as pd
    from feast import OnDemandFeatureView

    module = declare(
        """
        import math
        from operator import mul as times
        RATE, LIMITS = 1.5, {"low": float("-inf"), "high": 100.0}

        def gross(usd):
            return times(usd, RATE)

        @on_demand_feature_view(sources=[basket], schema={"share": "float64"}, owner="growth")
        def share(rows, digits=len(LIMITS)):
            capped = gross(rows.basket_usd).clip(LIMITS["low"], LIMITS["high"])
            return capped.map(math.sqrt).round(digits).to_frame("share")
        """
    )
    [view] = [o for o in compiled(module, tmp_path).objects if isinstance(o, OnDemandFeatureView)]
    served = OnDemandFeatureView.from_proto(view.to_proto()).feature_transformation.udf
    rows = pd.DataFrame({"basket_usd": [6.0, 1000.0]})
    assert served(rows)["share"].tolist() == [3.0, 10.0]
    assert served.__globals__ is not module.__dict__


CODE = """
RATE = {rate}
def scaled(value): return value * {factor}
def other(): return {other}
def decorated(owner): return lambda function: function
@decorated(owner={owner!r})
def function(rows):
    return [scaled(row) * RATE for row in rows]
"""


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"owner": "sales"}, True),
        ({"other": 9}, True),  # which the function does not name
        ({"rate": 3}, False),
        ({"factor": 9}, False),
    ],
)
def test_code_is_what_a_function_names_too(
    declare: Callable[[str], ModuleType], change: dict[str, Any], same: bool
) -> None:
    standard = {"rate": 2, "factor": 5, "other": 7, "owner": "growth"}
    one = declare(CODE.format(**standard)).function
    other = declare(CODE.format(**(standard | change))).function
    assert (code_digest(one) == code_digest(other)) is same


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(days=7), "7d"),
        (timedelta(hours=36), "36h"),
        (timedelta(minutes=90), "90m"),
        (timedelta(seconds=1.5), "1500ms"),
        (timedelta(microseconds=1), "1us"),
        (timedelta(0), "0s"),
    ],
)
def test_durations_are_said_as_they_are_written(span: timedelta, words: str) -> None:
    assert span_words(span) == words


@pytest.mark.parametrize("kind", [*map(str, ROWS.schema.types[:-1]), "decimal128(38, 9)"])
def test_types_are_read_as_arrow_prints_them(kind: str) -> None:
    assert str(arrow_type(kind)) == kind
