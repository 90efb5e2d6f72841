"""Canonical JSON (RFC 8785), against published vectors, and what has no canonical form."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.audit.canonical import canonical, commitment
from penstock.audit.entries import Actor, Draft, Entry, Personal, read, written
from penstock.errors import DataError, IntegrityError

VECTORS = Path(__file__).parent.parent / "vectors" / "jcs"
NOW = datetime(2026, 3, 1, 2, 3, 4, tzinfo=UTC)
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", sorted(file.name for file in (VECTORS / "input").iterdir()))
def test_published_vectors(name: str) -> None:
    given_text = (VECTORS / "input" / name).read_text(encoding="utf-8")
    expected = (VECTORS / "output" / name).read_bytes()
    assert canonical(json.loads(given_text)) == expected.rstrip(b"\n")


@given(values)
def test_it_says_the_same_and_does_not_depend_on_order(value: Any) -> None:
    data = canonical(value)
    exact = json.loads(data, parse_int=float)
    assert exact == json.loads(json.dumps(value), parse_int=float)
    assert canonical(reordered(value)) == data


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        2**53,
        -(2**53),
        {"deep": [{"er": 10**30}]},
        {1: "a key that is no text"},
        "half of a pair: \ud800",
        {"\udfff": 1},
        b"bytes",
        NOW,
        {1, 2},
    ],
    ids=repr,
)
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match="cannot be written to the ledger"):
        canonical(value)


def test_what_is_nested_beyond_measure_is_refused() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(DataError, match="nested"):
        canonical(value)


def draft(**fields: Any) -> Draft:
    return Draft(by=Actor("ann"), action="model.approved", subject="churn@3", **fields)


def test_what_is_empty_is_left_out_of_an_entry() -> None:
    data = written(draft(), sequence=7, id="x", at=NOW)
    assert data == (
        b'{"action":"model.approved","actor":{"id":"ann"},"at":"2026-03-01T02:03:04.000000Z",'
        b'"id":"x","sequence":7,"subject":"churn@3","version":"3"}'
    )


def test_all_that_an_entry_says_comes_back() -> None:
    who = Actor("c-1", name="controller", authenticated="token", on_behalf_of="ann")
    said = Draft(
        by=who,
        action="model.promoted",
        subject="churn",
        version="3",
        reason="seen ✓",
        digest="d" * 64,
        before="b" * 64,
        after="a" * 64,
        digests={"data": "1", "code": "2", "artefact": "3"},
        environment="production",
        approvals=("e-1", "e-2"),
        policy="p-7",
        decision="allowed",
        outcome="done",
        request_id="r-1",
        run_id="run-1",
        details={"weight": 0.5, "nan": math.nan, "none": None},
        stream="rollout/a",
        position=2,
    )
    entry = read(written(said, sequence=1, id="x", at=NOW))
    assert isinstance(entry, Entry)
    assert entry.details == {"weight": 0.5, "nan": "nan", "none": None}
    for name in set(Draft.__struct_fields__) - {"details"}:
        assert getattr(entry, name) == getattr(said, name), name
    assert (entry.actor, entry.by, entry.at) == ("c-1", who, NOW)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"details": {"a": 2**60}}, "exceeds safe integer"),
        ({"details": {"a": NOW}}, "datetime"),
        ({"details": {"a": object()}}, "object"),
        ({"reason": "nul \x00"}, "NUL"),
        ({"details": {"a\x00": 1}}, "NUL"),
        ({"stream": "s" * 513, "position": 1}, "513 characters"),
    ],
    ids=["integer", "datetime", "object", "nul", "nul in a name", "stream"],
)
def test_what_no_database_could_keep_exactly_is_refused(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        written(draft(**fields), sequence=1, id="x", at=NOW)


def test_an_escape_that_is_only_written_about_is_no_nul() -> None:
    entry = read(written(draft(reason=r"\u0000"), sequence=1, id="x", at=NOW))
    assert entry.reason == r"\u0000"


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff", b'{"action":"a","surprise":1}'])
def test_bytes_that_are_no_entry_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="no entry of a ledger"):
        read(data)


def test_what_is_about_nobody_is_not_personal() -> None:
    with pytest.raises(DataError, match="needs an id"):
        Personal("", {"email": "x"})


def test_a_commitment_is_to_salt_and_payload() -> None:
    made = commitment(b"s" * 32, b"payload")
    assert len(made) == 64
    assert made != commitment(b"t" * 32, b"payload")
    assert made != commitment(b"s" * 32, b"payloae")
