"""Which of many rollouts might have a new verdict? The same e-values, of all of them at once."""

from __future__ import annotations

import math

import numpy as np

from penstock.rollout.judge.guardrails import certificate_bound, limit_of, rollback_bound
from penstock.rollout.simulation.fleet import Bools, Fleet
from penstock.rollout.simulation.traffic import CANDIDATE, ERROR, SLOW, Floats, Ints
from penstock.rollout_settings import RolloutSettings
from penstock.stats.e_process import log_e_above, log_e_below, log_e_worsened

# A stage that could pass by its e-values and did not is due again after so many minutes.
_PAUSE = 10
_HOUR = 60


class Screen:
    """Says in which rollouts the judge must be asked; it may be asked in vain, never too late."""

    def __init__(self, settings: RolloutSettings, fleet: Fleet) -> None:
        self._settings = settings
        kinds = {rail.kind: rail for rail in settings.guardrails}
        watched = {"error_rate": ERROR, "latency": SLOW}
        self._rails = {metric: kinds[kind] for kind, metric in watched.items() if kind in kinds}
        self._bound = math.log(rollback_bound(settings))
        self._certificate = math.log(certificate_bound(settings))
        self._bake, self._longest = fleet.of_stage("bake"), fleet.of_stage("longest")
        self._alone = fleet.weights >= 1
        self._alarmed = np.zeros((fleet.rollouts, 2), dtype=bool)
        self._next = np.zeros(fleet.rollouts)

    def due(self, fleet: Fleet, minute: int, fresh: Bools) -> Bools:
        elapsed = minute + 1 - fleet.began
        due = np.zeros(fleet.rollouts, dtype=bool)
        for metric in self._rails:
            due |= self._alarm(fleet, metric, fresh)
        ripe = fleet.running & (elapsed >= self._bake[fleet.stage]) & (self._next <= minute)
        passing = ripe.copy()
        rows = ripe.nonzero()[0]
        if ERROR in self._rails:  # latency passes soon where it is within its limit
            passing[rows] &= self._could_pass(fleet, ERROR, rows)
        alone = self._alone[fleet.stage]
        self._next[passing] = minute + np.where(alone[passing], _HOUR, _PAUSE)
        over = fleet.running & (elapsed >= self._longest[fleet.stage])
        return due | passing | over

    def moved(self, which: int) -> None:
        """The rollout began another stage: whatever was asked before."""
        self._next[which] = 0.0
        self._alarmed[which] = False

    def _alarm(self, fleet: Fleet, metric: int, fresh: Bools) -> Bools:
        """Where the candidate became worse than its bound, or came above its limit, just now."""
        rows = fresh.nonzero()[0]
        events, candidate = _events(fleet, metric, rows)
        alarm = np.zeros(fleet.rollouts, dtype=bool)
        likely = rows[_most(events, candidate, fleet.weights) >= self._bound]
        if len(likely):
            events, candidate = _events(fleet, metric, likely)
            worse = log_e_worsened(events, candidate, fleet.weights) >= self._bound
            alarm[likely] = worse
        if metric == SLOW:  # below its limit it is no alarm
            alarm[:] = False
        alarm |= self._above(fleet, metric, rows)
        new = alarm & ~self._alarmed[:, metric]
        self._alarmed[rows, metric] = alarm[rows]
        return new

    def _above(self, fleet: Fleet, metric: int, rows: Ints) -> Bools:
        found = np.zeros(fleet.rollouts, dtype=bool)
        for stage in range(len(self._bake)):
            limit = limit_of(self._settings, self._rails[metric], stage)
            inside = rows[fleet.stage[rows] == stage]
            trials, bad = _trials(fleet, metric, inside, slice(stage, stage + 1))
            high = (bad > limit * trials) & (limit < 1)
            if high.any():
                above = log_e_above(trials[high, None], bad[high, None], [limit])
                found[inside[high]] = above >= self._bound
        return found

    def _could_pass(self, fleet: Fleet, metric: int, rows: Ints) -> Bools:
        events, candidate = _events(fleet, metric, rows)
        within = log_e_below(events, candidate, fleet.weights, ratio=self._settings.tolerance)
        passing: Bools = (within >= self._certificate) | self._alone[fleet.stage[rows]]
        if 0 < self._settings.negligible < 1:
            trials, bad = _trials(fleet, metric, rows, slice(None))
            negligible = log_e_below(
                trials[:, None], bad[:, None], [self._settings.negligible], ratio=1.0
            )
            passing |= negligible >= self._certificate
        return passing


def _events(fleet: Fleet, metric: int, rows: Ints) -> tuple[Ints, Ints]:
    """Of the e-process: all and the candidate's, (rows, stages)."""
    units = fleet.units[rows, :, :, metric]
    return units.sum(axis=2), units[:, :, CANDIDATE]


def _trials(fleet: Fleet, metric: int, rows: Ints, stages: slice) -> tuple[Floats, Floats]:
    """The candidate's requests and bad answers of some stages, over the clustering factor."""
    bad, units = fleet.bad[rows, :, :, metric], fleet.units[rows, :, :, metric]
    factor = np.maximum(1.0, bad.sum(axis=(1, 2)) / np.maximum(1, units.sum(axis=(1, 2))))
    requests = fleet.requests[rows, stages, CANDIDATE].sum(axis=1)
    return requests / factor, bad[:, stages, CANDIDATE].sum(axis=1) / factor


def _most(events: Ints, candidate: Ints, share: Floats) -> Floats:
    """At least what `log_e_worsened` can be: the Kullback-Leibler divergence from the share is

    no more than the χ² one, and stages with too few events of the candidate only lower it.
    """
    surplus = np.maximum(0.0, candidate - events * share)
    variance = events * share * (1 - share)
    found: Floats = (surplus**2 / np.maximum(variance, 1e-300)).sum(axis=1)
    return found
