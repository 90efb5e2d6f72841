"""What gateways bring to the state database about a rollout: counted once, for the right arm."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from gateways import HALF, ROWS, Gateway, table, until

from penstock.serving.observations.counts import Counts, counts_of
from penstock.serving.routing.buckets import BUCKETS, bucket_of, hash_of
from penstock.serving.routing.table import Mirror, RoutingTable
from penstock.settings import ServingSettings
from penstock.state import first_events, observations, outcomes
from penstock.state.first_events import Kind

pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).parent.parent.parent / "support"
USERS = [f"user-{number}" for number in range(20)]
ENTITIES = {"entities": {"customer_id": [40]}}
ALL = {"canary": BUCKETS}
SETTINGS = ServingSettings(port=0)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Gateway]]:
    """Two gateways of one endpoint; each test has a rollout of its own."""
    folder = tmp_path_factory.mktemp("evidence")
    state = f"sqlite:///{folder / 'state.db'}"
    gateways = [Gateway(folder / name, SETTINGS, state) for name in ("one", "other")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(SUPPORT))
        yield gateways
        for one in gateways:
            one.stop()


@pytest.fixture
def one(both: list[Gateway]) -> Gateway:
    return both[0]


def serve(gateways: list[Gateway], of: RoutingTable) -> None:
    for one in gateways:
        one.serve(of)
    revision = gateways[-1].routes()["revision"]
    until(lambda: all(one.routes()["revision"] == revision for one in gateways))


def in_rollout(gateway: Gateway, rollout: str) -> dict[tuple[str, str], Counts]:
    found = observations.totals(gateway.place.engine(), "staging", rollout)
    return {key: counts_of(total.counts) for key, total in found.items()}


def first(gateway: Gateway, rollout: str) -> dict[Kind, int]:
    return first_events.counts(gateway.place.engine(), "staging", rollout)


def arms(users: list[str], salt: str, weight: int = BUCKETS // 2) -> dict[str, str]:
    return {u: "canary" if bucket_of(salt, u) < weight else "champion" for u in users}


def reading(kind: str) -> dict[str, Any]:
    return {"module": f"misbehaving_features:{kind}", "entities": ["customer_id"]}


def test_answers_are_evidence_of_the_epoch_of_the_table_that_routed_them(
    one: Gateway, champion: Path, challenger: Path
) -> None:
    specs = (one.spec("r1", champion), one.spec("r2", challenger))
    ids: dict[str, str] = {}
    for stage, weight in enumerate((2_000, 6_000)):
        epoch = f"ro-1/{stage}"
        one.serve(table(*specs, weights={"canary": weight}, salt="ro-1", epoch=epoch))
        for user in USERS:
            said = one.ask("/predict", ROWS, X_User=user).body
            ids[said["prediction_id"]] = epoch
            assert said["prediction_id"].startswith(f"{hash_of('ro-1', user):016x}-")

    def expected(weight: int, arm: str) -> int:
        return list(arms(USERS, "ro-1", weight).values()).count(arm)

    wanted = {
        (f"ro-1/{stage}", arm): expected(weight, arm)
        for stage, weight in enumerate((2_000, 6_000))
        for arm in ("canary", "champion")
    }
    until(lambda: {k: c.requests for k, c in in_rollout(one, "ro-1").items()} == wanted)
    assert {row["epoch"] for row in one.rows_of(list(ids))} == {"ro-1/0", "ro-1/1"}
    assert all(row["epoch"] == ids[row["prediction_id"]] for row in one.rows_of(list(ids)))
    # And what the models' processes take meanwhile.
    until(lambda: all(c.memory_bytes > 1 << 20 for c in in_rollout(one, "ro-1/1").values()))

    def cpu() -> dict[str, int]:
        for user in USERS:
            one.ask("/predict", ROWS, X_User=user)
        return {arm: c.cpu_us for (_, arm), c in in_rollout(one, "ro-1/1").items()}

    until(lambda: all(used > 0 for used in cpu().values()))


def test_a_user_with_ten_errors_counts_once_over_two_gateways(
    both: list[Gateway], champion: Path, challenger: Path
) -> None:
    one = both[0]
    good = one.spec("r8", champion, features=reading("Sound"))
    bad = one.spec("r9", challenger, features=reading("Broken"))
    serve(both, table(good, bad, weights=ALL, salt="ro-2", epoch="ro-2/3"))
    for gateway in both:
        for _ in range(5):
            assert gateway.ask("/predict", ENTITIES, X_User="ann").status == 503
    assert one.ask("/predict", ENTITIES, X_User="bob").status == 503
    assert one.ask("/predict", ENTITIES, X_User="ann", X_Penstock_Release="r9").status == 503
    assert one.ask("/predict", ENTITIES).status == 503  # a unit of its own

    def errors() -> tuple[int, int]:
        counts = in_rollout(one, "ro-2").get(("ro-2/3", "canary"), Counts())
        return sum(counts.errors.values()), counts.own_errors

    until(lambda: errors() == (12, 1))
    until(lambda: first(one, "ro-2") == {Kind(3, "error", "canary"): 2})


def test_slow_answers_and_exposures_count_once_a_unit(
    one: Gateway, champion: Path, challenger: Path
) -> None:
    specs = (one.spec("r1", champion), one.spec("r2", challenger))
    given = {"weights": HALF, "salt": "ro-3", "slow_us": 1, "track_units": True}
    one.serve(table(*specs, epoch="ro-3/0", **given))
    for user in USERS[:10] * 2:
        one.ask("/predict", ROWS, X_User=user)
    one.serve(table(*specs, epoch="ro-3/1", **given))
    for user in USERS:
        one.ask("/predict", ROWS, X_User=user)
    one.ask("/predict", ROWS)
    one.ask("/predict", ROWS, X_User="tester", X_Penstock_Release="r2")
    wanted = {
        Kind(stage, metric, arm): list(arms(users, "ro-3").values()).count(arm)
        for stage, users in enumerate((USERS[:10], USERS[10:]))
        for metric in ("slow", "exposed")
        for arm in ("canary", "champion")
    }
    until(lambda: first(one, "ro-3") == {kind: n for kind, n in wanted.items() if n})
    counts = [c for (epoch, _), c in in_rollout(one, "ro-3/1").items()]
    assert sum(c.own_slow for c in counts) == sum(c.own_requests for c in counts) == 1


def test_a_shadows_answers_are_compared_with_those_that_clients_got(
    one: Gateway, champion: Path, challenger: Path
) -> None:
    shadow, good = Mirror(release="r3"), one.spec("r8", champion, features=reading("Sound"))
    others = one.spec("r3", challenger, features=reading("Sound"))
    one.serve(table(good, others, mirror=shadow, epoch="ro-4/0"))
    ids = [one.ask("/predict", ENTITIES, X_User=u).body["prediction_id"] for u in USERS]

    def pairs(epoch: str) -> Any:
        return in_rollout(one, epoch).get((epoch, "shadow"), Counts()).pairs

    until(lambda: (p := pairs("ro-4/0")) and p.requests == len(USERS))
    rows = until(lambda: len(r := one.rows_of(ids)) == 2 * len(USERS) and r)
    said = {(row["prediction_id"], row["arm"]): row["output"][-1] for row in rows}
    differences = [abs(said[one_, "shadow"] - said[one_, "champion"]) for one_ in ids]
    found = pairs("ro-4/0")
    assert found.rows == len(USERS)
    assert found.difference == pytest.approx(sum(differences))
    assert found.difference > 0
    sides = [(said[i, "shadow"] >= 0.5) != (said[i, "champion"] >= 0.5) for i in ids]
    assert found.disagreements == sum(sides)
    assert found.log_ratio_squares > 0

    broken = one.spec("r4", challenger, features=reading("Broken"))
    one.serve(table(good, broken, mirror=Mirror(release="r4"), epoch="ro-4/1"))
    for user in USERS[:5]:
        assert one.ask("/predict", ENTITIES, X_User=user).status == 200
    until(lambda: (p := pairs("ro-4/1")) and p.shadow_failures == 5)
    assert pairs("ro-4/1").requests == 0


def test_what_became_of_users_is_joined_with_their_arm_late_or_twice(
    both: list[Gateway], champion: Path, challenger: Path
) -> None:
    one = both[0]
    specs = (one.spec("r1", champion), one.spec("r2", challenger))
    of = table(
        *specs, weights=HALF, salt="ro-5", epoch="ro-5/0", track_units=True, events=("refund",)
    )
    before = datetime.now(UTC) - timedelta(days=1)

    def tell(gateway: Gateway, **told: Any) -> None:
        assert gateway.ask("/feedback", told).status == 202

    for user in USERS:  # before there is a rollout, and a salt
        tell(one, unit=user, metric="revenue", value=3, id="old", at=before.isoformat())
    serve(both, of)
    ids = {u: one.ask("/predict", ROWS, X_User=u).body["prediction_id"] for u in USERS}
    until(lambda: sum(n for k, n in first(one, "ro-5").items() if k.metric == "exposed") == 20)
    for number, user in enumerate(USERS):
        for gateway in both:  # told twice, to different gateways
            tell(gateway, unit=user, metric="revenue", value=number, id="new")
        tell(one, prediction_id=ids[user], label=number % 2)
        tell(one, unit=user, metric="refund", value=number % 2, id="r")
    tell(both[1], unit=USERS[0], metric="revenue", value=100, id="new", replace=True)
    of_arm = arms(USERS, "ro-5")
    revenue = {user: float(number or 100) for number, user in enumerate(USERS)}

    def moments(metric: str) -> dict[str, Any]:
        engine = one.place.engine()
        found = outcomes.moments(engine, "staging", "ro-5", [metric])
        return {arm: sums for (_, arm), sums in found.items()}

    def sums(arm: str) -> tuple[float, ...]:
        y = [revenue[user] for user in USERS if of_arm[user] == arm]
        squares = sum(v * v for v in y)
        return len(y), sum(y), squares, 3.0 * len(y), 9.0 * len(y), 3.0 * sum(y)

    until(lambda: moments("revenue") == {arm: sums(arm) for arm in ("canary", "champion")})
    until(lambda: sum(one.y for one in moments("label").values()) == 10)
    odd = [of_arm[user] for number, user in enumerate(USERS) if number % 2]
    wanted = {arm: odd.count(arm) for arm in ("canary", "champion")}

    def refunds() -> dict[str, int]:
        return {k.arm: n for k, n in first(one, "ro-5").items() if k.metric == "event:refund"}

    until(lambda: refunds() == {arm: n for arm, n in wanted.items() if n})
    for arm, found in moments("label").items():
        assert found.y == wanted.get(arm, 0)


def test_nothing_is_lost_while_the_database_is_away(
    tmp_path: Path, champion: Path, challenger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    home, away = tmp_path / "home", tmp_path / "away"
    home.mkdir()
    one = Gateway(tmp_path / "endpoint", SETTINGS, f"sqlite:///{home / 'state.db'}")
    good = one.spec("r8", champion, features=reading("Sound"))
    bad = one.spec("r9", challenger, features=reading("Broken"))
    try:
        one.serve(table(good, bad, weights=HALF, salt="ro-6", epoch="ro-6/0", track_units=True))
        one.ask("/predict", ENTITIES, X_User=USERS[0])
        until(lambda: sum(first(one, "ro-6").values()) >= 1)
        home.rename(away)
        for user in USERS:
            one.ask("/predict", ENTITIES, X_User=user)
            told = {"unit": user, "metric": "revenue", "value": 1, "id": "x"}
            assert one.ask("/feedback", told).status == 202
        log = one.folder / "gateway.log"
        until(lambda: "observations cannot be written" in log.read_text())
        until(lambda: "outcomes cannot be sent" in log.read_text())
        away.rename(home)
        of_arm = list(arms(USERS, "ro-6").values())
        wanted = {
            Kind(0, "exposed", "canary"): of_arm.count("canary"),
            Kind(0, "exposed", "champion"): of_arm.count("champion"),
            Kind(0, "error", "canary"): of_arm.count("canary"),
        }
        until(lambda: first(one, "ro-6") == wanted)
        until(lambda: sum(c.requests for c in in_rollout(one, "ro-6").values()) == 21)

        def revenue() -> float:
            found = outcomes.moments(one.place.engine(), "staging", "ro-6", ["revenue"])
            return sum(sums.y for sums in found.values())

        until(lambda: revenue() == 20)
    finally:
        one.stop()
