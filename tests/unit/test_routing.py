"""Which unit gets which arm: pure decisions, the same everywhere and for good."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.serving.http_server.messages import Request
from penstock.serving.release import ReleaseSpec
from penstock.serving.routing.buckets import (
    BUCKETS,
    Ranges,
    bucket_of,
    hash_of,
    reallocated,
    share,
)
from penstock.serving.routing.routes import Router
from penstock.serving.routing.table import Arm, Mirror, RoutingTable, Unit, serving_only
from penstock.serving.routing.units import UnitReader

PAGE = Path(__file__).parent.parent.parent / "docs" / "serving.md"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
VECTORS = [  # salt, unit, the unit's hash, its bucket
    ("churn", "customer-42", "91deaff26d923113", 5698),
    ("churn", "customer-43", "efa084b735148c8f", 9360),
    ("production", "", "5e27c1f11836626e", 3677),
    ("production", "1", "9f0e9dbd4e3607bb", 6213),
    ("production", "Zoë", "2609dbbcac4d51f5", 1485),
    ("production", "顧客-7", "7f9f6d7442bf031d", 4985),
    ("production/holdback", "1", "4fdecc90ffd7ff5d", 3119),
    ("production/mirror", "1", "1730eed1e853a6ea", 905),
]


def spec(name: str, model: str = "churn@1") -> ReleaseSpec:
    return ReleaseSpec(
        id=name, endpoint="production", model=model, digest="d", path="/models/1", replicas=1
    )


def table(**given: Any) -> RoutingTable:
    releases = {name: spec(name, f"churn@{name[1:]}") for name in ("r1", "r2", "r3")}
    return RoutingTable(endpoint="production", champion="r1", releases=releases, **given)


def canary(weight: int, **more: Any) -> RoutingTable:
    return table(arms=(Arm(name="canary", release="r2", buckets=((0, weight),)),), **more)


def arm_of(router: Router, unit: str, now: float = 0.0) -> str:
    return router.route(unit, now).arm


# Buckets


@pytest.mark.parametrize(("salt", "unit", "number", "bucket"), VECTORS)
def test_vectors_that_hold_in_every_language(
    salt: str, unit: str, number: str, bucket: int
) -> None:
    assert f"{hash_of(salt, unit):016x}" == number
    assert bucket_of(salt, unit) == bucket
    # The formula as it is written down, without the product's code.
    first = sha256(salt.encode() + b"\0" + unit.encode()).digest()[:8]
    assert int.from_bytes(first, "big") * 10_000 // 2**64 == bucket


def test_the_documented_vectors_are_these() -> None:
    rows = re.findall(r"^\| `(.*?)` \| `(.*?)` \| `(\w{16})` \| (\d+) \|$", PAGE.read_text(), re.M)
    assert [(salt, unit.strip('"'), h, int(b)) for salt, unit, h, b in rows] == VECTORS


def test_another_process_finds_the_same_arms() -> None:
    found = canary(3_000, holdback=500, mirror=Mirror(release="r3", buckets=2_000))
    units = [f"customer-{number}" for number in range(2_000)]
    code = (
        "import json, sys\n"
        "from penstock.serving.routing.routes import Router\n"
        "from penstock.serving.routing.table import RoutingTable\n"
        "document, units = json.load(sys.stdin)\n"
        "router = Router(RoutingTable.model_validate(document))\n"
        "print(json.dumps([list(router.route(unit, 0.0)) for unit in units]))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([found.model_dump(mode="json"), units]),
        env={"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    router = Router(found)
    assert json.loads(said.stdout) == [list(router.route(unit, 0.0)) for unit in units]


WEIGHTS = st.dictionaries(
    st.sampled_from(["canary", "green", "b", "c"]), st.integers(0, 3_000), max_size=4
).filter(lambda weights: sum(weights.values()) <= BUCKETS)


def buckets_of(ranges: Ranges) -> set[int]:
    return {bucket for first, end in ranges for bucket in range(first, end)}


@settings(max_examples=60, deadline=None)
@given(st.lists(WEIGHTS, min_size=1, max_size=5))
def test_a_change_of_weights_moves_as_few_buckets_as_it_needs(
    changes: list[dict[str, int]],
) -> None:
    held: dict[str, Ranges] = {}
    for weights in changes:
        after = reallocated(held, weights)
        assert {name: share(ranges) for name, ranges in after.items()} == weights
        everything = [bucket for ranges in after.values() for bucket in buckets_of(ranges)]
        assert len(set(everything)) == len(everything) <= BUCKETS
        assert not everything or (min(everything) >= 0 and max(everything) < BUCKETS)
        for name, ranges in after.items():
            before, now = buckets_of(held.get(name, ())), buckets_of(ranges)
            assert before <= now or now <= before  # it grows, stays or shrinks; it never moves
            # A table accepts it, and the ranges are as few as can be.
            assert all(a[1] < b[0] for a, b in pairwise(ranges))
        table(arms=tuple(Arm(name=n, release="r2", buckets=r) for n, r in after.items()))
        held = after


@pytest.mark.parametrize("weights", [{"a": 10_001}, {"a": 6_000, "b": 4_001}, {"a": -1}])
def test_weights_that_are_no_shares_are_refused(weights: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="are not within 0 and 10000"):
        reallocated({}, weights)


# A million units

MILLION = 1_000_000


@pytest.fixture(scope="module")
def million() -> Any:
    """The bucket of each of a million units, as the formula gives them."""
    prefix, raw = sha256(b"production\0"), bytearray()
    for number in range(MILLION):
        one = prefix.copy()
        one.update(b"customer-%d" % number)
        raw += one.digest()[:8]
    hashes = numpy.frombuffer(bytes(raw), ">u8")
    # floor(h · 10000 / 2^64) in 64 bits: 10000 = 2^4 · 625, in two steps that do not overflow.
    high, low = (
        hashes.astype("u8") >> numpy.uint64(32),
        hashes.astype("u8") & numpy.uint64(2**32 - 1),
    )
    product = high * numpy.uint64(BUCKETS) + ((low * numpy.uint64(BUCKETS)) >> numpy.uint64(32))
    return (product >> numpy.uint64(32)).astype(int)


@pytest.mark.slow
def test_a_million_units_are_those_of_the_product(million: Any) -> None:
    sample = range(0, MILLION, 9_973)
    assert [bucket_of("production", f"customer-{n}") for n in sample] == million[sample].tolist()


@pytest.mark.slow
def test_a_million_units_spread_evenly_over_the_buckets(million: Any) -> None:
    from scipy.stats import chisquare

    assert chisquare(numpy.bincount(million, minlength=BUCKETS)).pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "weights",
    [(1,), (100,), (1_000,), (2_500,), (5_000,), (9_900,), (500, 1_500), (3_000, 3_000, 3_000)],
)
def test_a_million_units_are_split_as_promised(million: Any, weights: tuple[int, ...]) -> None:
    from scipy.stats import chisquare

    names = ("a", "b", "c")[: len(weights)]
    ranges = reallocated({}, dict(zip(names, weights, strict=True)))
    arms = numpy.zeros(BUCKETS, int)
    for place, name in enumerate(names, 1):
        for first, end in ranges[name]:
            arms[first:end] = place
    seen = numpy.bincount(arms[million], minlength=len(weights) + 1)
    expected = numpy.array([BUCKETS - sum(weights), *weights]) * (MILLION / BUCKETS)
    assert chisquare(seen, expected).pvalue > 1e-3


@pytest.mark.slow
def test_no_unit_of_a_million_changes_arm_as_weights_grow(million: Any) -> None:
    held: dict[str, Ranges] = {}
    before = numpy.zeros(MILLION, int)
    for step in (1, 10, 100, 1_000, 2_500, 5_000):
        held = reallocated(held, {"canary": step, "green": step // 2})
        arms = numpy.zeros(BUCKETS, int)
        for place, name in enumerate(("canary", "green"), 1):
            for first, end in held[name]:
                arms[first:end] = place
        now = arms[million]
        assert (now[before > 0] == before[before > 0]).all()
        assert numpy.bincount(now, minlength=3)[1] > 0
        before = now


# Decisions


def test_the_decision_follows_the_ranges() -> None:
    router = Router(canary(5_699))
    assert arm_of(Router(canary(5_698, salt="churn")), "customer-42") == "champion"
    route = Router(canary(5_699, salt="churn")).route("customer-42", 0.0)
    assert route == ("r2", "canary", "91deaff26d923113", "", "")
    # Without a salt it is the endpoint's name: two endpoints split independently.
    assert arm_of(router, "1") == "champion"
    assert arm_of(router, "Zoë") == "canary"


def test_a_table_of_one_release_sends_everybody_there() -> None:
    router = Router(serving_only(spec("r1")))
    assert {router.route(f"u{n}", 0.0)[:2] for n in range(100)} == {("r1", "champion")}


def test_an_ended_lease_gives_everything_to_the_champion() -> None:
    router = Router(canary(BUCKETS, mirror=Mirror(release="r3"), epoch="ro-1/2"), NOON)
    until = NOON.timestamp()
    assert router.holds(until - 0.001)
    assert not router.holds(until)
    assert router.route("u", until - 0.001)[:2] == ("r2", "canary")
    assert router.route("u", until - 0.001).mirror == "r3"
    assert router.route("u", until - 0.001).epoch == "ro-1/2"
    for late in (until, until + 1e9):
        route = router.route("u", late)
        # Nor is it evidence: units of the challenger's arm are among the champion's now.
        assert (route.release, route.arm, route.mirror, route.epoch) == ("r1", "champion", "", "")
        assert route.unit == f"{hash_of('production', 'u'):016x}"


def test_a_renewed_lease_holds_for_longer_and_without_one_for_ever() -> None:
    router, until = Router(canary(BUCKETS, epoch="ro-1/0"), NOON), NOON.timestamp()
    router.renew(NOON + timedelta(seconds=30))
    assert router.route("u", until + 29.9).arm == "canary"
    assert router.route("u", until + 30.0).arm == "champion"
    router.renew(None)
    assert router.route("u", until + 1e9)[1:] == (
        "canary", f"{hash_of('production', 'u'):016x}", "", "ro-1/0",
    )  # fmt: skip


@given(st.text(st.characters(codec="utf-8")), st.integers(1, BUCKETS))
def test_the_hash_of_a_unit_says_its_arm_unless_some_are_held_back(unit: str, weight: int) -> None:
    router = Router(canary(weight))
    route = router.route(unit, 0.0)
    assert router.arm_of_hash(route.unit) == route.arm
    assert Router(canary(weight, holdback=1)).arm_of_hash(route.unit) is None


@pytest.mark.parametrize("epoch", ["/1", "ro-1/", "ro-1/x", "ro 1/1", "ro/1/2", "x" * 65])
def test_an_epoch_is_a_rollout_and_a_stage(epoch: str) -> None:
    with pytest.raises(ValidationError, match="epoch"):
        table(epoch=epoch)


def test_units_held_back_never_leave_the_champion() -> None:
    units = [f"u{n}" for n in range(3_000)]
    held = {u for u in units if bucket_of("production/holdback", u) < 1_000}
    assert 200 < len(held) < 400
    for weight in (100, 5_000, BUCKETS):
        router, free = Router(canary(weight, holdback=1_000)), Router(canary(weight))
        for unit in units:
            expected = "champion" if unit in held else arm_of(free, unit)
            assert arm_of(router, unit) == expected
            assert router.route(unit, 0.0).release == ("r1" if expected == "champion" else "r2")


def test_the_mirror_copies_its_share_of_the_champions_units() -> None:
    units = [f"u{n}" for n in range(4_000)]
    router = Router(table(mirror=Mirror(release="r3", buckets=2_500)))
    copied = {unit for unit in units if router.route(unit, 0.0).mirror == "r3"}
    assert copied == {u for u in units if bucket_of("production/mirror", u) < 2_500}
    # Whom it copies says nothing about which arm it gets.
    both = Router(canary(5_000, mirror=Mirror(release="r3", buckets=2_500)))
    of_canary = [u for u in units if arm_of(both, u) == "canary"]
    assert 0.2 < len(copied.intersection(of_canary)) / len(of_canary) < 0.3


def test_a_release_is_not_asked_twice_about_one_request() -> None:
    router = Router(canary(5_000, mirror=Mirror(release="r2")))
    for number in range(200):
        route = router.route(f"u{number}", 0.0)
        assert route.mirror == ("" if route.release == "r2" else "r2")


@pytest.mark.parametrize("wanted", ["r2", "churn@2", "2"])
def test_a_pin_names_a_release_by_id_model_or_version(wanted: str) -> None:
    assert Router(table()).pinned(wanted) == ("r2", "pinned", "", "", "")


@pytest.mark.parametrize("wanted", ["r9", "churn", "churn@9", "churn@", "@2", ""])
def test_a_pin_to_what_is_not_live_is_none(wanted: str) -> None:
    assert Router(table()).pinned(wanted) is None


# The document


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        pytest.param({"champion": "r9"}, "'r9' is routed to, but not described", id="champion"),
        pytest.param({"mirror": Mirror(release="r9")}, "'r9' is routed to", id="mirror"),
        pytest.param({"arms": (Arm(name="a", release="r9"),)}, "'r9' is routed to", id="arm"),
        pytest.param(
            {"arms": (Arm(name="a", release="r2"), Arm(name="a", release="r3"))},
            "names of arms must differ",
            id="two of one name",
        ),
        pytest.param(
            {"arms": (Arm(name="champion", release="r2"),)}, "names of arms must differ", id="taken"
        ),
        pytest.param(
            {"arms": (Arm(name="pinned", release="r2"),)}, "names of arms must differ", id="pinned"
        ),
        pytest.param(
            {
                "arms": (
                    Arm(name="a", release="r2", buckets=((0, 10),)),
                    Arm(name="b", release="r3", buckets=((9, 20),)),
                )
            },
            "belong to one arm each",
            id="overlap",
        ),
        pytest.param(
            {"arms": (Arm(name="a", release="r2", buckets=((0, 10_001),)),)},
            "belong to one arm each",
            id="beyond the last bucket",
        ),
        pytest.param(
            {"arms": (Arm(name="a", release="r2", buckets=((-1, 5),)),)},
            "belong to one arm each",
            id="before the first bucket",
        ),
        pytest.param({"holdback": 10_001}, "holdback", id="holdback beyond all"),
        pytest.param({"format": 2}, "format", id="a format of later"),
        pytest.param({"colour": "red"}, "colour", id="unknown field"),
    ],
)
def test_a_table_that_is_not_whole_is_refused(wrong: dict[str, Any], said: str) -> None:
    given = table().model_dump() | {
        name: value.model_dump() if isinstance(value, Mirror) else value
        for name, value in wrong.items()
    }
    with pytest.raises(ValidationError, match=said):
        RoutingTable.model_validate(given)


@pytest.mark.parametrize("buckets", [((10, 5),), ((5, 5),)])
def test_a_range_that_holds_nothing_is_refused(buckets: Ranges) -> None:
    with pytest.raises(ValidationError):
        table(arms=(Arm(name="a", release="r2", buckets=buckets),))


def test_the_name_of_a_shadow_is_no_arms() -> None:
    """Rows of the log tell a shadow by its arm."""
    with pytest.raises(ValidationError, match="names of arms must differ"):
        table(arms=(Arm(name="shadow", release="r2"),))


def test_a_release_is_described_under_its_own_id() -> None:
    with pytest.raises(ValidationError):
        RoutingTable(endpoint="production", champion="r1", releases={"r1": spec("r2")})


@pytest.mark.parametrize("buckets", [0, 10_001])
def test_a_mirror_copies_something(buckets: int) -> None:
    with pytest.raises(ValidationError):
        Mirror(release="r1", buckets=buckets)


@pytest.mark.parametrize("name", ["", "Canary", "2nd", "a b", "x" * 33, 'a"b'])
def test_names_of_arms_are_labels(name: str) -> None:
    with pytest.raises(ValidationError):
        Arm(name=name, release="r1")


def test_weights_are_fractions_that_sum_to_one() -> None:
    arms = (
        Arm(name="a", release="r2", buckets=((0, 1_000), (5_000, 5_500))),
        Arm(name="b", release="r3", buckets=((1_000, 1_250),)),
    )
    assert table(arms=arms).weights() == {"champion": 0.825, "a": 0.15, "b": 0.025}


def test_a_table_survives_json() -> None:
    first = canary(1_234, holdback=10, mirror=Mirror(release="r3"), epoch="ro-1/2", slow_us=50_000)
    assert RoutingTable.model_validate_json(first.model_dump_json()) == first


# Units


def asked(body: Any, **headers: str) -> Request:
    names = {n.replace("_", "-").encode(): v.encode() for n, v in headers.items()}
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request(b"POST", b"/predict", b"", names, raw, "", 0.0, lambda _: None)


TENSORS = [
    {"name": "visits", "datatype": "FP64", "shape": [1, 1], "data": [[3.5]]},
    {"name": "user", "datatype": "INT64", "shape": [2], "data": [[7], [8]]},
]


@pytest.mark.parametrize(
    ("body", "unit"),
    [
        pytest.param({"entities": {"user": [7, 8]}}, "7", id="entity key"),
        pytest.param({"entities": {"user": ["ann"]}}, "ann", id="text"),
        pytest.param({"rows": [{"user": 7}, {"user": 8}]}, "7", id="first row"),
        pytest.param({"dataframe_records": [{"user": 7}]}, "7", id="record"),
        pytest.param({"inputs": {"user": [7]}}, "7", id="column"),
        pytest.param({"inputs": [{"user": 7}]}, "7", id="row of inputs"),
        pytest.param({"inputs": TENSORS}, "7", id="tensor"),
        pytest.param({"inputs": [], "parameters": {"user": "ann"}}, "ann", id="parameter"),
        pytest.param({"inputs": {}, "params": {"user": "ann"}}, "ann", id="MLflow's params"),
        pytest.param({"rows": [{"user": 1.5}]}, "", id="a fraction is none"),
        pytest.param({"rows": [{"user": True}]}, "", id="true is none"),
        pytest.param({"rows": [{"user": None}]}, "", id="null"),
        pytest.param({"rows": [{"user": []}]}, "", id="an empty list"),
        pytest.param({"rows": [{"visits": 7}]}, "", id="absent"),
        pytest.param({"rows": 7}, "", id="no rows"),
        pytest.param([1], "", id="a list"),
        pytest.param(b"{", "", id="not JSON"),
        pytest.param(b"[" * 100_000, "", id="deep"),
        pytest.param(b"\xff", "", id="not UTF-8"),
        pytest.param({"inputs": [{"datatype": "FP64", "name": []}]}, "", id="a list as a name"),
        pytest.param({"inputs": [{"datatype": "FP64", "name": {}}]}, "", id="an object as a name"),
    ],
)
def test_the_unit_is_found_in_the_body(body: Any, unit: str) -> None:
    assert UnitReader(Unit(field="user")).read(asked(body)) == unit


def test_a_header_comes_before_a_field() -> None:
    reader = UnitReader(Unit(header="X-User", field="user"))
    assert reader.read(asked({"rows": [{"user": 7}]}, x_user="ann")) == "ann"
    assert reader.read(asked({"rows": [{"user": 7}]})) == "7"
    assert UnitReader(Unit(header="X-User")).read(asked({"rows": [{"user": 7}]})) == ""


def test_a_header_that_is_not_utf_8_is_a_unit_all_the_same() -> None:
    request = asked({})
    request.headers = {b"x-user": b"Zo\xeb"}
    unit = UnitReader(Unit(header="X-User")).read(request)
    assert unit
    assert 0 <= bucket_of("production", unit) < BUCKETS


@pytest.mark.parametrize("length", ["5", "999999", "9" * 5_000, "-1", "x", ""])
def test_the_length_of_a_binary_header_may_be_anything(length: str) -> None:
    body = b'{"inputs": {"user": [7]}}'
    request = asked(body, inference_header_content_length=length)
    assert UnitReader(Unit(field="user")).read(request) in ("", "7")


def test_the_unit_of_a_binary_request_is_in_its_header() -> None:
    head = json.dumps({"inputs": [], "parameters": {"user": "ann"}}).encode()
    request = asked(head + b"\x00\xff", inference_header_content_length=str(len(head)))
    assert UnitReader(Unit(field="user")).read(request) == "ann"


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_any_body_has_a_unit_or_none(body: Any) -> None:
    unit = UnitReader(Unit(field="user")).read(asked(body))
    assert isinstance(unit, str)
    hash_of("production", unit)
