"""What gateways tell of a rollout, on every database: routes, observations, events, outcomes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from databases import at_revision
from sqlalchemy import Connection, Engine, insert, text

from penstock.errors import PenstockError
from penstock.state import database as state
from penstock.state import first_events, observations, outcomes, routes
from penstock.state.first_events import EXPOSED, FirstEvent, Kind
from penstock.state.forgetting import forget
from penstock.state.observations import Observed, Summed, Total
from penstock.state.outcomes import Outcome, Sums
from penstock.state.tables import ledger

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


# Routes


def publish(engine: Engine, expected: int, **more: object) -> int:
    document = {"number": expected + 1}
    return routes.publish(
        engine, "shop", document, expected=expected, actor="ann", at=NOON, **more  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_lease_is_renewed_without_a_new_revision(database: Engine) -> None:
    assert routes.lease_of(database, "shop") == (0, None)
    revision = publish(database, 0, lease_until=NOON)
    assert routes.lease_of(database, "shop") == (1, NOON)
    assert routes.renew(database, "shop", revision, NOON + SECOND)
    assert routes.lease_of(database, "shop") == (1, NOON + SECOND)
    found = routes.published(database, "shop")
    assert found is not None
    assert (found.document, found.lease_until) == ({"number": 1}, NOON + SECOND)


def test_the_lease_of_a_table_that_was_replaced_is_not_renewed(database: Engine) -> None:
    first = publish(database, 0, lease_until=NOON)
    publish(database, 1)
    assert not routes.renew(database, "shop", first, NOON + SECOND)
    assert routes.lease_of(database, "shop") == (2, None)


def test_a_table_from_an_older_entry_of_the_ledger_is_refused(database: Engine) -> None:
    publish(database, 0, fence=7)
    with pytest.raises(
        routes.StaleError, match="from entry 7 of the ledger; this one from entry 6"
    ):
        publish(database, 1, fence=6)
    publish(database, 1, fence=7)
    # Who compares nothing changes the table, but not how old a table may be.
    publish(database, 2)
    with pytest.raises(routes.StaleError):
        publish(database, 3, fence=6)
    found = routes.published(database, "shop")
    assert found is not None
    assert (found.revision, found.fence) == (3, 7)
    with pytest.raises(routes.ConflictError) as caught:
        publish(database, 2, fence=9)
    assert not isinstance(caught.value, routes.StaleError)


# Observations


def summed(gateway: str, since: int, until: int, epoch: str = "ro-1/0", **counts: object) -> Summed:
    return Summed("shop", epoch, "r2", "canary", gateway, since, until, counts)


def test_sums_of_all_gateways_and_stretches_add_up_once(database: Engine) -> None:
    observations.write(database, (), [summed("a", 10, 11, requests=2, latency={"79": 2})])
    # The sum goes on, is told twice, and after a restart another one begins.
    again = summed("a", 10, 14, requests=5, latency={"79": 4, "80": 1}, memory_bytes=9)
    observations.write(database, (), [again])
    observations.write(database, (), [again])
    observations.write(database, (), [summed("a", 20, 25, requests=1, memory_bytes=7)])
    observations.write(database, (), [summed("b", 12, 30, requests=10, latency={"80": 3})])
    counts = {"requests": 16, "latency": {"79": 4, "80": 4}, "memory_bytes": 9}
    found = observations.totals(database, "shop", "ro-1")
    assert found == {("ro-1/0", "canary"): Total(counts, 10, 30)}


def test_totals_are_of_one_epoch_or_of_a_rollout_and_of_no_other(database: Engine) -> None:
    epochs = ("ro-1/0", "ro-1/1", "ro-1/10", "ro-12/0", "ro_1/0")
    observations.write(
        database, (), [summed("a", 1, 2, epoch, requests=n) for n, epoch in enumerate(epochs)]
    )

    def found(prefix: str, endpoint: str = "shop") -> set[str]:
        return {epoch for epoch, _ in observations.totals(database, endpoint, prefix)}

    assert found("ro-1") == {"ro-1/0", "ro-1/1", "ro-1/10"}
    assert found("ro-1/1") == {"ro-1/1"}
    assert found("ro_1") == {"ro_1/0"}  # not a pattern
    assert found("ro-1", "another") == set()


def test_seconds_of_one_arm_are_kept_apart_by_epoch(database: Engine) -> None:
    seen = [
        Observed("shop", epoch, "r2", "canary", "a", 7, {"requests": n})
        for n, epoch in enumerate(("ro-1/0", "ro-1/1"))
    ]
    observations.write(database, seen)
    observations.write(database, seen)
    assert observations.read(database, "shop", 0, 100) == seen
    observations.forget(database, "shop", 8)
    assert observations.read(database, "shop", 0, 100) == []


def test_the_evidence_of_days_is_read_within_50_ms(database: Engine) -> None:
    """Four gateways, four stages, three arms; each gateway was started again twice a stage."""
    counts = {
        "requests": 10**6,
        "latency": {str(n): 10**4 for n in range(60, 160)},
        "predictions": {str(n): 10**5 for n in range(20)},
    }
    for gateway in range(4):
        observations.write(
            database,
            (),
            [
                Summed("shop", f"ro-1/{stage}", f"r{arm}", arm, f"g{gateway}", since, 99, counts)
                for stage in range(4)
                for arm in ("champion", "canary", "shadow")
                for since in range(3)
            ],
        )
    spans = []
    for _ in range(10):
        begun = time.thread_time()  # the machine may be busy
        found = observations.totals(database, "shop", "ro-1")
        spans.append(time.thread_time() - begun)
    assert found["ro-1/3", "canary"].counts["requests"] == 12 * 10**6
    assert min(spans) < 0.05


# First events


def event(unit: str, gateway: str = "a", **changes: object) -> FirstEvent:
    given = {"stage": 0, "metric": "error", "arm": "canary", "second": 7}
    return FirstEvent(  # type: ignore[arg-type]
        endpoint="shop", rollout="ro-1", gateway=gateway, unit=unit.rjust(16, "0"),
        **(given | changes),
    )  # fmt: skip


def test_a_unit_counts_once_whoever_saw_it_and_however_often(database: Engine) -> None:
    seen = [event("1"), event("2"), event("3", arm="champion")]
    first_events.write(database, seen)
    first_events.write(database, seen)  # the answer of the first try was lost
    first_events.write(database, [event("1", "b"), event("1", "b", stage=1), event("4", "b")])
    first_events.write(database, [event("1", metric="slow"), event("1", stage=1, metric="slow")])
    assert first_events.counts(database, "shop", "ro-1") == {
        Kind(0, "error", "canary"): 3,
        Kind(0, "error", "champion"): 1,
        Kind(0, "slow", "canary"): 1,
    }
    assert first_events.counts(database, "shop", "ro-2") == {}


def test_gateways_that_see_the_same_units_at_once_do_not_wait_for_each_other(
    database: Engine,
) -> None:
    units = [event(f"{n:x}") for n in range(2_000)]
    failed: list[Exception] = []

    def tell(gateway: str, order: int) -> None:
        mine = [one._replace(gateway=gateway) for one in units[::order]]
        try:
            for start in range(0, len(mine), 200):
                first_events.write(database, mine[start : start + 200])
        except Exception as error:  # noqa: BLE001 -- told to the test
            failed.append(error)

    threads = [
        threading.Thread(target=tell, args=("a", 1)),
        threading.Thread(target=tell, args=("b", -1)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert first_events.counts(database, "shop", "ro-1") == {Kind(0, "error", "canary"): 2_000}


# Outcomes


def outcome(
    subject: str = "u1", metric: str = "revenue", event: str = "e1", value: float | None = 1.0,
    *, second: int = 100, told: int = 0, replaces: bool = False, text: str | None = None,
) -> Outcome:  # fmt: skip
    return Outcome(
        "shop", subject, metric, event, subject[:16], value, text, second, NOON + told * SECOND,
        "crm", replaces,
    )  # fmt: skip


def stored(database: Engine) -> list[float | None]:
    with database.connect() as connection:
        return list(connection.execute(text("SELECT value FROM outcomes")).scalars())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_what_is_told_first_counts_in_whatever_order_it_comes(
    database: Engine, order: tuple[int, ...]
) -> None:
    told = [outcome(value=float(n), told=n) for n in range(3)]
    for n in order:
        outcomes.write(database, [told[n]])
    outcomes.write(database, [told[0], told[0]])
    assert stored(database) == [0.0]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_what_replaces_counts_instead_and_the_last_of_it(
    database: Engine, order: tuple[int, ...]
) -> None:
    told = [outcome(value=float(n), told=n, replaces=n in (1, 2)) for n in range(4)]
    for n in order:
        outcomes.write(database, [told[n]])
    assert stored(database) == [2.0]


def test_moments_are_sums_over_units_before_and_after_their_exposure(database: Engine) -> None:
    exposed = [
        event("1", metric=EXPOSED, second=100, lasting="l1".rjust(16, "0")),
        event("2", metric=EXPOSED, second=100, lasting="l2".rjust(16, "0")),
        event("3", metric=EXPOSED, second=100, arm="champion"),
        event("9", metric=EXPOSED, second=500),  # after the end
        event("4", metric="error"),  # not exposed
    ]
    first_events.write(database, exposed)
    u1, u3 = "1".rjust(16, "0"), "3".rjust(16, "0")
    outcomes.write(
        database,
        [
            outcome(u1, event="a", value=2.0, second=100),
            outcome(u1, event="b", value=3.0, second=150),
            outcome(u1 + "-p1", event="0", value=4.0, second=160),  # by a prediction's id
            outcome("l1".rjust(16, "0"), event="c", value=7.0, second=50),  # before
            outcome(u1, event="d", value=9.0, second=10),  # too long before
            outcome(u1, event="e", value=9.0, second=400),  # after the end
            outcome(u1, metric="visits", event="a", value=9.0, second=100),
            outcome(u1, event="f", value=None, text="much", second=100),
            outcome(u3, event="a", value=5.0, second=100),
            outcome("4".rjust(16, "0"), event="a", value=9.0, second=100),
        ],
    )
    found = outcomes.moments(
        database, "shop", "ro-1", ["revenue", "refund"], until=400, covariate_since=20
    )
    assert found == {
        # Unit 1: y = 2 + 3 + 4, x = 7. Unit 2 did nothing.
        ("revenue", "canary"): Sums(2, 9.0, 81.0, 7.0, 49.0, 63.0),
        ("revenue", "champion"): Sums(1, 5.0, 25.0, 0.0, 0.0, 0.0),
        ("refund", "canary"): Sums(2, 0.0, 0.0, 0.0, 0.0, 0.0),
        ("refund", "champion"): Sums(1, 0.0, 0.0, 0.0, 0.0, 0.0),
    }


def test_labels_are_of_predictions(database: Engine) -> None:
    outcomes.write(
        database,
        [
            outcome("1" * 16 + "-p", "label", "2", 1.0, second=10),
            outcome("1" * 16 + "-q", "label", "0", None, text="kept", second=11),
            outcome("1" * 16 + "-p", "revenue", "2", 1.0, second=10),
            outcome("1" * 16, "label", "x", 1.0, second=10),
        ],
    )
    found = sorted(outcomes.labels(database, "shop", 10, 12))
    assert [one[:4] for one in found] == [
        ("1" * 16 + "-p", 2, 1.0, None),
        ("1" * 16 + "-q", 0, None, "kept"),
    ]
    assert outcomes.labels(database, "shop", 12, 20) == []


# The migration


@pytest.fixture
def before(empty_url: str) -> Iterator[Engine]:
    """A database of the revision before rollouts."""
    with at_revision(empty_url, "0002") as engine:
        yield engine


def test_what_is_in_a_database_is_there_after_the_migration(
    before: Engine, empty_url: str, tmp_path: Path
) -> None:
    with before.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO routes (endpoint, revision, document, written_at, actor) VALUES"
                """ ('shop', 3, '{"champion": "r1", "lease_until": "2026-03-01T12:00:00Z"}',"""
                " '2026-03-01 11:00:00+00:00', 'ann')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO observations (endpoint, release, arm, gateway, second, counts)"
                """ VALUES ('shop', 'r1', 'champion', 'a', 7, '{"requests": 2}')"""
            )
        )
        connection.execute(
            text(
                "INSERT INTO ledger (at, actor, action, subject, digest, reason, details) VALUES"
                " ('2026-03-01 11:00:00+00:00', 'ann', 'model.approved', 's@1', 'd', '', '{}'),"
                " ('2026-03-01 11:00:00+00:00', 'ann', 'model.approved', 's@2', 'd', '', '{}')"
            )
        )
    engine = state.open_state(empty_url, tmp_path)
    found = routes.published(engine, "shop")
    assert found is not None
    assert (found.revision, found.document) == (3, {"champion": "r1"})
    assert (found.lease_until, found.fence) == (NOON, 0)
    seen = Observed("shop", "", "r1", "champion", "a", 7, {"requests": 2})
    assert observations.read(engine, "shop", 0, 100) == [seen]
    with engine.connect() as connection:
        entries = connection.execute(text("SELECT stream, position FROM ledger")).all()
    assert [tuple(entry) for entry in entries] == [(None, None), (None, None)]
    engine.dispose()


def test_a_place_in_a_stream_of_the_ledger_is_taken_once(database: Engine) -> None:
    def write(connection: Connection, sequence: int, stream: str, position: int) -> None:
        entry = json.dumps({"action": "x", "stream": stream, "position": position})
        row = {"sequence": sequence, "entry": entry, "leaf": b"\x00" * 32}
        connection.execute(insert(ledger), row)

    with database.begin() as connection:
        for sequence, (stream, position) in enumerate((("ro-1", 1), ("ro-1", 2), ("ro-2", 1))):
            write(connection, sequence, stream, position)
    with pytest.raises(Exception, match=r"(?i)unique"), database.begin() as connection:
        write(connection, 4, "ro-1", 2)


def test_a_conflict_is_an_error_that_a_user_may_see() -> None:
    assert issubclass(routes.StaleError, PenstockError)


def test_what_is_known_of_one_person_is_forgotten(database: Engine) -> None:
    def told(subject: str, event: str, unit: str) -> Outcome:
        return Outcome("shop", subject, "label", event, unit, 1.0, None, 9, NOON, "", False)

    mine, others = "a" * 16, "b" * 16
    outcomes.write(
        database,
        [
            told(f"{others}-1", "0", others),
            told(f"{others}-1", "1", others),
            told(mine, "order-7", mine),
            told(others, "order-8", others),
        ],
    )
    for unit, lasting in (("1" * 16, mine), ("2" * 16, others)):
        first_events.write(
            database, [FirstEvent("shop", "ro-1", 1, EXPOSED, "b", 9, "g", unit, lasting)]
        )
    things = {(f"{others}-1", 0), (f"{others}-9", 0)}
    assert forget(database, "elsewhere", things, {mine}) == (0, 0)
    assert forget(database, "shop", things, {mine}) == (2, 1)
    assert forget(database, "shop", things, {mine}) == (0, 0)
    with database.connect() as connection:
        left = connection.execute(text("SELECT subject, event FROM outcomes ORDER BY event"))
        assert left.all() == [(f"{others}-1", "1"), (others, "order-8")]
        assert connection.execute(text("SELECT unit FROM first_events")).all() == [("2" * 16,)]
