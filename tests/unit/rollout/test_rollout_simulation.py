"""Simulated rollouts through the real machine and the real judge: error rates, in short.

`make bench-rollouts` does the same with thousands. Bounds are 99.9 % quantiles of the binomial.
"""

from __future__ import annotations

import numpy as np
import pytest

from penstock.rollout.judge.ab import AbEvidence, AbPlan
from penstock.rollout.judge.ab import AbOutcome as Outcome
from penstock.rollout.judge.ab_decision import judge_ab
from penstock.rollout.simulation.fleet import Fate, Fleet, Simulation, simulate
from penstock.rollout.simulation.pilot import MachinePilot
from penstock.rollout.simulation.traffic import BASELINE, CANDIDATE, ERROR, Traffic, World
from penstock.rollout_settings import RolloutSettings

pytestmark = pytest.mark.slow
# The default plan in a tenth of its time; traffic is ten times as dense in exchange.
QUICK = RolloutSettings.model_validate(
    {
        "stages": [
            {"weight": 0.10, "bake": "12m", "max": "48m", "error_rate": 0.05},
            {"weight": 0.25, "bake": "24m", "error_rate": 0.03},
            {"weight": 0.50, "bake": "48m", "error_rate": 0.02},
            {"weight": 1.00, "bake": "144m", "error_rate": 0.01},
        ]
    }
)


def ran(world: World, rollouts: int = 120, settings: RolloutSettings = QUICK) -> Simulation:
    return simulate(settings, world, MachinePilot(settings), rollouts=rollouts, seed=11)


@pytest.mark.parametrize("rate", [200, 1000])
@pytest.mark.parametrize("units", ["request", "users"])
@pytest.mark.parametrize("outage_minutes", [0, 5])
def test_good_versions_are_rolled_back_within_the_budget(
    rate: int, units: str, outage_minutes: int
) -> None:
    world = World(
        requests_per_minute=rate,
        units=units,  # type: ignore[arg-type]
        diurnal=outage_minutes > 0,
        outage_minutes=outage_minutes,
        outage_within=(0, 80),
    )
    # Binomial(120, 0.05): 15
    assert ran(world).count(Fate.ROLLED_BACK) <= 15


def test_good_versions_are_promoted_when_there_is_traffic() -> None:
    assert ran(World(requests_per_minute=1000)).share(Fate.PROMOTED) >= 0.9


def test_twice_the_errors_are_found_soon() -> None:
    found = ran(World(error_ratio=2.0), rollouts=600, settings=RolloutSettings())
    assert found.share(Fate.ROLLED_BACK) >= 0.95
    assert found.median_requests(Fate.ROLLED_BACK) <= 1300


def test_a_version_that_turns_bad_at_half_of_the_traffic_is_found() -> None:
    world = World(requests_per_minute=1000, error_ratio=3.0, worse_from=2)
    found = ran(world)
    assert found.count(Fate.PROMOTED) == 0
    assert found.share(Fate.ROLLED_BACK) >= 0.8  # the others are held


def test_what_cannot_be_seen_is_held_and_never_promoted() -> None:
    found = ran(World(requests_per_minute=1000, error_rate=0.001, error_ratio=2.0))
    assert found.count(Fate.PROMOTED) == 0
    assert found.share(Fate.HELD) > 0.5


def test_slow_answers_above_the_limit_are_found() -> None:
    found = ran(World(requests_per_minute=1000, slow_rate=0.03, slow_ratio=3.0))
    assert found.share(Fate.ROLLED_BACK) >= 0.95


def test_the_screen_misses_nothing_that_the_machine_would_decide() -> None:
    # Asked in every minute, the machine ends each rollout as it does when the screen calls it.
    world = World(requests_per_minute=400, error_ratio=1.4, units="users")
    settings = RolloutSettings.model_validate(
        {"stages": [{"weight": w, "bake": "10m", "max": "30m"} for w in (0.2, 0.5, 1.0)]}
        | {"guardrails": ["error_rate", {"metric": "latency_p95", "limit_ms": 50}]}
    )
    fates = []
    for every in (0, 1):
        pilot = MachinePilot(settings, every=every)
        found = simulate(settings, world, pilot, rollouts=40, seed=3)
        fates.append((found.fate.tolist(), found.minutes[found.fate == Fate.ROLLED_BACK].tolist()))
    assert fates[0] == fates[1]
    assert len(set(fates[0][0])) >= 2  # not all alike


def test_a_user_counts_once_in_a_rollout() -> None:
    world = World(requests_per_minute=500, units="users", error_rate=0.2)
    fleets = []

    class Bystander:
        def look(self, fleet: Fleet, minute: int, fresh: object) -> None:
            if minute in (20, 40):
                fleet.move(np.arange(fleet.rollouts), minute // 20, minute)
            if minute == 60:
                fleet.end(np.arange(fleet.rollouts), Fate.HELD, minute)
            fleets.append(fleet)

    simulate(QUICK, world, Bystander(), rollouts=3, seed=1)
    units = fleets[-1].units[:, :, :, ERROR].sum(axis=(1, 2))
    bad = fleets[-1].bad[:, :, :, ERROR].sum(axis=(1, 2))
    assert (units <= world.users).all()
    assert (bad > units).all()


@pytest.mark.parametrize("units", ["request", "users"])
def test_the_traffic_is_as_it_was_asked_for(units: str) -> None:
    world = World(requests_per_minute=300, error_ratio=2.0, units=units)  # type: ignore[arg-type]
    traffic = Traffic(world, 200, np.random.default_rng(2))
    share, ratios = np.full(200, 0.25), np.tile([2.0, 1.0], (200, 1))
    minutes = [traffic.minute(at, share, ratios) for at in range(100)]
    requests = sum(one.requests for one in minutes).sum(axis=0)
    errors = sum(one.bad for one in minutes)[:, :, ERROR].sum(axis=0)
    assert requests.sum() / 200 / 100 == pytest.approx(300, rel=0.01)
    assert requests[CANDIDATE] / requests.sum() == pytest.approx(0.25, rel=0.05)
    assert errors[BASELINE] / requests[BASELINE] == pytest.approx(0.01, rel=0.05)
    assert errors[CANDIDATE] / requests[CANDIDATE] == pytest.approx(0.02, rel=0.05)


def test_misrouted_users_make_a_test_invalid() -> None:
    # 1 % of the treatment's users come to the control: 49.5 % instead of 50 %.
    plan, generator = AbPlan(primary="engagement"), np.random.default_rng(4)
    found = {0.0: 0, 0.01: 0}
    for misrouted in found:
        for _ in range(20):
            treatment = int(generator.binomial(500_000, 0.5 * (1 - misrouted)))
            seen = AbEvidence(
                seconds=3600.0, control_units=500_000 - treatment, treatment_units=treatment
            )
            found[misrouted] += judge_ab(seen, plan).outcome is Outcome.INVALID
    assert found[0.0] == 0
    assert found[0.01] >= 18
