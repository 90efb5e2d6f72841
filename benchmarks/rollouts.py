"""`make bench-rollouts`: how often do judges of rollouts err? Thousands of them, simulated.

Ours is the real state machine with the real judge, on the default plan. Beside it, on traffic of
the same kind: a z-test every minute, and a fixed threshold with a failure limit. `ours` and `peer`
are shares of rollouts unless the row says otherwise; `ratio` is ours over what is allowed, and
`aim` what the ratio may be: 1, or for shares under a budget the 99.9 % bound of their binomial.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta

import rollout_experiments as experiments
from rollout_peers import EProcessAlone, FixedThreshold, MinutelyZTest
from side_by_side import Row, write

from penstock.rollout.simulation.fleet import CountOnce, Fate, Pilot, Simulation, simulate
from penstock.rollout.simulation.pilot import MachinePilot
from penstock.rollout.simulation.traffic import World
from penstock.rollout_settings import RolloutSettings

SEED = 20261125
SEEDED = RolloutSettings()  # the default plan
# Little traffic needs time: each stage may last two days, so that more of them are gone through.
PATIENT = SEEDED.model_copy(
    update={
        "stages": tuple(
            stage.model_copy(update={"max": timedelta(hours=48)}) for stage in SEEDED.stages
        )
    }
)


def null(rate: int, units: str, day: str) -> list[Row]:
    """The candidate is as good as the baseline: how many are rolled back?"""
    world = World(requests_per_minute=rate, units=units)  # type: ignore[arg-type]
    if day == "outage":
        world = World(
            requests_per_minute=rate,
            units=units,  # type: ignore[arg-type]
            diurnal=True,
            outage_minutes=10,
        )
    ours = ran(PATIENT, world, MachinePilot(PATIENT), 2000)
    work = f"good: rolled back, {rate:,}/min, {units}, {day}"
    note = f"promoted {ours.share(Fate.PROMOTED):.0%}, held {ours.share(Fate.HELD):.0%}"
    return [
        budget(f"{work}; {name}", back(ours), back(ran(SEEDED, world, pilot, 2000)), note)
        for name, pilot in peers()
    ]


def doubled_errors() -> list[Row]:
    """1 % → 2 % at 100 requests a minute: found, and how soon?"""
    world = World(error_ratio=2.0)
    ours = ran(SEEDED, world, MachinePilot(SEEDED), 2000)
    peer = ran(SEEDED, world, MinutelyZTest(), 2000)
    fixed = ran(SEEDED, world, FixedThreshold(), 2000)
    work = "1 % → 2 %, 100/min"
    medians = [one.median_requests(Fate.ROLLED_BACK) for one in (ours, peer, fixed)]
    return [
        made(f"{work}: not rolled back; z-test", 1 - back(ours), 1 - back(peer), 0.05),
        made(f"{work}: not rolled back; threshold", 1 - back(ours), 1 - back(fixed), 0.05),
        made(f"{work}: median canary requests; z-test", medians[0], medians[1], 1300),
        made(f"{work}: median canary requests; threshold", medians[0], medians[2], 1300),
    ]


def rare_errors() -> list[Row]:
    """0.1 % → 0.2 %: there is too little to see; nothing may be promoted for lack of evidence."""
    world = World(error_rate=0.001, error_ratio=2.0)
    ours = ran(SEEDED, world, MachinePilot(SEEDED), 1000)
    note = f"held {ours.share(Fate.HELD):.0%}, rolled back {back(ours):.0%}"
    work = "0.1 % → 0.2 %, 100/min: promoted"
    return [
        made(
            f"{work}; {name}",
            ours.share(Fate.PROMOTED),
            ran(SEEDED, world, pilot, 1000).share(Fate.PROMOTED),
            0.0,
            note=note,
        )
        for name, pilot in peers()
    ]


def counting() -> list[Row]:
    """Users with chronic errors, over a slow ramp: what must be counted once?"""
    ramp = RolloutSettings.model_validate(
        {"stages": [{"weight": 0.10 + 0.02 * step, "bake": "4h"} for step in range(10)]}
    )
    world, alpha = World(units="users", slow_rate=0.0), 0.025

    def share(once: CountOnce) -> float:
        return back(ran(ramp, world, EProcessAlone(alpha), 2000, once))

    ours, work = share("rollout"), "good, users, ten stages: a unit counts once a rollout"
    return [
        budget(f"{work}; once a stage", ours, share("stage"), alpha=alpha),
        budget(f"{work}; each request", ours, share("request"), alpha=alpha),
    ]


def outage_at_the_end() -> list[Row]:
    """An outage while the candidate has all traffic: only a holdback shows that it is innocent."""
    world = World(outage_minutes=10, outage_within=(900, 1500))
    kept = SEEDED.model_copy(update={"holdback": 0.05})
    ours = back(ran(kept, world, MachinePilot(kept), 500))
    alone = back(ran(SEEDED, world, MachinePilot(SEEDED), 500))
    return [budget("good, outage at 100 %: rolled back, holdback 5 %; none", ours, alone, size=500)]


def ab_tests() -> list[Row]:
    """A/B over five looks, against one test at the end."""
    tests = 2000
    gain, loss = experiments.decided(tests, 0.0, SEED)
    found, _ = experiments.decided(tests, experiments.LIFT, SEED + 1)
    power = experiments.fixed_power(experiments.LIFT)
    within = 0.02 + 3.09 * (power * (1 - power) / tests) ** 0.5
    return [
        budget("A/B, no difference: any found; fixed", gain + loss, 0.05),
        made("A/B, 2 % lift: power lost; fixed", max(power - found, 0.0), 0.0, 0.02, most=within),
        budget(
            "A/B, right shares: found invalid; set α",
            experiments.mismatched(tests, 0.0, 100_000, SEED),
            0.001,
            alpha=0.001,
        ),
        made(
            "A/B, 1 % misrouted, 400,000 units: not found; allowed",
            1 - experiments.mismatched(200, 0.01, 400_000, SEED),
            0.05,
            0.05,
        ),
    ]


# -- how --------------------------------------------------------------------------------------


def peers() -> list[tuple[str, Pilot]]:
    return [("z-test", MinutelyZTest()), ("threshold", FixedThreshold())]


def ran(
    settings: RolloutSettings,
    world: World,
    pilot: Pilot,
    rollouts: int,
    count_once: CountOnce = "rollout",
) -> Simulation:
    return simulate(settings, world, pilot, rollouts=rollouts, seed=SEED, count_once=count_once)


def back(simulation: Simulation) -> float:
    return simulation.share(Fate.ROLLED_BACK)


def budget(
    work: str, ours: float, peer: float, note: str = "", *, alpha: float = 0.05, size: int = 2000
) -> Row:
    """A share that may be `alpha`; as much more as chance makes once in a thousand is borne."""
    from scipy.stats import binom

    return made(
        work, ours, peer, alpha, most=float(binom.ppf(0.999, size, alpha)) / size, note=note
    )


def made(
    work: str,
    ours: float,
    peer: float,
    allowed: float,
    *,
    most: float | None = None,
    note: str = "",
) -> Row:
    ratio = ours / allowed if allowed else ours
    aim = 0.0 if not allowed else (most or allowed) / allowed
    row = Row(work, round(ours, 4), round(peer, 4), round(ratio, 4), round(aim, 4), ratio <= aim)
    verdict = "holds" if row.holds else "MISSED"
    print(
        f"{work:<66} ours {ours:9.4g}  peer {peer:9.4g}  ratio {ratio:6.3f}  aim ≤ {aim:5.3f}  "
        f"{verdict}  {note}".rstrip(),
        flush=True,
    )
    return row


Job = tuple[Callable[..., list[Row]], tuple[object, ...]]
JOBS: dict[str, list[Job]] = {
    "null": [
        (null, (rate, units, day))
        for rate in (1000, 100, 20)
        for units in ("users", "request")
        for day in ("outage", "steady")
    ],
    "bad": [(doubled_errors, ()), (rare_errors, ())],
    "counting": [(counting, ()), (outage_at_the_end, ())],
    "ab": [(ab_tests, ())],
}


def main(names: list[str]) -> int:
    """All parts, or those that are named."""
    jobs = [job for name in names or JOBS for job in JOBS[name]]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        done = [pool.submit(work, *given) for work, given in jobs]
        rows = [row for one in done for row in one.result()]
    write("rollouts", rows)
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
