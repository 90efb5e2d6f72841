"""Records: the same after a journey as JSON, frozen, and named by their content."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock import records
from penstock.records import (
    Check,
    Column,
    DatasetVersion,
    GateReport,
    Record,
    digest_of,
    from_json,
    kind_named,
    to_json,
)

KINDS = [
    kind
    for kind in vars(records).values()
    if isinstance(kind, type) and issubclass(kind, Record) and kind is not Record
]
DATASET = DatasetVersion(
    name="events",
    path="data/events.parquet",
    digest="a" * 64,
    dvc_md5="b" * 32,
    remote="",
    rows=3,
    columns=(Column(name="id", type="int64"), Column(name="at", type="timestamp[us, tz=UTC]")),
    first_event=None,
    last_event=None,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    datetime | None: st.none() | st.datetimes(timezones=st.just(UTC)),
    dict[str, Any]: st.dictionaries(st.text(), JSON_VALUES),
}


def any_of(kind: type[Record]) -> st.SearchStrategy[Record]:
    fields = {name: field.annotation for name, field in kind.model_fields.items()}
    return st.builds(
        kind,
        **{
            name: BY_TYPE[hint] if hint in BY_TYPE else st.from_type(hint)
            for name, hint in fields.items()
        },
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=25)
def test_a_record_survives_the_journey_as_strict_json(
    kind: type[Record], data: st.DataObject
) -> None:
    record = data.draw(any_of(kind))
    stored = to_json(record)
    back = from_json(json.loads(json.dumps(stored, allow_nan=False)))
    assert type(back) is kind
    assert to_json(back) == stored
    assert back.fingerprint() == record.fingerprint()


def test_what_was_not_measured_comes_back_as_such() -> None:
    report = records.IntegrationReport(
        subject="x", checks=(), requests=0, metrics={"a": math.nan, "b": math.inf, "c": -math.inf}
    )
    back = from_json(to_json(report))
    assert isinstance(back, records.IntegrationReport)
    assert str(back.metrics) == "{'a': nan, 'b': inf, 'c': -inf}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_is_found_by_its_name(kind: type[Record]) -> None:
    assert kind_named(kind.__name__) is kind


def test_a_stored_record_that_cannot_be_read_is_said_by_its_error() -> None:
    with pytest.raises(KeyError, match="Gone"):
        from_json({"kind": "Gone"})
    with pytest.raises(KeyError, match="kind"):
        from_json({"name": "id", "type": "int64"})
    with pytest.raises(ValidationError):
        from_json({"kind": "Column", "name": "id"})
    with pytest.raises(ValidationError):
        from_json({"kind": "Column", "name": "id", "type": "int64", "more": 1})


def test_a_record_never_changes() -> None:
    with pytest.raises(ValidationError):
        DATASET.rows = 4  # type: ignore[misc]
    with pytest.raises(ValidationError):
        DATASET.note = "x"  # type: ignore[attr-defined]


def test_the_fingerprint_names_the_part_that_changed() -> None:
    other = DATASET.model_copy(update={"digest": "c" * 64})
    before, after = DATASET.fingerprint(), other.fingerprint()
    assert {name for name in before if before[name] != after[name]} == {"data"}


def test_the_fingerprint_of_a_dataset_is_not_about_where_its_copies_are() -> None:
    assert DATASET.model_copy(update={"remote": "s3://b"}).fingerprint() == DATASET.fingerprint()


def test_the_fingerprint_lists_the_columns_with_their_types() -> None:
    assert DATASET.fingerprint()["columns"] == "id: int64; at: timestamp[us, tz=UTC]"


@given(st.dictionaries(st.text(), JSON_VALUES), st.randoms())
@settings(max_examples=30)
def test_a_digest_does_not_depend_on_the_order_of_keys(
    values: dict[str, Any], random: Random
) -> None:
    items = list(values.items())
    random.shuffle(items)
    assert digest_of(dict(items)) == digest_of(values)


@given(st.dictionaries(st.text(), st.floats(allow_nan=False), min_size=1), st.data())
def test_a_digest_depends_on_every_value(metrics: dict[str, float], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(metrics)))
    other = data.draw(st.floats(allow_nan=False).filter(lambda value: value != metrics[name]))
    assert digest_of(metrics | {name: other}) != digest_of(metrics)


def report(*passed: bool) -> GateReport:
    checks = [Check(name=str(p), passed=p, observed="", expected="") for p in passed]
    return GateReport(subject="x", checks=tuple(checks))


@pytest.mark.parametrize(
    ("checks", "passed"), [((True, True), True), ((True, False), False), ((), False)]
)
def test_a_gate_passes_when_every_check_does_and_there_is_one(
    checks: tuple[bool, ...], passed: bool
) -> None:
    assert report(*checks).passed is passed
    assert len(report(*checks).failures) == checks.count(False)
