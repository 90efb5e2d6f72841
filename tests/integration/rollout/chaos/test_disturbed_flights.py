"""What others do meanwhile: register, start, deploy; and what clocks and databases do."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from flights import STEP, Flight, begun
from gateways import until
from shops import GOOD, OTHER, PRODUCTION, Shop
from sqlalchemy import create_engine, text

from penstock.errors import RolloutError
from penstock.registry import versions
from penstock.serving import endpoint as endpoints
from penstock.serving.routing.table import serving_only
from penstock.state import leadership, routes

pytestmark = pytest.mark.slow

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


# Other people


def test_a_newer_version_and_another_rollout_of_it_leave_it_alone(
    begin: Callable[..., Flight],
) -> None:
    one = begin()
    one.until("baking")
    shop, table = one.shop, one.shop.table()
    versions.set_alias(shop.project, "shop", versions.STAGING, OTHER)
    shop.staged(OTHER, "Sound")
    with pytest.raises(RolloutError, match=f"{one.rollout} of production goes on"):
        shop.start(OTHER)
    one.look()
    assert shop.table() == table
    one.until("watching")
    assert shop.table().releases[shop.table().champion].model == "shop@2"


@pytest.mark.parametrize("status", ["ramping", "baking", "watching"])
def test_a_table_by_hand_stays_and_the_rollout_is_held_with_its_author(
    begin: Callable[..., Flight], status: str
) -> None:
    one = begin()
    one.until(status)
    shop = one.shop
    place = endpoints.place_of(shop.project, PRODUCTION)
    by_hand = serving_only(shop.spec(OTHER))
    endpoints.publish(place, by_hand)
    author = routes.published(shop.engine, PRODUCTION)
    assert author is not None
    state = one.until("held", looks=3)
    assert state.reason.startswith(f"another routing table was written: {author.actor} wrote")
    for _ in range(10):
        assert one.look().status == "held"
    assert shop.table() == by_hand
    with pytest.raises(RolloutError, match="another routing table"):
        shop.act(one.rollout, "resume")
    shop.act(one.rollout, "abort", reason="it is over")
    assert one.until().outcome == "aborted"
    assert shop.table() == by_hand


# The database


def test_a_database_that_is_moved_away_and_locked_is_waited_for(
    new_shop: Callable[..., Shop], caplog: pytest.LogCaptureFixture
) -> None:
    one = begun(new_shop(), GOOD)
    one.until("baking")
    file = one.shop.project.folder / "state.db"
    with running(one):
        away = shutil.move(file, file.with_suffix(".away"))
        until(lambda: "the state database is away" in caplog.text)
        shutil.move(away, file)
        with sqlite3.connect(file, isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(0.2)
            other.execute("ROLLBACK")
        until(lambda: flown(one))
    assert one.state.outcome == "promoted"


def test_connections_that_are_dropped_are_made_anew(
    new_shop: Callable[..., Shop], postgres: str
) -> None:
    one = begun(new_shop(postgres), GOOD)
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    drop = text(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {others}")
    server = create_engine(postgres)
    dropped = 0
    while not one.settled:
        with server.connect() as connection:
            dropped += connection.execute(drop).scalar_one()
        one.look()
    server.dispose()
    assert dropped > 10
    assert one.state.outcome == "promoted"


class running:  # noqa: N801 -- reads as what it does
    """The controller looks by itself, and gateways report, as time flies."""

    def __init__(self, one: Flight) -> None:
        self._one, self._ended = one, threading.Event()
        self._thread = threading.Thread(target=one.controller.run, args=(self._ended, 0.01))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def flown(one: Flight) -> bool:
    one.gateways.report()
    one.clock.moment += STEP / 2
    return one.settled


# Clocks


def test_a_clock_that_goes_ahead_lets_no_stage_pass_before_its_time(
    begin: Callable[..., Flight],
) -> None:
    one = begin(**SLOW_PLAN)
    one.until("baking")
    began = one.clock()
    one.skew = HOUR  # what gateways write is of their own time
    for _ in range(3):
        assert one.look().stage == 0
    one.skew = 0 * HOUR
    one.until("ramping", step=MINUTE)
    assert one.clock() - began >= 10 * MINUTE
    # So it is with the time in which the new champion is watched.
    one.until("watching", step=MINUTE)
    began = one.clock()
    one.skew = HOUR
    for _ in range(3):
        assert one.look().status == "watching"
    one.skew = 0 * HOUR
    one.until("retaining old", step=MINUTE)
    assert one.clock() - began >= 10 * MINUTE


def test_a_clock_that_goes_back_takes_the_baseline_and_then_goes_on(
    begin: Callable[..., Flight],
) -> None:
    one = begin(**SLOW_PLAN)
    one.until("baking")
    began = one.clock()
    one.skew = -HOUR
    for _ in range(3):
        assert one.look().stage == 0
        assert lease(one) < one.clock()  # gateways, with their own time, are at the baseline
    one.skew = 0 * HOUR
    one.look()
    assert lease(one) > one.clock()
    one.until("ramping", step=MINUTE)
    assert one.clock() - began >= 10 * MINUTE
    assert one.until("promoting", step=MINUTE).passed == 1


@pytest.mark.parametrize("hours", [1, -1])
def test_a_controller_with_a_time_of_its_own_promotes_nothing_unseen(
    begin: Callable[..., Flight], hours: int
) -> None:
    """It never agrees with the gateways: they seem to be silent, or its leases are over."""
    one = begin(provider_patience="1m", ramp_timeout="1m", prepare_timeout="1m")
    one.skew = hours * HOUR
    if hours < 0:
        one.clock.moment += HOUR  # the rollout was begun by a person with the right time
    one.until("held", looks=60)
    assert not {"StagePassed", "Promoting"} & {*one.shop.happened(one.rollout)}


def test_who_led_with_a_clock_that_was_ahead_leads_no_longer(begin: Callable[..., Flight]) -> None:
    one = begin()
    one.until("baking")
    one.skew = HOUR
    one.look()  # it leads for an hour, says its clock; and dies
    one.skew = 0 * HOUR
    one.controller = one.another()
    one.look()
    leader = leadership.leader(one.shop.engine)
    assert leader is not None
    assert leader.holder == one.controller.name
    assert lease(one) <= one.clock() + timedelta(seconds=30)


def lease(one: Flight) -> datetime:
    until = routes.lease_of(one.shop.engine, PRODUCTION).until
    assert until is not None
    return until


SLOW_PLAN: dict[str, Any] = {
    "stages": [{"weight": weight, "bake": "10m", "max": "5h"} for weight in (0.25, 1.0)],
    "watch": "10m",
    "lease": "3m",
    "provider_patience": "2h",
}
