"""When an alert fires, when it is over, and how often anybody hears of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.alerts.alert import Alert, Signal, Silence, Status
from penstock.monitoring.alerts.decision import GATHERING, Decision, decide
from penstock.monitoring.report import Verdict
from penstock.monitoring_settings import AlertRule

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BAD, GOOD, UNKNOWN = Verdict.FOUND, Verdict.FINE, Verdict.INSUFFICIENT


@dataclass
class World:
    """Alerts with a clock of their own; every look is decided on at once."""

    rule: Mapping[str, Any] = field(default_factory=dict)
    now: datetime = NOON
    alerts: dict[str, Alert] = field(default_factory=dict)
    silences: list[Silence] = field(default_factory=list)
    serving: dict[str, set[str]] = field(default_factory=dict)
    happened: list[str] = field(default_factory=list)
    heard: list[tuple[datetime, str]] = field(default_factory=list)

    def look(self, *seen: Verdict | Signal, after: timedelta = HOUR) -> Decision:
        """Some time goes by, and a look finds this of the features f0, f1, …"""
        self.now += after
        signals = [
            one if isinstance(one, Signal) else self.signal(one, f"f{number}")
            for number, one in enumerate(seen)
        ]
        rules = {"drifted": AlertRule.model_validate({"metric": "drift"} | dict(self.rule))}
        decision = decide(self.alerts, signals, rules, self.silences, self.serving, self.now)
        self.alerts |= {one.id: one for one in decision.alerts}
        for gone in decision.forgotten:
            del self.alerts[gone]
        self.happened += [one.kind for one in decision.transitions]
        for telling in decision.tellings:
            for name in ("firing", "going_on", "resolved"):
                self.heard += [(self.now, name)] * bool(getattr(telling, name))
        return decision

    def signal(self, verdict: Verdict, subject: str = "f0", **more: Any) -> Signal:
        given = {"metric": "drift", "model": "shop@3", "look": str(self.now), "at": self.now}
        return Signal(**(given | more), subject=subject, verdict=verdict, reason="because")

    @property
    def statuses(self) -> list[Status]:
        return [one.status for one in self.alerts.values()]


def test_it_fires_is_told_of_once_and_is_over() -> None:
    world = World()
    for seen in (GOOD, BAD, BAD, BAD, GOOD, GOOD):
        world.look(seen)
    assert world.happened == ["fired", "resolved"]
    assert world.heard == [(NOON + 2 * HOUR, "firing"), (NOON + 5 * HOUR, "resolved")]


@pytest.mark.parametrize(
    ("rule", "looks", "fires_at"),
    [
        ({"looks": 3}, (BAD, BAD, GOOD, BAD, BAD, BAD), 6),  # three in a row
        ({"looks": 2}, (BAD, UNKNOWN, BAD), 3),  # what cannot be told breaks no row
        ({"lasts": "2h"}, (BAD, BAD, BAD), 3),  # the third comes two hours after the first
        ({"looks": 4, "lasts": "1h"}, (BAD, BAD, BAD), 0),
    ],
)
def test_it_takes_as_many_looks_and_as_long_as_the_rule_asks(
    rule: dict[str, Any], looks: Sequence[Verdict], fires_at: int
) -> None:
    world, fired = World(rule), 0
    for number, seen in enumerate(looks, start=1):
        world.look(seen)
        fired = fired or (number if world.happened else 0)
    assert fired == fires_at


@pytest.mark.parametrize("missing", [(), (UNKNOWN,), (Verdict.ERROR,)])
def test_missing_data_resolves_nothing(missing: tuple[Verdict, ...]) -> None:
    world = World()
    world.look(BAD)
    for _ in range(24 * 40):
        world.look(*missing)
    assert world.statuses == [Status.FIRING]
    assert world.happened == ["fired"]
    (alert,) = world.alerts.values()
    assert alert.blind == ("because" if missing else "")
    assert [name for _, name in world.heard].count("going_on") == 40  # once a day
    world.look(GOOD)
    assert world.statuses == [Status.RESOLVED]


def test_one_look_counts_once_and_an_older_one_not_at_all() -> None:
    world = World({"looks": 2})
    report = world.signal(BAD)
    for _ in range(5):  # the monitor sleeps, the rules are checked all the same
        world.look(report)
    assert world.statuses == [Status.PENDING]
    world.look(BAD)
    assert world.statuses == [Status.FIRING]
    late = [world.signal(GOOD, look=f"late {n}", at=NOON - n * MINUTE) for n in range(5)]
    for one in late:
        world.look(one)
    assert world.statuses == [Status.FIRING]


def test_a_host_whose_clock_is_ahead_blinds_nobody() -> None:
    world = World()
    world.look(world.signal(BAD, at=NOON + 30 * DAY))
    assert world.statuses == [Status.FIRING]
    world.look(GOOD)
    assert world.statuses == [Status.RESOLVED]


def test_what_flaps_is_told_of_twice_in_its_quiet_time_at_most() -> None:
    world = World({"quiet": "1h"})
    for number in range(6 * 12):  # every five minutes, for six hours
        world.look((BAD, GOOD)[number % 2], after=5 * MINUTE)
    assert world.happened == ["fired", "resolved"] * 36
    firing = [at for at, name in world.heard if name == "firing"]
    assert len(firing) <= 7
    assert all(later - earlier >= HOUR for earlier, later in itertools.pairwise(firing))
    assert len(world.heard) <= 2 * len(firing)


def test_a_storm_is_one_message_and_what_follows_waits_for_the_next() -> None:
    world = World()
    decision = world.look(*[BAD] * 500)
    assert [len(one.firing) for one in decision.tellings] == [500]
    later = world.look(*[BAD] * 600, after=MINUTE)
    assert len(later.transitions) == 100
    assert later.tellings == ()
    assert [len(one.firing) for one in world.look(*[BAD] * 600, after=GATHERING).tellings] == [100]


def test_what_is_silent_fires_unheard_and_nothing_is_done_until_the_silence_ends() -> None:
    world = World({"action": "retrain"})
    world.silences.append(Silence("s", "drift*", "f?", "*", NOON + 5 * HOUR))
    quiet = [world.look(BAD) for _ in range(4)]
    assert world.happened == ["fired"]
    assert [one.actions or one.tellings for one in quiet] == [()] * 4
    decision = world.look(BAD)
    assert len(decision.actions) == len(decision.tellings) == 1


def test_it_is_acted_on_once_and_again_where_nobody_said_that_it_was_done() -> None:
    world = World({"action": "retrain"})
    assert len(world.look(BAD).actions) == 1
    assert len(world.look(BAD).actions) == 1  # whoever acted was killed
    (alert,) = world.alerts.values()
    from msgspec.structs import replace

    world.alerts[alert.id] = replace(alert, acted="requested")
    assert [len(world.look(seen).actions) for seen in (BAD, GOOD, BAD)] == [0, 0, 1]


def test_it_ends_with_its_rule_and_with_its_model() -> None:
    world = World()
    world.look(BAD)
    world.serving = {"": {"shop@4"}}
    world.look()
    assert world.happened == ["fired", "resolved"]
    (alert,) = world.alerts.values()
    assert "another version" in alert.why

    world = World()
    world.look(BAD)
    world.serving = {"": {"other@1"}}
    world.look()
    assert world.statuses == [Status.FIRING]  # of this model nobody said anything
    world.rule = {"enabled": False}
    world.look(BAD)
    assert world.happened == ["fired", "resolved"]
    assert "no rule" in next(iter(world.alerts.values())).why


@pytest.mark.parametrize(
    ("value", "interval", "fires"),
    [
        (0.3, None, True),
        (0.3, (0.21, 0.4), True),
        (0.3, (0.19, 0.4), False),  # chance alone may have made it
        (0.1, (0.05, 0.3), False),
        (None, None, False),
        (float("nan"), None, False),
    ],
)
def test_a_threshold_is_passed_by_the_whole_interval(
    value: float | None, interval: tuple[float, float] | None, fires: bool
) -> None:
    world = World({"when": "> 0.2"})
    world.look(world.signal(GOOD, value=value, interval=interval))
    assert bool(world.alerts) is fires
    if fires:  # it goes on as long as the value is beyond it
        world.look(world.signal(GOOD, value=0.21, interval=(0.1, 0.3)))
        assert world.statuses == [Status.FIRING]
        world.look(world.signal(GOOD, value=0.2, interval=(0.1, 0.3)))
        assert world.statuses == [Status.RESOLVED]


LOOKS = st.lists(
    st.tuples(
        st.lists(st.sampled_from([BAD, GOOD, UNKNOWN, None]), min_size=3, max_size=3),
        st.integers(1, 180),
    ),
    max_size=60,
)


@given(LOOKS, st.integers(1, 3), st.integers(0, 120))
def test_whatever_is_seen(
    looks: list[tuple[list[Verdict | None], int]], needed: int, minutes: int
) -> None:
    """Entries alternate, each follows from enough looks, and nobody is told too often."""
    world = World({"looks": needed, "lasts": f"{minutes}m", "quiet": "2h"})
    story: dict[str, list[str]] = {}
    rows: dict[str, list[bool]] = {}
    for seen, after in looks:
        world.now += after * MINUTE
        signals = [world.signal(one, f"f{n}") for n, one in enumerate(seen) if one is not None]
        for one in signals:
            if one.verdict is not UNKNOWN:
                rows.setdefault(one.subject, []).append(one.verdict is BAD)
        decision = world.look(*signals, after=timedelta(0))
        for one in decision.transitions:
            name = one.alert.last.subject
            story.setdefault(name, []).append(one.kind)
            assert rows[name][-needed:] == [one.kind == "fired"] * needed
        again = world.look(*signals, after=timedelta(0))  # another check of the same looks
        assert again == Decision()
    for kinds in story.values():
        assert kinds == ["fired", "resolved"] * (len(kinds) // 2) + ["fired"] * (len(kinds) % 2)
    firing = [at for at, name in world.heard if name == "firing"]
    assert all(b - a >= GATHERING for a, b in itertools.pairwise(firing))
