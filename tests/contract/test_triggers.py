"""Orders of runs on SQLite and PostgreSQL: of many who decide at once one fires; crashes; ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from filelock import FileLock
from gateways import Answer, ask
from scripted_server import server
from sqlalchemy import Engine

from penstock.access import administration
from penstock.access.roles import Role
from penstock.audit.ledger import Actor, Ledger, present_actor
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.monitoring.trigger_book import ACTIONS, read_book, request
from penstock.monitoring.triggers import Cause, Hold, Kind, Outcome
from penstock.monitoring.webhook import HOOK, Asked, received
from penstock.orchestrators import triggering
from penstock.orchestrators.triggering import check, decided, fire, ordered, settle
from penstock.project import Project, open_project
from penstock.records import ModelVersion, to_json
from penstock.rollout.api import Api
from penstock.rollout.service import Desk
from penstock.state.runs import Runs

NOW = datetime(2026, 11, 29, 2, tzinfo=UTC)
DECIDER = """\
import sys
from datetime import UTC, datetime
from pathlib import Path
from penstock.monitoring.triggers import Cause, Kind
from penstock.orchestrators.triggering import decided
from penstock.project import open_project
from penstock.state.database import open_database
project = open_project(Path(sys.argv[1]), "dev")
engine = open_database(project)
cause = Cause(Kind.WEBHOOK, sys.argv[2], "the shop moved", datetime.now(UTC), asked=True)
print("ready", flush=True); sys.stdin.readline()
decision, order = decided(project, engine, [cause])
print(order.run if order else decision.hold)
"""


VERSION = ModelVersion(
    name="shop", version=4, digest="ab" * 32, source="s", mlflow_run_id="m", digests={}
)


def cause(key: str = "a", kind: Kind = Kind.WEBHOOK) -> Cause:
    return Cause(kind, key, "the shop moved", datetime.now(UTC), asked=True)


def deciders(project: Project, keys: list[str]) -> list[str]:
    """What each of several processes says that decide at once."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", DECIDER, str(project.root), key],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for key in keys
    ]
    for one in processes:
        assert one.stdout
        assert one.stdout.readline() == "ready\n"
    for one in processes:
        assert one.stdin
        one.stdin.write("\n")
        one.stdin.flush()
    return [one.communicate(timeout=120)[0].strip() for one in processes]


def ran(engine: Engine, run: str, status: str, **more: Any) -> None:
    """As a run leaves it."""
    runs, common = Runs(engine), {"pipeline": "shop", "environment": "dev", "as_of": NOW}
    runs.start(run, orchestrator="airflow", now=NOW, **common)  # not this machine's to interrupt
    if how := more.get("registered"):
        record = to_json(VERSION)
        runs.record_step(run, "register_model", status=how, started_at=NOW, record=record)
    if status != "running":
        error = {"error": more.get("error", "StepError"), "message": "so it was", "hint": ""}
        runs.finish(run, status, NOW, None if status == "succeeded" else error)


@pytest.mark.slow
def test_of_processes_that_decide_at_once_one_fires_and_the_others_join(
    project: Project, database: Engine
) -> None:
    said = deciders(project, ["one cause", "one cause", "another", "a third"])
    (order,) = read_book(database).orders
    assert sorted(said)[0] == order.run
    # The same cause again says nothing new, another one joins the run.
    assert sorted(said)[1:] == ["joined", "joined", "nothing new"]
    assert order.fired.keys == {"one cause", "another", "a third"}


@pytest.mark.parametrize(
    ("status", "more", "outcome"),
    [
        ("succeeded", {"registered": "succeeded"}, Outcome.REGISTERED),
        ("succeeded", {"registered": "cached"}, Outcome.NOTHING_NEW),
        ("failed", {"error": "NoBetter"}, Outcome.NO_BETTER),
        ("failed", {"error": "GateFailed"}, Outcome.REFUSED),
        ("failed", {}, Outcome.FAILED),
        ("interrupted", {}, Outcome.INTERRUPTED),
    ],
)
def test_what_became_of_a_run_is_written_once(
    project: Project, database: Engine, status: str, more: dict[str, Any], outcome: Outcome
) -> None:
    _, order = decided(project, database, [cause()])
    assert order
    assert settle(project, database) == []  # it has not begun
    ran(database, order.run, "running")
    assert settle(project, database) == []
    ran(database, order.run, status, **more)
    told = settle(project, database)
    assert settle(project, database) == []
    (found,) = read_book(database).orders
    assert told == [found]
    assert found.outcome is outcome
    assert found.version == ("shop@4" if outcome is Outcome.REGISTERED else "")
    again, _ = decided(project, database, [cause()])
    undone = outcome is Outcome.INTERRUPTED
    assert again.hold is (None if undone else Hold.NOTHING)


def test_a_local_run_that_was_killed_does_not_go_on(project: Project, database: Engine) -> None:
    _, order = decided(project, database, [cause()])
    assert order
    common = {"pipeline": "shop", "environment": "dev", "as_of": NOW}
    Runs(database).start(order.run, orchestrator="local", now=NOW, **common)
    with FileLock(project.folder / "run.lock"):
        assert settle(project, database) == []  # it lives: it holds the lock
    (ended,) = settle(project, database)
    assert ended.run == order.run
    assert ended.outcome is Outcome.INTERRUPTED
    story = Ledger(database).entries(stream=f"run/{order.run}")
    assert [entry.action for entry in story] == ["run.interrupted"]


def test_what_a_killed_process_did_not_start_the_next_check_starts(
    project: Project, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # There is no pipeline here: what is started ends at once, and leaves no row.
    _, order = decided(project, database, [cause()])
    assert order
    assert check(project, database).order is None
    assert read_book(database).orders[0].started == ()  # whoever ordered it may do so yet
    monkeypatch.setattr(triggering, "FIRST_PATIENCE", timedelta(0))
    monkeypatch.setattr(triggering, "PATIENCE", timedelta(0))
    for number in (1, 2):
        check(project, database)
        assert len(read_book(database).orders[0].started) == number
    monkeypatch.setattr(triggering, "GIVEN_UP", timedelta(0))
    said = check(project, database)
    assert "no such run has begun" in said.troubles[0]
    assert read_book(database).orders[0].outcome is Outcome.NOT_STARTED
    assert "could not be started" in (project.folder / "notices.log").read_text()
    assert (project.folder / "runs" / order.run / "run.log").is_file()


AIRFLOW_SAYS = [
    (200, {"dag_run_id": "r", "state": "running"}, None, ""),
    (200, {"dag_run_id": "r", "state": "failed"}, Outcome.INTERRUPTED, "it is over (failed)"),
    (200, {"dag_run_id": "r", "state": "success"}, Outcome.INTERRUPTED, "it is over (success)"),
    (404, {"detail": "not found"}, Outcome.INTERRUPTED, "Airflow knows no such run"),
    (503, {"detail": "busy"}, None, "Airflow cannot say: "),
]


@pytest.mark.parametrize(("status", "body", "outcome", "said"), AIRFLOW_SAYS)
@pytest.mark.slow
def test_a_run_that_was_killed_in_airflow_holds_nothing_forever(
    project: Project,
    database: Engine,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: dict[str, str],
    outcome: Outcome | None,
    said: str,
) -> None:
    _, order = decided(project, database, [cause()])
    assert order
    ran(database, order.run, "running")
    Runs(database).record_step(order.run, "train_model", status="running", started_at=NOW)
    path = f"GET /api/v2/dags/shop/dagRuns/{order.run}"
    with server({path: (status, body)}) as (url, _):
        monkeypatch.setenv("PENSTOCK_PIPELINE_AIRFLOW_URL", url)
        monkeypatch.setenv("PENSTOCK_PIPELINE_AIRFLOW_TOKEN", "t")
        checked = fire(open_project(project.root, "dev"), database, cause("m", Kind.MANUAL))
    (first, *others) = read_book(database).orders
    assert first.outcome is outcome
    if outcome is None:  # it goes on, or nobody can tell
        assert (checked.decision.hold, others) == (Hold.JOINED, [])
        assert [said in one for one in checked.troubles] == [True] * bool(said)
        return
    assert said in first.said
    assert "amid train_model" in first.said
    assert [one.run for one in others] == [checked.order.run if checked.order else None]
    row = Runs(database).get(order.run)
    assert row
    assert (row.status, row.steps[0].status) == ("interrupted", "failed")
    story = Ledger(database).entries(stream=f"run/{order.run}")
    assert [entry.action for entry in story] == ["step.failed", "run.interrupted"]
    assert said in (project.folder / "notices.log").read_text()


def test_a_slot_that_was_ordered_and_not_begun_is_taken_over(
    project: Project, database: Engine
) -> None:
    slot = cause("schedule/dev/2026-11-29T02:00:00+00:00", Kind.SCHEDULE)
    _, first = ordered(project, database, slot)
    _, second = ordered(project, database, slot)
    assert first
    assert second
    assert first.run == second.run
    ran(database, first.run, "running")
    decision, third = ordered(project, database, slot)
    assert (decision.hold, third) == (Hold.NOTHING, None)


def test_a_request_is_bound_to_the_run_and_heard_once(project: Project, database: Engine) -> None:
    by = Desk.of(project, database).by
    ledger = Ledger(database)
    asked = ledger.write(request("shop", Kind.DRIFT, "age has moved", by=by)).sequence
    checked = fire(project, database, cause("m", Kind.MANUAL))
    assert checked.order
    assert [one.request for one in checked.order.causes] == [0, asked]
    assert checked.order.kind is Kind.MANUAL
    assert "drift: age has moved" in checked.order.because
    actions = [entry.action for entry in ledger.entries_of(ACTIONS)]
    assert actions == ["retraining.requested", "trigger.fired", "trigger.started"]


def test_a_key_of_the_webhook_asks_once(project: Project, database: Engine) -> None:
    desk = Desk.of(project, database)
    told = Asked(reason="prices changed", key="prices")
    status, first = received(desk, told)
    assert (status, first["result"]) == (202, "asked")
    assert received(desk, told) == (200, {"request": first["request"], "result": "known"})
    assert received(desk, Asked(reason="again"))[0] == 202
    assert len(read_book(database).requests) == 2


@pytest.fixture
def triggers(
    project: Project, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Answer]]:
    """Posts to the webhook as somebody."""
    monkeypatch.setenv("PENSTOCK_SERVING_KEYS", "shop:triggers:for-shop app:predict:for-app")
    tokens = {"shop": "for-shop", "app": "for-app", "stranger": "none"}
    with Api(open_project(project.root, "dev"), database, "127.0.0.1", 0, (HOOK,)) as api:

        def post(document: Any, by: str = "shop") -> Answer:
            token = tokens.get(by, by)
            return ask(f"{api.url}/triggers", document, Authorization=f"Bearer {token}")

        yield post


def test_over_http_a_program_asks_for_a_run_once(
    project: Project, database: Engine, triggers: Callable[..., Answer]
) -> None:
    told = {"reason": "prices changed", "cause": "data", "key": "prices"}
    first, again = triggers(told), triggers(told)
    assert (first.status, first.body["result"]) == (202, "asked")
    assert (again.status, again.body) == (200, {**first.body, "result": "known"})
    order = check(project, database).order
    assert order
    assert (order.kind, order.because) == (Kind.DATA, "prices changed")
    assert (project.folder / "runs" / order.run / "run.log").is_file()
    assert check(project, database).order is None  # the request has had its run
    asked = Ledger(database).entries("retraining.requested")[0]
    assert (asked.actor, asked.sequence) == ("shop", first.body["request"])


@pytest.mark.parametrize(
    ("document", "by", "status"),
    [
        ({"reason": "x"}, "stranger", 401),
        ({"reason": "x"}, "app", 403),
        ({}, "shop", 400),
        ({"reason": ""}, "shop", 400),
        ({"reason": "x" * 501}, "shop", 400),
        ({"reason": "x", "cause": "manual"}, "shop", 400),  # people are not held back: no program
        ({"reason": "x", "run": "now"}, "shop", 400),
        (b"\xff not json", "shop", 400),
    ],
)
def test_what_is_no_request_asks_for_nothing(
    database: Engine, triggers: Callable[..., Answer], document: Any, by: str, status: int
) -> None:
    said = triggers(document, by)
    assert said.status == status, said.raw
    assert read_book(database).requests == ()


def test_users_ask_by_their_role(database: Engine, triggers: Callable[..., Answer]) -> None:
    administration.add(database, "uma", Role.ADMIN, by=present_actor())
    uma = Actor("uma", authenticated="token")
    vic, oz = (
        administration.add(database, name, role, by=uma).text
        for name, role in (("vic", Role.VIEWER), ("oz", Role.OPERATOR))
    )
    assert triggers({"reason": "x"}, vic).status == 403
    assert triggers({"reason": "x"}, oz).status == 202
    assert [entry.actor for entry in Ledger(database).entries("retraining.requested")] == ["oz"]


SEEN = [
    ("features", "drifted_share", Kind.DRIFT),
    ("performance", "estimated_auc_roc", Kind.PERFORMANCE),
    ("freshness", "event_age_s", Kind.FRESHNESS),
]


@pytest.mark.parametrize(("kind", "metric", "expected"), SEEN)
def test_what_a_look_finds_starts_a_run_with_its_reason(
    project: Project, database: Engine, kind: str, metric: str, expected: Kind
) -> None:
    settings = project.settings
    on = settings.triggers.model_copy(update={"on": (expected.value,)})
    wakeful = replace(project, settings=settings.model_copy(update={"triggers": on}))
    found = Measure(metric, "", Verdict.FOUND, "0.5 is too much", 0.5)
    look = Report(kind, "shop@3", "production", NOW, None, NOW, "prediction log", 900, (found,))
    assert check(project, database, [look]).decision.hold in {Hold.OFF, Hold.NOTHING}
    order = check(wakeful, database, [look]).order
    assert order
    assert order.kind is expected
    assert order.because == f"shop@3: {metric}: 0.5 is too much"
    assert (project.folder / "runs" / order.run / "run.log").is_file()
    ran(database, order.run, "succeeded")
    settle(project, database)
    assert check(wakeful, database, [look]).order is None  # the same look counts once


def test_runs_remember_what_they_were_started_for(database: Engine) -> None:
    common = {"pipeline": "shop", "environment": "dev", "orchestrator": "local", "as_of": NOW}
    Runs(database).start("r1", now=NOW, trigger="drift", reason="age has moved", **common)
    Runs(database).start("r1", now=NOW, **common)  # another task of it, which knows less
    found = Runs(database).get("r1")
    assert found
    assert (found.trigger, found.reason) == ("drift", "age has moved")
