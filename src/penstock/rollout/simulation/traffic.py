"""Traffic of many simulated rollouts at once, minute by minute: who asks, and who gets bad answers.

Nothing here knows of judges. All randomness comes from the generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ERROR, SLOW = 0, 1
BASELINE, CANDIDATE = 0, 1
_BLOCK = 240  # minutes for which bad answers are drawn together
_DAY = 1440


@dataclass(frozen=True)
class World:
    """What the rollouts are up against. Rates are shares of requests."""

    requests_per_minute: float = 100.0  # of both arms, on average
    error_rate: float = 0.01  # of the baseline, on average
    error_ratio: float = 1.0  # the candidate's error rate over the baseline's
    slow_rate: float = 0.01  # answers above the latency limit, of the baseline
    slow_ratio: float = 1.0
    worse_from: int = 0  # the stage from which the ratios hold; 1 before
    # users: each sticks to an arm; they differ in how much they ask, and one in fifty gets half of
    # all bad answers
    units: Literal["request", "users"] = "request"
    diurnal: bool = False  # traffic ± 60 % and rates ± 40 % over the day
    outage_minutes: int = 0  # in which `outage_rate` of all answers are errors, in both arms
    outage_rate: float = 0.3
    outage_within: tuple[int, int] = (0, 840)  # minutes since the start, between which it begins

    @property
    def users(self) -> int:
        return int(min(max(20 * self.requests_per_minute, 200), 4000))


class Minute(NamedTuple):
    """Of each rollout and arm."""

    requests: Ints  # (rollouts, arms)
    bad: Ints  # (rollouts, arms, metrics)
    users: tuple[Ints, ...]  # by metric: rollout·users + user of each bad answer; empty of requests
    arms: tuple[Ints, ...]  # by metric: the arm of each of them


class Traffic:
    """A stream of minutes for `rollouts` rollouts of the same kind."""

    def __init__(self, world: World, rollouts: int, generator: np.random.Generator) -> None:
        self.world, self.rollouts, self._generator = world, rollouts, generator
        self._phase = generator.integers(0, _DAY, rollouts)
        first, last = world.outage_within
        self._outage = generator.integers(first, last, rollouts)
        self._crowd = _Crowd(world, rollouts, generator) if world.units == "users" else None

    def minute(self, minute: int, share: Floats, ratios: Floats) -> Minute:
        """The answers of that minute, with the candidate's share of the units in each rollout

        (rollouts,), and the risk ratios (rollouts, metrics).
        """
        load, rates, outage = self.rates(minute)
        if self._crowd is None:
            return self._of_requests(share, ratios, load, rates, outage)
        draw = self._crowd
        if minute % _BLOCK == 0:
            draw.prepare(self, minute, max(1.0, float(ratios.max())))
        candidate = self._generator.poisson(load * draw.load_share(share))
        baseline = self._generator.poisson(load * (1 - draw.load_share(share)))
        users, arms = draw.bad_answers(minute, share, ratios)
        requests = np.stack([baseline, candidate], axis=1)
        by_arm = np.stack(
            [
                np.bincount(user // self.world.users * 2 + arm, minlength=2 * self.rollouts)
                for user, arm in zip(users, arms, strict=True)
            ],
            axis=1,
        )
        bad = by_arm.reshape(self.rollouts, 2, -1)
        return Minute(np.maximum(requests, bad.max(axis=2)), bad, users, arms)

    def rates(self, minute: int) -> tuple[Floats, Floats, Floats]:
        """Requests a minute, base rates by metric, and the rate of errors that an outage adds."""
        world = self.world
        wave = np.zeros(self.rollouts)
        if world.diurnal:
            wave = np.sin(2 * np.pi * (minute + self._phase) / _DAY)
        down = (self._outage <= minute) & (minute < self._outage + world.outage_minutes)
        load: Floats = world.requests_per_minute * (1 + 0.6 * wave)
        rates: Floats = np.array([world.error_rate, world.slow_rate]) * (1 - 0.4 * wave)[:, None]
        return load, rates, np.where(down, world.outage_rate, 0.0)

    def _of_requests(
        self, share: Floats, ratios: Floats, load: Floats, rates: Floats, outage: Floats
    ) -> Minute:
        draw = self._generator
        requests = np.stack([draw.poisson(load * (1 - share)), draw.poisson(load * share)], axis=1)
        chance = np.stack([rates, rates * ratios], axis=1)  # (rollouts, arms, metrics)
        chance[:, :, ERROR] += outage[:, None]
        bad = draw.binomial(requests[:, :, None], np.minimum(chance, 1.0))
        return Minute(requests, bad, (), ())


class _Crowd:
    """Users with habits: rates of asking, a bucket that decides their arm, chronic trouble."""

    def __init__(self, world: World, rollouts: int, generator: np.random.Generator) -> None:
        self._world, self._generator = world, generator
        shape = (rollouts, world.users)
        self.buckets = generator.random(shape)
        habits = generator.gamma(0.5, size=shape)
        self._habits = habits / habits.sum(axis=1, keepdims=True)
        # Of each metric its own troubled users: one in fifty, who get half of all bad answers.
        self._troubled = [_Lottery(self._habits * self._trouble(shape)) for _ in range(2)]
        self._asking = _Lottery(self._habits)
        self._shares = np.full(rollouts, np.nan)
        self._load_shares = np.zeros(rollouts)
        self._events: list[_Events] = []
        self._began = 0

    def _trouble(self, shape: tuple[int, int]) -> Floats:
        return np.where(self._generator.random(shape) < 0.02, 49.0, 1.0)

    def load_share(self, share: Floats) -> Floats:
        """The share of the requests that comes from the users in the candidate's buckets."""
        moved = np.flatnonzero(share != self._shares)
        if len(moved):
            inside = self.buckets[moved] < share[moved, None]
            self._load_shares[moved] = (self._habits[moved] * inside).sum(axis=1)
            self._shares[moved] = share[moved]
        return np.clip(self._load_shares, 0.0, 1.0)

    def prepare(self, traffic: Traffic, minute: int, most: float) -> None:
        """Draws the bad answers of a block of minutes, `most` times as many as the baseline has."""
        self._began = minute
        rates = [traffic.rates(at) for at in range(minute, minute + _BLOCK)]
        load = np.stack([each[0] for each in rates], axis=1)
        self._events = []
        for metric in (ERROR, SLOW):
            expected = load * np.stack([each[1][:, metric] for each in rates], axis=1) * most
            drawn = self._drawn(expected, self._troubled[metric], most)
            if metric == ERROR and self._world.outage_minutes:
                outage = load * np.stack([each[2] for each in rates], axis=1)
                drawn = drawn.joined(self._drawn(outage, self._asking, 0.0))
            self._events.append(drawn.by_minute())

    def _drawn(self, expected: Floats, users: _Lottery, most: float) -> _Events:
        """Poisson counts of the expected (rollouts, minutes), each event with a user.

        An event whose mark is above a ratio does not happen in an arm of that ratio.
        """
        numbers = self._generator.poisson(expected.sum(axis=1))
        rollout = np.repeat(np.arange(len(numbers)), numbers)
        minute = _Lottery(expected).drawn(rollout, self._generator)
        user = users.drawn(rollout, self._generator)
        return _Events(rollout, minute, user, self._generator.random(len(rollout)) * most)

    def bad_answers(
        self, minute: int, share: Floats, ratios: Floats
    ) -> tuple[tuple[Ints, ...], tuple[Ints, ...]]:
        users, arms = [], []
        for metric, events in enumerate(self._events):
            rollout, user, mark = events.of(minute - self._began)
            arm = (self.buckets[rollout, user] < share[rollout]).astype(np.int64)
            ratio = np.where(arm == CANDIDATE, ratios[rollout, metric], 1.0)
            happens = mark <= ratio
            users.append((rollout * self._world.users + user)[happens])
            arms.append(arm[happens])
        return tuple(users), tuple(arms)


@dataclass(frozen=True)
class _Events:
    rollout: Ints
    minute: Ints
    user: Ints
    mark: Floats
    offsets: Ints | None = None  # where each minute begins, once in order

    def joined(self, other: _Events) -> _Events:
        return _Events(
            np.concatenate([self.rollout, other.rollout]),
            np.concatenate([self.minute, other.minute]),
            np.concatenate([self.user, other.user]),
            np.concatenate([self.mark, other.mark]),
        )

    def by_minute(self) -> _Events:
        order = np.argsort(self.minute.astype(np.int16), kind="stable")
        offsets = np.searchsorted(self.minute[order], np.arange(_BLOCK + 1))
        return _Events(
            self.rollout[order], self.minute[order], self.user[order], self.mark[order], offsets
        )

    def of(self, minute: int) -> tuple[Ints, Ints, Floats]:
        assert self.offsets is not None
        inside = slice(self.offsets[minute], self.offsets[minute + 1])
        return self.rollout[inside], self.user[inside], self.mark[inside]


class _Lottery:
    """Columns drawn with chances in proportion to weights, each row with its own."""

    def __init__(self, weights: Floats) -> None:
        summed = np.cumsum(weights, axis=1)
        most = summed[:, -1:]
        # Row r runs from r to r + 1, so that one search serves all rows.
        rows = np.arange(len(weights))[:, None]
        self._line = (rows + summed / np.where(most > 0, most, 1.0)).ravel()
        self._width = weights.shape[1]

    def drawn(self, rows: Ints, generator: np.random.Generator) -> Ints:
        found = np.searchsorted(self._line, rows + generator.random(len(rows)), side="right")
        columns: Ints = np.minimum(found - rows * self._width, self._width - 1)
        return columns
