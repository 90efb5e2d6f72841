"""The customers of an online shop, simulated from one seed: the source that extract() reads.

A customer is committed or not, and nobody sees which. The committed visit in bursts, each at a pace
of their own. At a hidden moment the commitment ends: over the next weeks the visits get fewer and
shorter, and questions to support more frequent. Some customers come back months later. As in life,
some events arrive late, and some arrive twice.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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


def simulate(
    seed: int,
    *,
    start: str | date | pd.Timestamp,
    months: int,
    customers: int,
    late_share: float = 0.03,
    duplicate_share: float = 0.01,
) -> pd.DataFrame:
    """The events of that many months, in the order of their arrival.

    Columns: event_id, customer_id (int64); event_type (session, purchase or support); event_time,
    created_at (UTC, microseconds); amount_usd (of purchases); minutes (of sessions).
    """
    rng = np.random.default_rng(seed)
    begin = pd.to_datetime(start, utc=True)
    span = (begin + pd.DateOffset(months=months) - begin) // pd.Timedelta(microseconds=1)
    weekdays = np.roll(WEEKDAYS, -begin.dayofweek)
    weeks = -(-span // WEEK)

    signup_week = (weeks * rng.beta(0.6, 1.6, customers)).astype(np.int64)
    engagement = _engagement(rng, signup_week, weeks)
    visits = _sessions(rng, signup_week, engagement, weekdays)
    parts = (visits, _purchases(rng, visits, customers), _support(rng, engagement, weekdays))
    events = pd.concat(parts, ignore_index=True)
    events = events[events.time < span].sort_values("time", kind="stable", ignore_index=True)
    return _arrivals(rng, events, begin, late_share, duplicate_share)


def _engagement(rng: np.random.Generator, signup_week: Ints, weeks: int) -> Floats:
    """Customers x weeks: 1 while committed, fading towards 0 afterwards; 0 before signing up."""
    customers = len(signup_week)
    leaves = rng.gamma(LOYALTY, LEAVES / LOYALTY, customers)
    fading = rng.uniform(*FADING, customers)
    committed, level = np.ones(customers, dtype=bool), np.ones(customers)
    history = np.zeros((customers, weeks))
    for week in range(weeks):
        joined, chance = week >= signup_week, rng.random(customers)
        committed = np.where(committed, ~joined | (chance >= leaves), chance < RETURNS)
        level = np.where(committed, 1.0, level * fading)
        history[:, week] = level * joined
    return history


def _sessions(
    rng: np.random.Generator, signup_week: Ints, engagement: Floats, weekdays: Floats
) -> pd.DataFrame:
    """Visits: bursts at the customer's own pace, with a season, shorter as engagement fades."""
    customers, weeks = engagement.shape
    pace = rng.lognormal(np.log(PACE), SPREAD, (customers, 1))
    season = 1 + 0.2 * np.sin(2 * np.pi * np.arange(weeks) / 52)
    shape = rng.uniform(*BURSTS, (customers, 1))
    bursts = rng.gamma(shape, 1 / shape, engagement.shape)  # 1 on average
    visits = rng.poisson(pace * season * bursts * engagement)
    visits[np.arange(customers), signup_week] += 1  # signing up is the first visit

    customer, week = _one_row_each(visits)
    minutes = rng.gamma(3.0, 4.0, len(week)) * (0.4 + 0.6 * engagement[customer, week])
    return pd.DataFrame(
        {
            "customer_id": customer,
            "event_type": "session",
            "time": _moments(rng, week, weekdays),
            "minutes": minutes.round(1),
        }
    )


def _purchases(rng: np.random.Generator, sessions: pd.DataFrame, customers: int) -> pd.DataFrame:
    """Some sessions end with a purchase; how many differs between customers."""
    share = rng.beta(1.5, 8.0, customers)
    bought = sessions[rng.random(len(sessions)) < share[sessions.customer_id]]
    return pd.DataFrame(
        {
            "customer_id": bought.customer_id,
            "event_type": "purchase",
            "time": bought.time + (bought.minutes * 60 * SECOND).astype(np.int64),
            "amount_usd": rng.lognormal(3.4, 0.7, len(bought)).round(2),
        }
    )


def _support(rng: np.random.Generator, engagement: Floats, weekdays: Floats) -> pd.DataFrame:
    """Contacts with support: rare, but frequent in the weeks in which a customer fades away."""
    before, now = engagement[:, :-1], engagement[:, 1:]
    rate = (now > 0.05) * (0.02 * (before > 0) + 0.25 * (now < before))
    customer, week = _one_row_each(rng.poisson(rate))
    time = _moments(rng, week + 1, weekdays)
    return pd.DataFrame({"customer_id": customer, "event_type": "support", "time": time})


def _one_row_each(counts: Ints) -> tuple[Ints, Ints]:
    """The customer and the week of every single event, from their number per customer and week."""
    customer, week = np.nonzero(counts)
    events = counts[customer, week]
    return np.repeat(customer, events), np.repeat(week, events)


def _moments(rng: np.random.Generator, week: Ints, weekdays: Floats) -> Ints:
    """A moment in each of those weeks, most likely in the evening."""
    day = rng.choice(7, len(week), p=weekdays)
    hour = rng.triangular(5, 20, 24, len(week))
    return week * WEEK + day * DAY + (hour * HOUR).astype(np.int64)


def _arrivals(
    rng: np.random.Generator,
    events: pd.DataFrame,
    begin: pd.Timestamp,
    late_share: float,
    duplicate_share: float,
) -> pd.DataFrame:
    """The feed: most events arrive within seconds, some days late, some a second time."""
    count = len(events)
    late = rng.random(count) < late_share
    delay = np.where(late, rng.exponential(36 * HOUR, count), rng.exponential(20 * SECOND, count))
    feed = pd.DataFrame(
        {
            "event_id": np.arange(count),
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
    feed = pd.concat([feed, again]).sort_values("created_at", kind="stable", ignore_index=True)
    for column in ("event_time", "created_at"):
        feed[column] = begin.as_unit("us") + feed[column].astype("timedelta64[us]")
    return feed
