"""What may be told of predictions and units, how it is kept, and how it is sent on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.business_events import unit_and_arm
from penstock.serving.feedback import Feedback, Thing, parse, read, told
from penstock.serving.feedback_log import FeedbackLog
from penstock.serving.http_server.messages import RequestError
from penstock.serving.outcome_sender import OutcomeSender
from penstock.serving.prediction_ids import Tokens, is_alone, parsed, salt_tag, written
from penstock.serving.release import ReleaseSpec
from penstock.serving.routing.buckets import BUCKETS, hash_of
from penstock.serving.routing.routes import Router
from penstock.serving.routing.table import Arm, RoutingTable
from penstock.state.outcomes import Outcome

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HASH = f"{hash_of('ro-1', 'ann'):016x}"
TOKEN = salt_tag("ro-1") + "0" * 24
ID = written(HASH, TOKEN)


def body(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


ABOUT: dict[str, Any] = {"prediction_id": ID, "label": 1}
OF_UNIT: dict[str, Any] = {"unit": "ann", "metric": "revenue", "value": 2.5}


@pytest.mark.parametrize(
    ("document", "field", "reason"),
    [
        pytest.param({"label": 1}, "prediction_id", "none of them is there", id="of nothing"),
        pytest.param(ABOUT | {"unit": "a"}, "unit", "not prediction_id and unit", id="of two"),
        pytest.param(ABOUT | {"prediction_id": "42"}, "prediction_id", "no id", id="no id of ours"),
        pytest.param(ABOUT | {"prediction_id": ""}, "prediction_id", "no id", id="an empty id"),
        pytest.param(OF_UNIT | {"unit": ""}, "unit", "unit is empty", id="an empty unit"),
        pytest.param(OF_UNIT | {"unit": 1.5}, "unit", "Expected", id="a fraction for a unit"),
        pytest.param(OF_UNIT | {"row": 1}, "row", "only predictions", id="a row of a unit"),
        pytest.param(ABOUT | {"id": "x"}, "id", "told apart by row", id="an event of a prediction"),
        pytest.param(ABOUT | {"row": -1}, "row", "Expected", id="a negative row"),
        pytest.param(ABOUT | {"row": 10**9}, "row", "Expected", id="a huge row"),
        pytest.param({"unit_hash": "XY", "value": 1}, "unit_hash", "Expected", id="no hash"),
        pytest.param(OF_UNIT | {"metric": "Re venue"}, "metric", "Expected", id="no name"),
        pytest.param(OF_UNIT | {"label": 1}, "value", "a value, or a label", id="both"),
        pytest.param({"unit": "a", "metric": "x"}, "value", "a value, or a label", id="neither"),
        pytest.param(ABOUT | {"metric": "x"}, "label", "has a value, no label", id="a label of x"),
        pytest.param(ABOUT | {"label": [1]}, "label", "Expected", id="a list"),
        pytest.param(OF_UNIT | {"value": 1e19}, "value", "beyond 1e+18", id="a huge value"),
        pytest.param(ABOUT | {"label": "x" * 257}, "label", "256 characters", id="a long label"),
        pytest.param(ABOUT | {"label": "a\0"}, "label", "cannot be shown", id="a NUL"),
        pytest.param(ABOUT | {"source": "a\n"}, "source", "cannot be shown", id="a line feed"),
        pytest.param(ABOUT | {"at": "1999-01-01T00:00:00Z"}, "at", "not between", id="long ago"),
        pytest.param(ABOUT | {"at": "2026-03-03T00:00:00Z"}, "at", "not between", id="to come"),
        pytest.param(ABOUT | {"at": "2026-03-01T00:00:00"}, "at", "Expected", id="no time zone"),
        pytest.param(b'{"unit": "a", "value": NaN}', None, "not JSON", id="NaN"),
        pytest.param(b'{"unit": "\\ud800", "value": 1}', None, "not JSON", id="half a character"),
        pytest.param([], None, "empty", id="nothing"),
        pytest.param([ABOUT, ABOUT | {"row": 1, "id": "x"}], "id", "entry 1: ", id="one of a list"),
        pytest.param([ABOUT] * 10_001, None, "at most 10000", id="a flood"),
    ],
)
def test_what_is_no_feedback_is_refused_with_the_field_and_the_reason(
    document: Any, field: str | None, reason: str
) -> None:
    with pytest.raises(RequestError) as caught:
        parse(body(document), NOW)
    assert reason in caught.value.message
    assert caught.value.field == field
    assert caught.value.status == (413 if "at most" in reason else 400)


def kept(document: dict[str, Any]) -> tuple[str, str, str, str]:
    (one,) = parse(body(document), NOW)
    said = told(one, "shop", NOW)
    return said.subject, said.metric, said.event, said.unit


def test_things_are_told_apart_by_row_by_id_or_by_the_moment() -> None:
    lasting = f"{hash_of('shop', 'ann'):016x}"
    assert kept(ABOUT) == (ID, "label", "0", HASH)
    assert kept(ABOUT | {"row": 3}) == (ID, "label", "3", HASH)
    assert kept(OF_UNIT | {"id": "order-7"}) == (lasting, "revenue", "order-7", lasting)
    at = {"at": "2026-03-01T09:00:00+09:00"}
    assert kept(OF_UNIT | at) == (lasting, "revenue", "2026-03-01T00:00:00+00:00", lasting)
    assert kept({"unit_hash": HASH, "value": 1, "id": "x"}) == (HASH, "label", "x", HASH)
    # A whole number and its text are one unit, as they are in a request.
    assert kept(OF_UNIT | {"unit": 7, "id": "x"}) == kept(OF_UNIT | {"unit": "7", "id": "x"})


# Ids of predictions


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.text(st.characters(codec="utf-8")))
def test_an_id_says_its_unit_and_salt(unit: int, number: int, salt: str) -> None:
    token = f"{salt_tag(salt)}0123456789abcdef{number:08x}"
    found = parsed(written(f"{unit:016x}", token))
    assert found is not None
    assert found.unit == (f"{unit:016x}" if unit else "")
    assert found.tag == salt_tag(salt)
    own = parsed(written(f"{hash_of(salt, token):016x}", token))
    assert own is not None
    assert is_alone(salt, own)
    assert is_alone(salt, found) == (found == own)


def test_the_ids_of_a_gateway_say_when_and_are_of_one_length() -> None:
    tokens, before = Tokens(), datetime.now(UTC).replace(microsecond=0)
    made = [parsed(written(HASH, tokens.next("9c4f"))) for _ in range(100)]
    assert len({one.own for one in made if one}) == 100
    assert {len(one.own) for one in made if one} == {36}
    assert all(one and one.made and before <= one.made <= datetime.now(UTC) for one in made)
    old = parsed(f"{HASH}-9c4f00112233445566770000002a")
    assert old is not None
    assert old.made is None


@given(st.text(alphabet="0123456789abcdef-xX\n", max_size=60))
def test_only_what_has_the_form_is_an_id(text: str) -> None:
    found = parsed(text)
    if found is not None:
        assert text == written(found.unit, found.own)


# Whose bad event an outcome is


def router(holdback: int = 0, salt: str = "ro-1") -> Router:
    specs = {
        name: ReleaseSpec(
            id=name, endpoint="shop", model="m@1", digest="d", path="/m", replicas=1
        )
        for name in ("r1", "r2")
    }  # fmt: skip
    arm = Arm(name="canary", release="r2", buckets=((0, BUCKETS // 2),))
    return Router(
        RoutingTable(
            endpoint="shop", champion="r1", releases=specs, arms=(arm,), salt=salt,
            holdback=holdback, epoch="ro-1/0",
        )
    )  # fmt: skip


def own_id(salt: str = "ro-1") -> tuple[str, str]:
    token = salt_tag(salt) + "7" * 24
    return token, written(f"{hash_of(salt, token):016x}", token)


def test_an_outcome_belongs_to_the_arm_of_its_unit() -> None:
    arm = router().route("ann", 0.0).arm
    for one in (Feedback(unit="ann"), Feedback(unit_hash=HASH), Feedback(prediction_id=ID)):
        assert unit_and_arm(one, router(), 0.0) == (HASH, arm)


def test_where_units_are_held_back_a_hash_does_not_say_the_arm() -> None:
    some = router(holdback=5_000)
    for one in (Feedback(unit_hash=HASH), Feedback(prediction_id=ID)):
        assert unit_and_arm(one, some, 0.0) is None
    assert unit_and_arm(Feedback(unit="ann"), some, 0.0) == (HASH, some.route("ann", 0.0).arm)
    token, own = own_id()
    route = some.route(token, 0.0)
    assert unit_and_arm(Feedback(prediction_id=own), some, 0.0) == (route.unit, route.arm)


def test_a_prediction_of_another_rollout_says_nothing_about_this_one() -> None:
    _, own = own_id("ro-0")
    assert unit_and_arm(Feedback(prediction_id=own), router(), 0.0) is None
    pinned = written("", TOKEN)
    assert unit_and_arm(Feedback(prediction_id=pinned), router(), 0.0) is None


# Sending


class Database:
    """Takes what is sent; it may be away."""

    def __init__(self) -> None:
        self.told: list[Outcome] = []
        self.away = False

    def write(self, told: Sequence[Outcome]) -> None:
        if self.away:
            raise OSError("away")
        self.told += told


def test_what_was_told_is_sent_once_though_the_database_was_away_and_the_gateway_killed(
    tmp_path: Path,
) -> None:
    database, log = Database(), FeedbackLog(tmp_path, "shop")
    database.away = True
    sender = OutcomeSender(tmp_path, "shop", database.write)
    log.keep(body([ABOUT, OF_UNIT | {"id": "a", "at": "2026-02-28T00:00:00Z"}]))
    sender.close()
    assert (database.told, sender.failures > 0) == ([], True)
    # Another gateway takes over the folder.
    database.away = False
    OutcomeSender(tmp_path, "shop", database.write).close()
    assert [(one.metric, one.value) for one in database.told] == [("label", 1.0), ("revenue", 2.5)]
    assert database.told[1].second == int(datetime(2026, 2, 28, tzinfo=UTC).timestamp())
    FeedbackLog(tmp_path, "shop").keep(body(ABOUT | {"label": "kept", "row": 1}))
    OutcomeSender(tmp_path, "shop", database.write).close()
    assert [(one.event, one.value, one.text) for one in database.told[2:]] == [("1", None, "kept")]


def test_a_line_that_is_being_written_is_sent_when_it_is_whole(tmp_path: Path) -> None:
    database, log = Database(), FeedbackLog(tmp_path, "shop")
    log.keep(body(ABOUT))
    (file,) = tmp_path.glob("*.jsonl")
    line = file.read_bytes().replace(b'"event":"0"', b'"event":"1"')
    file.write_bytes(file.read_bytes() + line[:20])
    sender = OutcomeSender(tmp_path, "shop", database.write)
    sender.send()
    assert [one.event for one in database.told] == ["0"]
    file.write_bytes(file.read_bytes() + line[20:])
    sender.close()
    assert [one.event for one in database.told] == ["0", "1"]


def test_files_say_what_was_told_first_or_replaced_last(tmp_path: Path) -> None:
    log = FeedbackLog(tmp_path, "shop")
    for value, replace in ((1, False), (2, False), (3, True), (4, False)):
        log.keep(body(ABOUT | {"label": value, "replace": replace}))
    found = read(tmp_path)
    assert {thing: one.value for thing, one in found.items()} == {Thing(ID, "label", "0"): 3}
    assert found[Thing(ID, "label", "0")].told_at > NOW - timedelta(days=3650)
