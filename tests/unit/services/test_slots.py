"""Which slot is done next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from penstock.services.cron import Schedule
from penstock.services.slots import ATTEMPTS, Action, Stage, Standing, decide

HOURLY = Schedule("0 * * * *")
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def test_without_catchup_the_latest_slot_stands_for_those_missed() -> None:
    decision = decide(HOURLY, Standing(Stage.ENDED, NOON), NOON + 5.5 * HOUR, catchup=False)
    assert (decision.action, decision.slot) == (Action.START, NOON + 5 * HOUR)
    assert "missed since 2026-11-01 13:00 UTC" in decision.reason


def test_with_catchup_every_slot_is_done_in_order() -> None:
    standing, now, done = Standing(Stage.BEGUN, NOON), NOON + 3.5 * HOUR, []
    while (decision := decide(HOURLY, standing, now, catchup=True)).action is Action.START:
        done.append(decision.slot)
        standing = Standing(Stage.ENDED, decision.slot)
    assert done == [NOON + HOUR, NOON + 2 * HOUR, NOON + 3 * HOUR]
    assert (decision.action, decision.slot) == (Action.WAIT, NOON + 4 * HOUR)


def test_a_slot_that_broke_off_is_done_again_and_given_up_at_last() -> None:
    for attempt in range(1, ATTEMPTS):
        broken = Standing(Stage.CLAIMED, NOON, attempt)
        decision = decide(HOURLY, broken, NOON + MINUTE, catchup=False)
        assert (decision.action, decision.slot) == (Action.START, NOON)
        assert decision.attempt == attempt + 1
    broken = Standing(Stage.CLAIMED, NOON, ATTEMPTS)
    assert decide(HOURLY, broken, NOON + MINUTE, catchup=True).action is Action.GIVE_UP


def test_a_newer_slot_stands_for_one_that_broke_off_unless_all_are_to_be_done() -> None:
    broken = Standing(Stage.CLAIMED, NOON, 1)
    assert decide(HOURLY, broken, NOON + HOUR, catchup=False).slot == NOON + HOUR
    assert decide(HOURLY, broken, NOON + HOUR, catchup=True).slot == NOON


def test_a_clock_that_was_put_back_does_no_slot_twice() -> None:
    decision = decide(HOURLY, Standing(Stage.ENDED, NOON), NOON - 3 * HOUR, catchup=False)
    assert (decision.action, decision.slot) == (Action.WAIT, NOON + HOUR)


def test_a_year_of_missed_minutes_is_passed_over_at_once() -> None:
    every = Schedule("* * * * *")
    now = NOON + timedelta(days=400)
    decision = decide(every, Standing(Stage.ENDED, NOON), now, catchup=False)
    assert decision.slot == now


@given(st.lists(st.timedeltas(MINUTE, 7 * HOUR), max_size=30), st.booleans())
def test_slots_are_done_in_order_and_none_twice_however_often_one_looks(
    pauses: list[timedelta], catchup: bool
) -> None:
    standing, now, done = Standing(Stage.BEGUN, NOON), NOON, list[datetime]()
    for pause in pauses:
        now += pause
        while (decision := decide(HOURLY, standing, now, catchup=catchup)).action is Action.START:
            done.append(decision.slot)
            standing = Standing(Stage.ENDED, decision.slot)
    assert done == sorted(set(done))
    assert all(NOON < slot <= now for slot in done)
    if catchup:
        assert done == list(HOURLY.between(NOON, now))
