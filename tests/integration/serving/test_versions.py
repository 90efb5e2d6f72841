"""Several releases of one endpoint side by side: who is answered by which; what a bad one costs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from databases import empty_postgres
from gateways import HALF, ROWS, Gateway, alive, load, signal_all, table, until

from penstock.serving import endpoint
from penstock.serving.routing.buckets import BUCKETS, bucket_of, hash_of
from penstock.serving.routing.table import Mirror
from penstock.settings import ServingSettings
from penstock.state import observations, routes

pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).parent.parent.parent / "support"
UNITS = [f"user-{number}" for number in range(300)]
QUICK = ServingSettings(
    port=0,
    max_rows=100,
    max_body_mb=0.1,
    request_timeout=timedelta(seconds=6),
    hang_timeout=timedelta(seconds=1),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway for all tests; each brings releases of its own, but for the champion."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(SUPPORT))
        it = Gateway(tmp_path_factory.mktemp("versions"), QUICK)
    yield it
    it.stop()


@pytest.fixture(autouse=True)
def _misbehaving_features_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that the test may harm."""
    it = Gateway(tmp_path / "endpoint", QUICK)
    yield it
    it.stop()


def of_canary(weight: int = BUCKETS // 2) -> list[str]:
    return [unit for unit in UNITS if bucket_of("staging", unit) < weight]


def of_champion(weight: int = BUCKETS // 2) -> list[str]:
    return [unit for unit in UNITS if bucket_of("staging", unit) >= weight]


def asked_once(gateway: Gateway) -> dict[str, dict[str, Any]]:
    """The answer to each unit."""
    url = gateway.url
    with load(url, UNITS) as running:
        until(lambda: {one.unit for one in running.seen} == set(UNITS))
    assert running.failures == []
    return {one.unit: one._asdict() for one in running.seen}


# Arms


def test_units_are_split_as_promised_and_stay_while_the_weight_grows(
    shared: Gateway, champion: Path, challenger: Path
) -> None:
    first, second = shared.spec("r1", champion), shared.spec("r2", challenger)
    before: set[str] = set()
    for weight in (1_000, 5_000):
        shared.serve(table(first, second, weights={"canary": weight}))
        answers = asked_once(shared)
        got = {unit for unit, said in answers.items() if said["release"] == "r2"}
        assert got == set(of_canary(weight))
        assert before <= got
        before = got

        rows = shared.rows_of([said["prediction_id"] for said in answers.values()])
        for row in rows:
            unit = next(u for u, s in answers.items() if s["prediction_id"] == row["prediction_id"])
            arm, release = ("canary", "r2") if unit in got else ("champion", "r1")
            assert (row["arm"], row["release"], row["model"]) == (
                arm,
                release,
                f"churn@{release[1]}",
            )
            assert row["unit"] == f"{hash_of('staging', unit):016x}"
    told = shared.routes()
    assert told["weights"] == {"champion": 0.5, "canary": 0.5}
    assert told["arms"] == {"canary": "r2"}


def test_what_was_observed_adds_up_to_what_was_asked(
    own: Gateway, champion: Path, challenger: Path
) -> None:
    own.serve(table(own.spec("r1", champion), own.spec("r2", challenger), weights=HALF))
    with load(own.url, UNITS) as running:
        running.wait_for(1_500)
    bad = own.ask("/predict", {"rows": []}, X_User=of_canary()[0])
    assert bad.status == 400
    assert running.failures == []
    asked = Counter(one.release for one in running.seen)

    expected = {("r1", "champion"): asked["r1"], ("r2", "canary"): asked["r2"] + 1}
    until(lambda: observed(own) == expected)
    samples = own.samples()
    for (release, arm), count in expected.items():
        refused = 1 if release == "r2" else 0
        assert samples["penstock_requests_total", release, arm, "200"] == count - refused
        assert (
            samples["penstock_request_duration_seconds_count", release, arm]
            == samples["penstock_rows_total", release, arm]
            == count - refused
        )
        assert samples["penstock_arm_weight_ratio", release, arm] == 0.5
        assert samples["penstock_replicas_ready", release] == 1
    assert samples["penstock_requests_total", "r2", "canary", "400"] == 1
    assert len(own.logged()) == sum(expected.values())

    # And what is not written every second is written at the end.
    more = own.ask("/predict", ROWS, X_User=of_champion()[0])
    assert more.status == 200
    own.stop()
    expected["r1", "champion"] += 1
    assert observed(own) == expected
    counts = [one.counts for one in observations.read(own.place.engine(), "staging", 0, 2**31 - 1)]
    latencies = sum(sum(map(int, one["latency"].values())) for one in counts if "latency" in one)
    assert latencies == sum(expected.values()) - 1


def observed(gateway: Gateway) -> dict[tuple[str, str], int]:
    """Requests by release and arm, as the state database has them."""
    found: Counter[tuple[str, str]] = Counter()
    for one in observations.read(gateway.place.engine(), "staging", 0, 2**31 - 1):
        found[one.release, one.arm] += one.counts["requests"]
    return dict(found)


def test_units_held_back_keep_the_champion(
    shared: Gateway, champion: Path, challenger: Path
) -> None:
    first, second = shared.spec("r1", champion), shared.spec("r2", challenger)
    shared.serve(table(first, second, weights={"canary": BUCKETS}, holdback=2_000))
    answers = asked_once(shared)
    held = {unit for unit in UNITS if bucket_of("staging/holdback", unit) < 2_000}
    assert {unit for unit, said in answers.items() if said["release"] == "r1"} == held
    assert held


def test_a_tester_pins_a_release(shared: Gateway, champion: Path, challenger: Path) -> None:
    # No unit is routed to it yet.
    shared.serve(table(shared.spec("r1", champion), shared.spec("r2", challenger)))
    pinned = [shared.ask("/predict", ROWS, X_Penstock_Release=by) for by in ("r2", "churn@2", "2")]
    assert [answer.body["release"] for answer in pinned] == ["r2"] * 3
    assert {row["arm"] for row in shared.rows_of([a.body["prediction_id"] for a in pinned])} == {
        "pinned"
    }
    unknown = shared.ask("/predict", ROWS, X_Penstock_Release="r9")
    assert (unknown.status, unknown.body["error"]) == (404, "no release 'r9' is live here")
    assert shared.ask("/predict", ROWS).body["release"] == "r1"


def test_only_who_may_pin_a_release_pins_it(own: Gateway, champion: Path, challenger: Path) -> None:
    own.settings = QUICK.model_copy(
        update={"keys": ServingSettings(keys=("shop:predict:s", "qa:predict+pin:t")).keys}  # type: ignore[arg-type]
    )
    own.serve(table(own.spec("r1", champion), own.spec("r2", challenger)))

    def pin(**headers: str) -> tuple[int, str]:
        said = own.ask("/predict", ROWS, X_Penstock_Release="r2", **headers)
        return said.status, said.body.get("release", "")

    assert pin() == (401, "")
    assert pin(X_API_Key="s") == (403, "")
    assert pin(X_API_Key="t") == (200, "r2")
    assert own.ask("/predict", ROWS, X_API_Key="s").body["release"] == "r1"
    assert own.ask("/routes", X_API_Key="t").status == 403


def test_an_ended_lease_gives_all_units_to_the_champion(
    shared: Gateway, champion: Path, challenger: Path
) -> None:
    first, second = shared.spec("r1", champion), shared.spec("r2", challenger)
    weights = {"canary": BUCKETS}
    shared.serve(table(first, second, weights=weights))

    def release() -> str:
        return str(shared.ask("/predict", ROWS, X_User="a").body["release"])

    def renew(seconds: float) -> datetime:
        lease_until = datetime.now(UTC) + timedelta(seconds=seconds)
        assert routes.renew(shared.place.engine(), "staging", revision, lease_until)
        return lease_until

    revision = shared.publish(
        table(first, second, weights=weights),
        lease_until=(until_then := datetime.now(UTC) + timedelta(seconds=3)),
    )
    until(lambda: shared.routes()["revision"] == revision)
    assert release() == "r2"
    until(lambda: release() == "r1")
    assert datetime.now(UTC) >= until_then
    # Whoever controls it is back: the same table holds again, and for longer each time.
    renew(2)
    until(lambda: release() == "r2")
    until_then = renew(4)
    until(lambda: release() == "r1")
    assert datetime.now(UTC) >= until_then
    assert shared.routes()["revision"] == revision


def test_a_model_that_is_asked_for_by_name_is_never_another(
    shared: Gateway, champion: Path, challenger: Path
) -> None:
    other = shared.spec("r40", challenger).model_copy(update={"model": "other@7"})
    shared.serve(table(shared.spec("r1", champion), other))
    given = {"visits": ("FP64", 3.5), "age": ("INT64", 41), "plan": ("BYTES", "basic")}
    tensors = [
        {"name": name, "datatype": kind, "shape": [1], "data": [value]}
        for name, (kind, value) in given.items()
    ]
    for path, model in (
        ("/v2/models/churn/infer", "churn"),
        ("/v2/models/other/infer", "other"),
        ("/v2/models/other/versions/7/infer", "other"),
    ):
        answer = shared.ask(path, {"inputs": tensors})
        assert (answer.status, answer.body["model_name"]) == (200, model)
    assert shared.ask("/v2/models/nobody/infer", {"inputs": tensors}).status == 404


# The mirror


def test_a_shadow_gets_copies_that_nobody_waits_for(
    shared: Gateway, champion: Path, challenger: Path
) -> None:
    first, shadow = shared.spec("r1", champion), shared.spec("r3", challenger)
    shared.serve(table(first, shadow, mirror=Mirror(release="r3")))
    copied = [shared.ask("/predict", ROWS, X_User=unit).body for unit in UNITS[:20]]
    assert {answer["release"] for answer in copied} == {"r1"}

    # It stands still: answers come all the same, before any of its own.
    signal_all(shared.pids("r3"), signal.SIGSTOP)
    late = [shared.ask("/predict", ROWS, X_User=unit).body for unit in UNITS[:20]]
    assert {answer["release"] for answer in late} == {"r1"}

    def shadows(answers: list[Any]) -> list[dict[str, Any]]:
        rows = shared.rows_of([answer["prediction_id"] for answer in answers])
        return [row for row in rows if row["arm"] == "shadow"]

    rows = until(lambda: len(found := shadows(copied)) == 20 and found)
    for row in rows:
        assert (row["release"], row["model"], row["status"]) == ("r3", "churn@3", 200)
        (primary,) = [a for a in copied if a["prediction_id"] == row["prediction_id"]]
        assert row["features"] == {"visits": 3.5, "age": 41, "plan": "basic"}
        assert row["output"] != primary["predictions"]
    until(lambda: len(shadows(late)) == 20)
    assert shared.samples()["penstock_mirrored_requests_total",] >= 40


def test_copies_are_dropped_and_counted_where_the_shadow_is_slow(
    shared: Gateway, champion: Path, challenger: Path
) -> None:
    first, shadow = shared.spec("r1", champion), shared.spec("r4", challenger)
    shared.serve(table(first, shadow, mirror=Mirror(release="r4")))
    with load(shared.url, UNITS, connections=16) as running:

        def dropped() -> bool:
            signal_all(shared.pids("r4"), signal.SIGSTOP)  # its successors too
            return shared.samples()["penstock_mirror_dropped_total",] > 0

        until(dropped)
    assert running.failures == []
    assert {one.release for one in running.seen} == {"r1"}


def test_a_shadow_that_crashes_is_not_seen(
    shared: Gateway, champion: Path, challenger: Path
) -> None:
    first, shadow = shared.spec("r1", champion), shared.spec("r5", challenger, replicas=2)
    shared.serve(table(first, shadow, mirror=Mirror(release="r5")))
    with load(shared.url, UNITS) as running:
        for _ in range(5):
            signal_all(until(lambda: shared.pids("r5")), signal.SIGKILL)
            running.wait_for(50)
    assert running.failures == []
    assert {one.release for one in running.seen} == {"r1"}


# A challenger that fails


def test_a_challenger_that_crashes_costs_nobody_an_answer(
    shared: Gateway, champion: Path, challenger: Path
) -> None:
    first, bad = shared.spec("r1", champion), shared.spec("r6", challenger, replicas=2)
    shared.serve(table(first, bad, weights=HALF))
    pid = shared.pid
    with load(shared.url, UNITS) as running:
        alone = 0
        for _ in range(6):
            killed = until(lambda: shared.pids("r6"))
            signal_all(killed, signal.SIGKILL)
            until(lambda k=killed: not set(k) & set(shared.pids("r6")))
            running.wait_for(100)
            alone += not shared.pids("r6")
        assert alone  # it is started again later and later; nobody waited for that
        until(lambda: len(shared.pids("r6")) == 2)
        recovered = len(running.seen)
        running.wait_for(len(UNITS))
    assert running.failures == []
    assert {one.release for one in running.of(of_champion())} == {"r1"}
    # What the challenger owed was answered by the champion, and is logged against the challenger.
    assert {one.release for one in running.of(of_canary())} == {"r1", "r6"}
    stood_in = [one for one in running.of(of_canary()) if one.release == "r1"]
    rows = shared.rows_of([one.prediction_id for one in stood_in])
    assert {(row["release"], row["arm"]) for row in rows} == {("r6", "canary"), ("r1", "champion")}
    assert {row["status"] for row in rows if row["arm"] == "canary"} == {503}
    assert "r6" in {one.release for one in running.seen[recovered:]}
    assert shared.pid == pid


def test_a_challenger_that_hangs_costs_nobody_an_answer(
    shared: Gateway, champion: Path, challenger: Path
) -> None:
    first, bad = shared.spec("r1", champion), shared.spec("r7", challenger, replicas=2)
    shared.serve(table(first, bad, weights=HALF))
    hung = shared.pids("r7")
    with load(shared.url, UNITS, connections=8) as running:
        signal_all(hung, signal.SIGSTOP)
        until(lambda: not any(alive(pid) for pid in hung))
        until(lambda: len(shared.pids("r7")) == 2)
        running.wait_for(len(UNITS))
    assert running.failures == []
    assert {one.release for one in running.of(of_champion())} == {"r1"}
    assert running.seen[-1].status == 200


ENTITIES = {"entities": {"customer_id": [40]}}


def reading(kind: str) -> dict[str, Any]:
    return {"module": f"misbehaving_features:{kind}", "entities": ["customer_id"]}


def test_a_challenger_that_burns_the_processor_leaves_its_neighbour_alone(
    shared: Gateway, champion: Path, challenger: Path
) -> None:
    first = shared.spec("r8", champion, features=reading("Sound"))
    bad = shared.spec("r9", challenger, features=reading("Burning"))
    shared.serve(table(first, bad, weights=HALF))
    with load(shared.url, of_champion(), ENTITIES, 2) as good:
        with load(shared.url, of_canary(), ENTITIES, 2) as slow:
            slow.wait_for(10)
        spans = sorted(one.seconds for one in good.seen)
    assert good.failures == []
    assert {one.release for one in good.seen} == {"r8"}
    assert spans[len(spans) // 2] < min(one.seconds for one in slow.seen if one.release == "r9")


def test_a_challenger_that_leaks_is_replaced_and_its_neighbour_does_not_notice(
    shared: Gateway, champion: Path, challenger: Path
) -> None:
    first = shared.spec("r8", champion, features=reading("Sound"))
    bad = shared.spec("r10", challenger, features=reading("Leaking"), memory=1 << 30, replicas=2)
    shared.serve(table(first, bad, weights=HALF))
    pid = shared.pid
    with load(shared.url, of_champion(), ENTITIES) as calm:
        calm.wait_for(500)
    with load(shared.url, UNITS, ENTITIES) as running:
        seen: set[int] = set()

        def replaced() -> bool:
            now = shared.pids("r10")
            assert all(resident(replica) < 1 << 30 for replica in now)
            seen.update(now)
            return len(seen) >= 6

        until(replaced)
        running.wait_for(100)
    assert running.failures == []  # a sibling is asked, or else the champion
    good, canary = running.of(of_champion()), running.of(of_canary())
    assert {one.release for one in good} == {"r8"}
    assert "r10" in {one.release for one in canary}
    assert p99(good) < max(4 * p99(calm.seen), 0.1)  # the leak takes a processor, and no more
    assert shared.pid == pid


def p99(seen: list[Any]) -> float:
    """Seconds."""
    return float(sorted(one.seconds for one in seen)[len(seen) * 99 // 100])


def resident(pid: int) -> int:
    """Bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS")), 0)


# Changes of the table


def test_a_table_every_100_ms_for_a_minute_loses_no_request(
    shared: Gateway, champion: Path, challenger: Path
) -> None:
    first, second = shared.spec("r1", champion), shared.spec("r2", challenger)
    tables = [
        table(first, second, weights={"canary": 1_000}),
        table(first, second, weights={"canary": 9_000}, holdback=1_000),
        table(second, first, weights=HALF),
        table(first, second, mirror=Mirror(release="r2")),
        table(second, first, weights={"canary": 0}),
    ]
    shared.serve(tables[0])
    with load(shared.url, UNITS, connections=8, pause=0.02) as running:
        served = set()
        begun, number = time.monotonic(), 0
        while time.monotonic() - begun < 60:
            revision = shared.publish(tables[number % len(tables)])
            number += 1
            time.sleep(max(0.0, begun + number * 0.1 - time.monotonic()))
            served.add(shared.routes()["revision"])
        until(lambda: shared.routes()["revision"] == revision)
    assert running.failures == []
    assert len(served) > 100  # it followed, and did not wait for the end
    assert len({one.prediction_id for one in running.seen}) == len(running.seen)
    assert {one.release for one in running.seen} == {"r1", "r2"}


def test_new_releases_come_and_go_without_losing_a_request(
    shared: Gateway, champion: Path, challenger: Path
) -> None:
    first = shared.spec("r1", champion)
    with load(shared.url, UNITS, connections=4) as running:
        old: list[int] = []
        for number in range(20, 24):
            second = shared.spec(f"r{number}", challenger)
            shared.serve(table(first, second, weights=HALF))
            until(lambda n=number: any(one.release == f"r{n}" for one in running.seen[-50:]))
            gone = old
            until(lambda g=gone: not any(alive(pid) for pid in g))
            old = shared.pids(f"r{number}")
    assert running.failures == []


def test_a_table_that_cannot_be_served_changes_nothing(
    shared: Gateway, champion: Path, challenger: Path
) -> None:
    first, second = shared.spec("r1", champion), shared.spec("r2", challenger)
    shared.serve(table(first, second, weights=HALF))
    before = shared.routes()
    with load(shared.url, UNITS) as running:
        wrong = shared.spec("r30", challenger, digest="0" * 64)
        revision = shared.publish(table(first, wrong, weights=HALF))
        said = until(
            lambda: (
                (s := endpoint.status(shared.folder)).revision == revision
                and s.state == "failed"
                and s
            )
        )
    assert "digest" in said.error
    assert running.failures == []
    assert shared.routes() == before


@pytest.fixture(params=["sqlite", "postgresql"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state.db'}"
        return
    with empty_postgres() as address:
        yield address


def test_two_gateways_follow_one_table_within_a_second(
    tmp_path: Path, champion: Path, challenger: Path, state: str
) -> None:
    both = [Gateway(tmp_path / host, QUICK, state) for host in ("one", "other")]
    first, second = both[0].spec("r1", champion), both[0].spec("r2", challenger)
    try:
        for one in both:
            one.serve(table(first, second, weights={"canary": 100}))
        spans = []
        for weight in (1_000, 2_000, 3_000, 4_000, 5_000):
            begun = time.monotonic()
            revision = both[0].publish(table(first, second, weights={"canary": weight}))
            for one in both:
                until(lambda g=one, r=revision: g.routes()["revision"] == r)
            spans.append(time.monotonic() - begun)
        assert min(spans) < 1.0  # the least, for the machine may be busy
        # And the same units go to the same arm on both.
        assert [
            g.ask("/predict", ROWS, X_User=u).body["release"] for g in both for u in UNITS[:40]
        ] == ["r2" if unit in of_canary() else "r1" for _ in both for unit in UNITS[:40]]
        until(lambda: sum(observed(both[0]).values()) == 80)
    finally:
        for one in both:
            one.stop()


# The state database is away


def test_without_the_state_database_it_serves_on_and_follows_when_it_is_back(
    own: Gateway, champion: Path, challenger: Path, tmp_path: Path
) -> None:
    away = tmp_path / "away"
    home = tmp_path / "home"
    home.mkdir()
    own.state = f"sqlite:///{home / 'state.db'}"
    first, second = own.spec("r1", champion), own.spec("r2", challenger)
    own.serve(table(first, second, weights={"canary": BUCKETS}))
    with load(own.url, UNITS) as running:
        home.rename(away)
        until(lambda: "the state database is away" in gateway_log(own))
        running.wait_for(200)
        away.rename(home)
        own.publish(table(second, first))
        until(lambda: own.routes()["champion"] == "r2")
    assert running.failures == []
    assert {one.release for one in running.seen} == {"r2"}
    asked = len(running.seen)
    until(lambda: sum(observed(own).values()) == asked)


def test_a_gateway_that_starts_without_the_state_database_serves_the_last_table(
    own: Gateway, champion: Path, challenger: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    own.state = f"sqlite:///{home / 'state.db'}"
    first, second = own.spec("r1", champion), own.spec("r2", challenger)
    own.serve(table(first, second, weights=HALF))
    own.stop()
    shutil.rmtree(home)

    with started(own):
        until(lambda: endpoint.status(own.folder).state == "live")
        said = [own.ask("/predict", ROWS, X_User=unit).body["release"] for unit in UNITS[:20]]
        assert said == ["r2" if unit in of_canary() else "r1" for unit in UNITS[:20]]


def test_a_state_database_that_does_not_answer_holds_up_no_start(
    own: Gateway, champion: Path
) -> None:
    """A server that is reached, and says nothing."""
    own.serve(table(own.spec("r1", champion)))
    own.stop()
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        own.state = f"postgresql+psycopg://penstock@127.0.0.1:{server.getsockname()[1]}/state"
        with started(own):
            until(lambda: endpoint.status(own.folder).state == "live")
            assert own.ask("/predict", ROWS).body["release"] == "r1"


def test_a_state_database_that_does_not_answer_holds_up_no_end(
    own: Gateway, champion: Path
) -> None:
    own.serve(table(own.spec("r1", champion)))
    pid = own.pid
    with contextlib.closing(sqlite3.connect(own.folder / "state.db", isolation_level=None)) as held:
        held.execute("BEGIN EXCLUSIVE")  # whoever writes waits
        answers = [own.ask("/predict", ROWS) for _ in range(20)]
        os.kill(pid, signal.SIGTERM)
        until(lambda: not alive(pid))
    assert {answer.status for answer in answers} == {200}
    logged = {row["prediction_id"] for row in own.logged()}
    assert {answer.body["prediction_id"] for answer in answers} <= logged


@contextlib.contextmanager
def started(gateway: Gateway) -> Iterator[None]:
    """`penstock serve`, in the foreground of another process."""
    config = json.dumps(gateway.place.config(gateway.settings).plain()).encode()
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.serving.main"], stdin=subprocess.PIPE
    )
    assert process.stdin is not None
    with process.stdin as given:
        given.write(config)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 0


def gateway_log(gateway: Gateway) -> str:
    return endpoint.EndpointFolder(gateway.folder).gateway_log.read_text()


# The end


def test_sigterm_answers_what_was_asked_of_every_arm(
    own: Gateway, champion: Path, challenger: Path
) -> None:
    first, second = own.spec("r1", champion), own.spec("r2", challenger)
    own.serve(table(first, second, weights=HALF, mirror=Mirror(release="r2")))
    pid, replicas = own.pid, [*own.pids("r1"), *own.pids("r2")]
    with load(own.url, UNITS, connections=8) as running:
        running.wait_for(200)
        os.kill(pid, signal.SIGTERM)
        until(lambda: not alive(pid))
    # Afterwards nobody listens: a refused connection was never asked anything.
    assert {one.error for one in running.failures} <= {"ClientConnectorError"}
    assert not any(alive(replica) for replica in replicas)
    answered = [one.prediction_id for one in running.seen if one.status == 200]
    assert set(answered) <= {row["prediction_id"] for row in own.logged()}
