"""The customers of an online shop, simulated from one seed: the source that extract() reads.

A customer is committed or not, and nobody sees which. The committed visit in bursts, each at a pace
of their own. At a hidden moment the commitment ends: over the next weeks the visits get fewer and
shorter, and questions to support more frequent. Some customers come back months later. As in life,
some events arrive late, some arrive twice, and one day the shop brings out an app: many look in
more often then, and for a moment only.

Each week has randomness of its own: the past stays as it was when time goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rng = np.random.Generator

SECOND = 1_000_000  # microseconds, the unit of every time below
HOUR, DAY, WEEK = 3600 * SECOND, 86_400 * SECOND, 7 * 86_400 * SECOND
WEEKDAYS = (0.13, 0.12, 0.12, 0.13, 0.15, 0.18, 0.17)  # share of the visits, Monday first

PACE = 1.1  # visits a week of the median customer, while committed
SPREAD = 0.6  # of the logarithm of that pace, between customers
BURSTS = (0.1, 1.5)  # gamma shape of the ups and downs from week to week: small is bursty
LEAVES = 0.035  # chance a week that a commitment ends, on average over the customers
LOYALTY = 0.5  # gamma shape of that chance: below 1, many are loyal and a few very fickle
RETURNS = 0.022  # chance a week that somebody who left commits again
FADING = (0.3, 0.8)  # what is left of the visits a week after leaving, and of that a week later
APP = (3, 5)  # three of five customers take the app:
APP_VISITS, APP_MINUTES = 1.6, 0.35  # so many visits for one before, each so much shorter


def simulate(
    seed: int,
    *,
    start: str | date | pd.Timestamp,
    months: int,
    customers: int,
    weeks: int = 0,
    app_week: int | None = None,
    late_share: float = 0.03,
    duplicate_share: float = 0.01,
) -> pd.DataFrame:
    """The events of that many months, and of `weeks` after them, in the order of their arrival.

    All customers sign up in the months. The app comes out in `app_week`, counted from the start.

    Columns: event_id, customer_id (int64); event_type (session, purchase or support); event_time,
    created_at (UTC, microseconds); amount_usd (of purchases); minutes (of sessions).
    """
    begin = pd.to_datetime(start, utc=True)
    span = (begin + pd.DateOffset(months=months) - begin) // pd.Timedelta(microseconds=1)
    launch = -(-span // WEEK)
    shop = Shop.drawn(np.random.default_rng(seed), customers, launch)
    weekdays = np.roll(WEEKDAYS, -begin.dayofweek)
    parts, count = [], 0
    for week in range(launch + weeks):
        rng = np.random.default_rng((seed, week))
        shop.live(rng, week)
        app = shop.has_app & (app_week is not None and week >= app_week)
        visits = _sessions(rng, shop, week, app, weekdays)
        kinds = (visits, _purchases(rng, shop, visits), _support(rng, shop, weekdays))
        events = pd.concat(kinds, ignore_index=True).sort_values("time", kind="stable")
        events = events.assign(time=events.time + week * WEEK, event_id=count + _numbers(events))
        parts.append(_arrivals(rng, events, late_share, duplicate_share))
        count += len(events)
    feed = pd.concat(parts)
    feed = feed[feed.event_time < span + weeks * WEEK]
    feed = feed.sort_values("created_at", kind="stable", ignore_index=True)
    for column in ("event_time", "created_at"):
        feed[column] = begin.as_unit("us") + feed[column].astype("timedelta64[us]")
    return feed


@dataclass
class Shop:
    """Its customers: what each is like, drawn once, and how engaged they are this week."""

    signup: Ints  # week
    leaves: Floats  # chance a week that the commitment ends
    fading: Floats
    pace: Floats  # visits a week
    shape: Floats  # of the bursts
    buys: Floats  # share of the visits that end with a purchase
    has_app: NDArray[np.bool_]
    committed: NDArray[np.bool_]
    level: Floats  # as if all had signed up
    engagement: Floats  # 1 while committed, fading towards 0 afterwards; 0 before signing up
    before: Floats  # a week ago

    @classmethod
    def drawn(cls, rng: Rng, customers: int, weeks: int) -> Self:
        """All sign up within so many weeks."""
        return cls(
            signup=(weeks * rng.beta(0.6, 1.6, customers)).astype(np.int64),
            leaves=rng.gamma(LOYALTY, LEAVES / LOYALTY, customers),
            fading=rng.uniform(*FADING, customers),
            pace=rng.lognormal(np.log(PACE), SPREAD, customers),
            shape=rng.uniform(*BURSTS, customers),
            buys=rng.beta(1.5, 8.0, customers),
            has_app=np.arange(customers) % APP[1] < APP[0],
            committed=np.ones(customers, dtype=bool),
            level=np.ones(customers),
            engagement=np.zeros(customers),
            before=np.zeros(customers),
        )

    def live(self, rng: Rng, week: int) -> None:
        """One more week."""
        joined, chance = week >= self.signup, rng.random(len(self.signup))
        stays = ~joined | (chance >= self.leaves)
        self.committed = np.where(self.committed, stays, chance < RETURNS)
        self.level = np.where(self.committed, 1.0, self.level * self.fading)
        self.before, self.engagement = self.engagement, self.level * joined


def _sessions(
    rng: Rng, shop: Shop, week: int, app: NDArray[np.bool_], weekdays: Floats
) -> pd.DataFrame:
    """Visits: bursts at the customer's own pace, with a season, shorter as engagement fades."""
    season = 1 + 0.05 * np.sin(2 * np.pi * week / 52)
    bursts = rng.gamma(shop.shape, 1 / shop.shape)  # 1 on average
    pace = shop.pace * np.where(app, APP_VISITS, 1.0)
    visits = rng.poisson(pace * season * bursts * shop.engagement)
    visits[shop.signup == week] += 1  # signing up is the first visit

    customer = np.repeat(_numbers(visits), visits)
    length = np.where(app, APP_MINUTES, 1.0) * (0.4 + 0.6 * shop.engagement)
    minutes = rng.gamma(3.0, 4.0, len(customer)) * length[customer]
    return pd.DataFrame(
        {
            "customer_id": customer,
            "event_type": "session",
            "time": _moments(rng, len(customer), weekdays),
            "minutes": minutes.round(1),
        }
    )


def _purchases(rng: Rng, shop: Shop, sessions: pd.DataFrame) -> pd.DataFrame:
    """Some sessions end with a purchase; how many differs between customers."""
    bought = sessions[rng.random(len(sessions)) < shop.buys[sessions.customer_id]]
    return pd.DataFrame(
        {
            "customer_id": bought.customer_id,
            "event_type": "purchase",
            "time": bought.time + (bought.minutes * 60 * SECOND).astype(np.int64),
            "amount_usd": rng.lognormal(3.4, 0.7, len(bought)).round(2),
        }
    )


def _support(rng: Rng, shop: Shop, weekdays: Floats) -> pd.DataFrame:
    """Contacts with support: rare, but frequent in the weeks in which a customer fades away."""
    fades = shop.engagement < shop.before
    questions = rng.poisson((shop.engagement > 0.05) * (0.02 * (shop.before > 0) + 0.25 * fades))
    customer = np.repeat(_numbers(questions), questions)
    time = _moments(rng, len(customer), weekdays)
    return pd.DataFrame({"customer_id": customer, "event_type": "support", "time": time})


def _moments(rng: Rng, count: int, weekdays: Floats) -> Ints:
    """Moments of a week, most likely in the evening."""
    day, hour = rng.choice(7, count, p=weekdays), rng.triangular(5, 20, 24, count)
    return day * DAY + (hour * HOUR).astype(np.int64)


def _arrivals(
    rng: Rng, events: pd.DataFrame, late_share: float, duplicate_share: float
) -> pd.DataFrame:
    """The feed: most events arrive within seconds, some days late, some a second time."""
    count = len(events)
    late = rng.random(count) < late_share
    delay = np.where(late, rng.exponential(36 * HOUR, count), rng.exponential(20 * SECOND, count))
    feed = pd.DataFrame(
        {
            "event_id": events.event_id,
            "customer_id": events.customer_id,
            "event_type": events.event_type,
            "event_time": events.time,
            "created_at": events.time + delay.astype(np.int64),
            "amount_usd": events.amount_usd,
            "minutes": events.minutes,
        }
    )
    again = feed[rng.random(count) < duplicate_share]
    again = again.assign(created_at=again.created_at + rng.integers(1, 48 * HOUR, len(again)))
    return pd.concat([feed, again])


def _numbers(of: Ints | pd.DataFrame) -> Ints:
    """0, 1, 2, … for each."""
    return np.arange(len(of))
