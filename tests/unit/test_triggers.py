"""When something starts a run, and what becomes of the model: the pure decisions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from penstock.audit.entries import Actor
from penstock.audit.ledger import MemoryLedger
from penstock.monitoring.follow_through import (
    WENT_WELL,
    Done,
    Ran,
    Scene,
    Start,
    Wait,
    next_action,
)
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.monitoring.standing import standings
from penstock.monitoring.trigger_book import (
    ENDED,
    Book,
    book_of,
    entry_about,
    request,
    written,
)
from penstock.monitoring.triggers import (
    PACED,
    Cause,
    Decision,
    Fired,
    History,
    Hold,
    Kind,
    Outcome,
    causes_of,
    decide,
    kind_of_measure,
)
from penstock.monitoring_settings import TriggerSettings

NOW = datetime(2026, 11, 29, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ALL = TriggerSettings(on=("schedule", "drift", "performance", "freshness", "data"))
BY = Actor("monitor")


def cause(kind: Kind = Kind.DRIFT, key: str = "a", *, asked: bool = False) -> Cause:
    return Cause(kind, key, f"{kind} was seen", NOW, asked=asked)


def fired(
    ago: timedelta, *keys: str, kind: Kind = Kind.DRIFT, outcome: Outcome | None = Outcome.REFUSED
) -> Fired:
    return Fired(NOW - ago, "r1", frozenset({kind}), frozenset(keys), outcome)


def history(*runs: Fired, running: str = "") -> History:
    return History(runs, running=running)


@pytest.mark.parametrize(
    ("known", "causes", "hold"),
    [
        (history(), [], Hold.NOTHING),
        (history(), [cause()], None),
        (history(fired(DAY, "a")), [cause()], Hold.NOTHING),  # the same cause counts once
        (history(fired(DAY, "a")), [cause(key="b")], None),
        # A run that was killed has not mended anything, and rests nobody.
        (history(fired(HOUR, "a", outcome=Outcome.INTERRUPTED)), [cause()], None),
        # What changed nothing is not repeated as soon.
        (history(fired(9 * HOUR, "z", outcome=Outcome.NO_BETTER)), [cause()], Hold.COOL_DOWN),
        (history(fired(12 * HOUR, "z", outcome=Outcome.NO_BETTER)), [cause()], None),
        (history(fired(6 * HOUR, "z")), [cause()], None),  # the cool-down has ended
        (history(fired(5.9 * HOUR, "z")), [cause()], Hold.COOL_DOWN),
        (history(fired(5.9 * HOUR, "z")), [cause(Kind.WEBHOOK, asked=True)], Hold.COOL_DOWN),
        (history(fired(5.9 * HOUR, "z")), [cause(Kind.MANUAL, asked=True)], None),
        (history(fired(5.9 * HOUR, "z")), [cause(Kind.SCHEDULE)], None),
        (history(fired(-HOUR, "z")), [cause()], Hold.COOL_DOWN),  # from a clock that went ahead
        (history(*[fired(-k * DAY, f"{k}") for k in (9, 8, 7)]), [cause()], None),  # by days
        (history(fired(20 * HOUR, "y"), fired(7 * HOUR, "z")), [cause()], Hold.BUDGET),
        (history(fired(20 * HOUR, "y"), fired(7 * HOUR, "z")), [cause(Kind.SCHEDULE)], None),
        (history(fired(DAY, "y"), fired(7 * HOUR, "z")), [cause()], None),
        # Runs by hand and by schedule are not in the budget.
        (
            history(*[fired(k * HOUR, f"{k}", kind=Kind.SCHEDULE) for k in (9, 8, 7)]),
            [cause()],
            None,
        ),
        (history(running="r0"), [cause(Kind.MANUAL, asked=True)], Hold.RUNNING),
        (history(fired(HOUR, "z", outcome=None), running="r1"), [cause()], Hold.JOINED),
        # The run that goes on may not have seen the newest data.
        (history(fired(HOUR, "z", outcome=None), running="r1"), [cause(Kind.DATA)], Hold.RUNNING),
    ],
)
def test_what_fires_and_what_holds(known: History, causes: list[Cause], hold: Hold | None) -> None:
    decision = decide(known, causes, ALL, NOW)
    assert (decision.hold, decision.fire) == (hold, hold is None)
    assert decision.reason


def test_what_nobody_asked_for_starts_a_run_only_where_the_settings_say_so() -> None:
    usual = TriggerSettings()
    assert decide(history(), [cause()], usual, NOW).hold is Hold.OFF
    assert decide(history(), [cause(asked=True)], usual, NOW).fire  # an alert's rule asks
    assert decide(history(), [cause(Kind.SCHEDULE)], usual, NOW).fire


def test_all_that_speaks_for_a_run_is_in_its_reason() -> None:
    decision = decide(history(), [cause(), cause(Kind.DATA, "b"), cause()], ALL, NOW)
    assert decision.reason == "drift: drift was seen; data: data was seen"
    assert [one.key for one in decision.causes] == ["a", "b"]


def test_a_hold_says_until_when() -> None:
    cooling = decide(history(fired(HOUR, "z")), [cause()], ALL, NOW)
    assert (cooling.until, cooling.reason) == (NOW + 5 * HOUR, "6h of cool-down after r1")
    killed = fired(HOUR / 2, "y", outcome=Outcome.INTERRUPTED)
    cooling = decide(history(fired(HOUR, "z"), killed), [cause()], ALL, NOW)
    assert cooling.reason == "6h of cool-down after r1"  # not after what rests nobody
    spent = decide(history(fired(20 * HOUR, "y"), fired(7 * HOUR, "z")), [cause()], ALL, NOW)
    assert spent.until == NOW + 4 * HOUR  # when the older one is a day old
    never = decide(history(), [cause()], ALL.model_copy(update={"per_day": 0}), NOW)
    assert (never.hold, never.until) == (Hold.BUDGET, None)


# What happens in a world: minutes until the next thing, its kind, one of few keys, and how the run
# that goes on, if one does, has ended by then.
Happening = tuple[int, Kind, int, Outcome | None]
HAPPENINGS = st.lists(
    st.tuples(
        st.integers(0, 600),
        st.sampled_from(Kind),
        st.integers(0, 8),
        st.sampled_from([None, *Outcome]),
    ),
    max_size=60,
)


def lived(happenings: Iterable[Happening]) -> list[Fired]:
    """The runs that were started."""
    runs, now, number = list[Fired](), NOW, count()
    for minutes, kind, key, outcome in happenings:
        now += timedelta(minutes=minutes)
        if runs and runs[-1].outcome is None and outcome is not None:
            runs[-1] = replace(runs[-1], outcome=outcome)
        going_on = runs[-1].run if runs and runs[-1].outcome is None else ""
        seen = Cause(kind, f"{kind}/{key}", "seen", now)
        decision = decide(History(tuple(runs), running=going_on), [seen], ALL, now)
        keys = frozenset(one.key for one in decision.causes)
        if decision.fire:
            assert not going_on, "two runs at once"
            runs.append(Fired(now, f"r{next(number)}", frozenset({kind}), keys))
        elif decision.hold is Hold.JOINED:
            runs[-1] = replace(runs[-1], keys=runs[-1].keys | keys)
    return runs


@given(HAPPENINGS)
def test_whatever_happens_the_world_never_starts_more_than_it_may(
    happenings: list[Happening],
) -> None:
    runs = lived(happenings)
    by_world = [one for one in runs if one.kinds - PACED]
    for one in by_world:
        within = [other for other in by_world if timedelta(0) <= one.at - other.at < DAY]
        assert len(within) <= ALL.per_day
    for before, after in pairwise(runs):
        if after.kinds - PACED and before.counts:
            assert after.at - before.at >= ALL.cool_down
    counted = [key for one in runs if one.counts for key in one.keys]
    assert len(counted) == len(set(counted)), "a cause counted twice"


def test_a_report_is_one_cause_that_names_what_was_found() -> None:
    share = Measure("drifted_share", "", Verdict.FOUND, "40% of the importance", 0.4)
    found = [
        share,
        *(
            Measure("drift", f"f{n}", Verdict.FOUND, f"PSI 0.{n} at 5,000 rows", 0.1 * n)
            for n in range(4)
        ),
    ]
    fine = Measure("drift", "age", Verdict.FINE, "PSI 0.01")
    report = Report(
        *("features", "shop@3", "production", NOW, NOW - DAY, NOW, "prediction log", 5_000),
        (*found, fine),
    )
    (one,) = causes_of(report)
    assert one.kind is Kind.DRIFT
    assert one.key == f"features/{NOW.isoformat()}/shop@3"
    assert one.reason.startswith("shop@3: drifted_share: 40% of the importance; drift of f0")
    assert one.reason.endswith("; and 2 more")
    assert one.numbers["found"].keys() == {"drifted_share", *(f"drift of f{n}" for n in range(4))}
    assert not list(causes_of(replace(report, measures=(fine,))))
    assert not list(causes_of(replace(report, kind="skew")))  # training again mends no skew
    # What moves, and matters little to the model, speaks for no run.
    assert not list(causes_of(replace(report, measures=tuple(found[1:]))))


def test_labels_that_do_not_come_and_clocks_that_are_wrong_start_no_run() -> None:
    names = ("label_coverage", "labels_disagreeing", "unusable_outputs", "realised_auc_roc")
    found = tuple(Measure(name, "", Verdict.FOUND, "so it is", 1.0) for name in names)
    report = Report(
        *("performance", "shop@3", "production", NOW, NOW - DAY, NOW, "prediction log", 5_000),
        found,
    )
    (one,) = causes_of(report)
    assert (one.kind, list(one.numbers["found"])) == (Kind.PERFORMANCE, ["realised_auc_roc"])
    assert not list(causes_of(replace(report, measures=found[:3])))
    ahead = Measure("answers_from_the_future", "", Verdict.FOUND, "2 answers", 2.0)
    assert not list(causes_of(replace(report, kind="freshness", measures=(ahead,))))


@pytest.mark.parametrize(
    ("metric", "kind"),
    [
        ("worst_slice", Kind.PERFORMANCE),
        ("retraining_gain", Kind.PERFORMANCE),
        ("event_age_s", Kind.FRESHNESS),
        ("drifted_share", Kind.DRIFT),
    ],
)
def test_an_alert_s_run_is_of_the_kind_of_its_measure(metric: str, kind: Kind) -> None:
    assert kind_of_measure(metric) is kind


class Written:
    """A ledger of triggers, and the book that it makes."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()

    @property
    def book(self) -> Book:
        return book_of(self.ledger.entries())

    def decide(self, *causes: Cause, run: str = "r1", running: str = "") -> Decision:
        past = self.book.history(running)
        decision = decide(past, [*causes, *self.book.requests], ALL, NOW)
        if draft := written(decision, past, "shop", run, BY):
            self.ledger.write(draft)
        return decision


def test_the_book_gives_back_what_was_written() -> None:
    one = Written()
    asked = request("shop", Kind.DRIFT, "the shop moved", by=BY, key="move")
    number = one.ledger.write(asked).sequence
    one.ledger.write(asked)  # sent twice
    assert one.decide(cause(Kind.DATA, "d")).fire
    (order,) = one.book.orders
    assert [(c.key, c.request) for c in order.causes] == [("d", 0), ("move", number + 1)]
    assert order.kind is Kind.DATA
    assert order.because == "data was seen; drift: the shop moved"
    assert one.decide(running="r1").hold is Hold.NOTHING  # the request was heard
    assert one.decide(cause(key="x"), running="r1").hold is Hold.JOINED
    assert one.decide(cause(key="x"), running="r1").hold is Hold.NOTHING
    (order,) = one.book.orders
    assert order.joined == ("x",)


def test_a_cause_that_joins_a_second_run_is_a_cause_of_that_too() -> None:
    one = Written()
    assert one.decide(cause(Kind.DATA, "d"), run="r1").fire
    assert one.decide(cause(), running="r1").hold is Hold.JOINED
    (killed,) = one.book.orders
    ended = entry_about(killed, ENDED, "shop", "killed")
    one.ledger.write(structs.replace(ended, outcome="interrupted"))
    assert one.decide(cause(Kind.MANUAL, "m", asked=True), run="r2").fire
    assert one.decide(cause(), running="r2").hold is Hold.JOINED
    assert one.book.orders[-1].joined == ("a",)


def test_what_is_held_again_for_the_same_reason_is_written_once() -> None:
    one = Written()
    for _ in range(3):
        one.decide(cause(), running="by hand")
    one.decide(cause(), cause(key="b"), running="by hand")
    assert [[c.key for c in held.causes] for held in one.book.held] == [["a"], ["b"]]


def test_an_alerts_request_is_of_the_kind_of_what_it_measured() -> None:
    one = Written()
    for metric in ("drift", "estimated_auc_roc", "event_age_s", "endpoint.error_rate"):
        told = {"cause": "alert", "alert": "f00", "measures": [{"metric": metric}]}
        one.ledger.append("retraining.requested", "shop", digest="", reason="r", details=told)
    kinds = [cause.kind for cause in one.book.requests]
    assert kinds == [Kind.DRIFT, Kind.PERFORMANCE, Kind.FRESHNESS, Kind.DRIFT]


def test_how_each_trigger_stands() -> None:
    one = Written()
    before = {s.kind: s for s in standings(one.book, TriggerSettings(), NOW)}
    assert [kind for kind, s in before.items() if s.on] == [
        Kind.SCHEDULE,
        Kind.MANUAL,
        Kind.WEBHOOK,
    ]
    assert (before[Kind.DRIFT].next, before[Kind.DRIFT].left) == (None, 2)
    one.decide(cause())
    going = {s.kind: s for s in standings(one.book, ALL, datetime.now(UTC))}
    assert going[Kind.MANUAL].held_by == "when r1 has ended"
    assert (going[Kind.DRIFT].left, going[Kind.MANUAL].left) == (1, None)


SCENE = Scene("shop@4", tested=True, champion="shop@3")
SHADOWED = Ran("ro-1", "shadow", "reported")
BOTH = ("shadow", "canary")


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (SCENE, Start("shadow", "shadow of shop@4, against shop@3")),
        (replace(SCENE, missing=("1 of 2 approvals",)), Wait("approvals: 1 of 2 approvals")),
        (replace(SCENE, live="ro-0"), Wait("the rollout ro-0 goes on")),
        (replace(SCENE, tested=False), Wait("the staging endpoint was not tested with it")),
        (replace(SCENE, newer="shop@5"), Done("shop@5 was made since")),
        (replace(SCENE, champion="shop@4"), Done("it is the champion")),
        (replace(SCENE, quarantine="errors"), Done("it is in quarantine: errors")),
        (replace(SCENE, rollouts=(Ran("ro-1", "shadow"),)), Wait("ro-1 (shadow) goes on")),
        (
            replace(SCENE, rollouts=(SHADOWED,)),
            Start("canary", "canary of shop@4 after ro-1, against shop@3"),
        ),
        (
            replace(SCENE, rollouts=(replace(SHADOWED, outcome="rolled back", reason="slow"),)),
            Done("ro-1 (shadow) ended: rolled back: slow"),
        ),
        # Ended well, and the candidate is the champion itself by now.
        (
            replace(
                SCENE, champion="shop@4", rollouts=(SHADOWED, Ran("ro-2", "canary", "promoted"))
            ),
            Done("it went through shadow, canary"),
        ),
    ],
)
def test_what_follows_a_version(scene: Scene, expected: Start | Wait | Done) -> None:
    assert next_action(scene, BOTH) == expected


def test_without_a_policy_and_without_a_champion_a_person_goes_on() -> None:
    assert isinstance(next_action(SCENE, ()), Done)
    assert isinstance(next_action(replace(SCENE, champion=""), BOTH), Wait)


@given(
    st.lists(st.sampled_from(["", "reported", "promoted", "rolled back", "aborted"]), max_size=8)
)
def test_a_version_goes_through_each_strategy_once_in_order_and_ends(outcomes: list[str]) -> None:
    scene = SCENE
    for outcome in [*outcomes, "aborted", "aborted"]:
        action = next_action(scene, BOTH)
        if isinstance(action, Start):
            scene = replace(scene, rollouts=(*scene.rollouts, Ran("ro", action.strategy)))
        elif isinstance(action, Wait) and outcome:
            ended = replace(scene.rollouts[-1], outcome=outcome)
            scene = replace(scene, rollouts=(*scene.rollouts[:-1], ended))
    strategies = [ran.strategy for ran in scene.rollouts]
    assert strategies in (["shadow"], ["shadow", "canary"])
    assert all(ran.outcome == WENT_WELL[ran.strategy] for ran in scene.rollouts[:-1])
