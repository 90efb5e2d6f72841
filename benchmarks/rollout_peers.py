"""Other ways to judge a canary, over the same traffic: what people do by hand, and a tool's."""

from __future__ import annotations

import math

import numpy as np

from penstock.rollout.simulation.fleet import Bools, Fate, Fleet
from penstock.rollout.simulation.traffic import BASELINE, CANDIDATE, ERROR, Floats, Ints
from penstock.stats.e_process import log_e_worsened
from penstock.stats.normal import quantile


class Timed:
    """Goes to the next stage when its bake time is over, and is promoted after the last."""

    def look(self, fleet: Fleet, minute: int, fresh: Bools) -> None:
        back = self.rolled_back(fleet, minute, fresh) & fleet.running
        fleet.end(back.nonzero()[0], Fate.ROLLED_BACK, minute)
        baked = minute + 1 - fleet.began >= fleet.of_stage("bake")[fleet.stage]
        ready = (fleet.running & baked).nonzero()[0]
        last = fleet.stage[ready] == len(fleet.weights) - 1
        fleet.end(ready[last], Fate.PROMOTED, minute)
        fleet.move(ready[~last], fleet.stage[ready[~last]] + 1, minute)

    def rolled_back(self, fleet: Fleet, minute: int, fresh: Bools) -> Bools:
        raise NotImplementedError


class MinutelyZTest(Timed):
    """A one-sided z-test of the stage's error rates (pooled variance), at `alpha`, every minute."""

    def __init__(self, alpha: float = 0.05) -> None:
        self._bound = quantile(1 - alpha)

    def rolled_back(self, fleet: Fleet, minute: int, fresh: Bools) -> Bools:
        requests, errors = _of_stage(fleet)
        enough = (requests >= 30).all(axis=1)
        n = np.maximum(requests, 1)
        rate, pooled = errors / n, errors.sum(axis=1) / n.sum(axis=1)
        spread = np.sqrt(pooled * (1 - pooled) * (1 / n).sum(axis=1))
        z = (rate[:, CANDIDATE] - rate[:, BASELINE]) / np.maximum(spread, 1e-12)
        found: Bools = enough & (z > self._bound)
        return found


class FixedThreshold(Timed):
    """As an analysis of Argo Rollouts or Flagger: measured each minute, a failure where the

    candidate's error rate of the minute is above 5 %, or above twice the baseline's; rolled back
    when 3 of the last 5 measurements failed. A minute without requests counts as success.
    """

    def __init__(self) -> None:
        self._before: tuple[Ints, Ints] | None = None
        self._failures: list[Bools] = []

    def rolled_back(self, fleet: Fleet, minute: int, fresh: Bools) -> Bools:
        requests = fleet.requests.sum(axis=1)
        errors = fleet.bad[:, :, :, ERROR].sum(axis=1)
        if self._before is None:
            self._before = np.zeros_like(requests), np.zeros_like(errors)
        n, bad = requests - self._before[0], errors - self._before[1]
        self._before = requests, errors
        rate = bad / np.maximum(n, 1)
        failed = (rate[:, CANDIDATE] > 0.05) | (
            (n[:, BASELINE] > 0) & (rate[:, CANDIDATE] > 2 * rate[:, BASELINE])
        )
        self._failures = [*self._failures[-4:], failed]
        found: Bools = np.sum(self._failures, axis=0) >= 3
        return found


class EProcessAlone(Timed):
    """The e-process of errors without the judge around it, at 1/`alpha`."""

    def __init__(self, alpha: float) -> None:
        self._bound = math.log(1 / alpha)

    def rolled_back(self, fleet: Fleet, minute: int, fresh: Bools) -> Bools:
        found = np.zeros(fleet.rollouts, dtype=bool)
        rows = fresh.nonzero()[0]
        units = fleet.units[rows, :, :, ERROR].astype(float)
        found[rows] = log_e_worsened(units.sum(2), units[:, :, CANDIDATE], fleet.weights) >= (
            self._bound
        )
        return found


def _of_stage(fleet: Fleet) -> tuple[Floats, Floats]:
    """Requests and errors of both arms in the present stage, (rollouts, arms)."""
    rows = np.arange(fleet.rollouts)
    return (
        fleet.requests[rows, fleet.stage].astype(float),
        fleet.bad[rows, fleet.stage, :, ERROR].astype(float),
    )
