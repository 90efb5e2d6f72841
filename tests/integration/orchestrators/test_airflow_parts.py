"""What tasks of Airflow that wait see in a real project, and what the team is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from mailboxes import running
from regulated import Regulated

from penstock.approvals import giving
from penstock.audit.ledger import Ledger
from penstock.errors import DataError, PenstockError, ResourceError
from penstock.monitoring.history import keep
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.orchestrators.airflow import (
    ApprovalOperator,
    DriftSensor,
    PenstockNotifier,
    RolloutSensor,
    triggers,
)
from penstock.orchestrators.airflow.answer import Answer
from penstock.orchestrators.airflow.looks import look
from penstock.orchestrators.airflow.notifier import LATE, late
from penstock.orchestrators.airflow.triggers import WaitTrigger
from penstock.project import Project
from penstock.registry import versions
from penstock.state.database import open_database

pytestmark = pytest.mark.slow

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Regulated]:
    """shop@1 is approved for production; shop@2 passed its integration tests, too."""
    made = Regulated(tmp_path_factory.mktemp("airflow") / "shop")
    versions.tag(made.project, "shop", 2, {versions.TESTED_TAG: "passed"})
    yield made
    made.engine.dispose()


def where(shop: Regulated) -> dict[str, str]:
    return {"project": str(shop.root), "environment": "dev"}


def about(shop: Regulated, version: int) -> dict[str, Any]:
    found = versions.find(shop.project, version)
    return {"model": found.label, "digest": found.digest, "target": "production"}


def waits(shop: Regulated, version: int) -> ApprovalOperator:
    named = about(shop, version)
    return ApprovalOperator(task_id="await_approval", model=named, **where(shop))


def approve(shop: Regulated, version: int, act: Callable[..., Any] = giving.approve) -> None:
    found = versions.find(shop.project, version)
    act(shop.project, shop.engine, found, "production", meaning="looked at it")


def test_an_approved_version_goes_on_at_once_by_the_entries_that_let_it(shop: Regulated) -> None:
    done = waits(shop, 1).execute({})
    (entry,) = done["approvals"]
    assert [e.id for e in Ledger(shop.engine).entries("model.approved")] == [entry]
    assert done["model"] == "shop@1"


def test_a_later_version_that_passed_staging_ends_the_waiting_of_a_rejected_one(
    shop: Regulated,
) -> None:
    approve(shop, 1, giving.reject)
    with pytest.raises(AirflowSkipException, match="shop@2 has passed staging since"):
        waits(shop, 1).execute({})


def test_a_click_on_airflow_s_screen_approves_nothing(
    shop: Regulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    hitl = "airflow.sdk.execution_time.hitl.upsert_hitl_detail"  # no supervisor is there to ask
    monkeypatch.setattr(hitl, lambda **request: asked.append(request))
    task, end = waits(shop, 2), (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    context = {"ti": type("Instance", (), {"id": "7"})}
    look_again, stop = "Signed: look again", "Stop waiting"

    def clicked(option: str) -> Any:
        by = {"id": "1", "name": "ann"}
        event = {"chosen_options": [option], "params_input": {}, "responded_by_user": by}
        return task.resume(context, event, about(shop, 2), end)

    with pytest.raises(TaskDeferred) as deferred:
        clicked(look_again)
    assert "penstock models approve shop@2 --for production" in asked[0]["body"]
    assert asked[0]["options"] == [look_again, stop]
    trigger = deferred.value.trigger
    assert WaitTrigger(**trigger.serialize()[1]).about == about(shop, 2)
    assert Ledger(shop.engine).entries("model.approved")[-1].subject == "shop@1"
    with pytest.raises(AirflowSkipException, match="ann stopped waiting for approvals of shop@2"):
        clicked(stop)
    approve(shop, 2)
    assert clicked(look_again)["model"] == "shop@2"


def test_an_approval_is_void_when_the_registry_has_another_digest_since(shop: Regulated) -> None:
    assert look(*where(shop).values(), "approval", about(shop, 2)).what == "go"  # by the ledger
    digest = versions.find(shop.project, 2).digest
    try:
        versions.tag(shop.project, "shop", 2, {versions.DIGEST_TAG: "0" * 64})
        with pytest.raises(AirflowFailException, match="shop@2 may not serve production"):
            waits(shop, 2).conclude({}, about(shop, 2), Answer("go", ""))
    finally:
        versions.tag(shop.project, "shop", 2, {versions.DIGEST_TAG: digest})


def report(at: datetime, verdict: Verdict, reason: str, kind: str = "features") -> Report:
    measure = Measure("drift", "visits", verdict, reason)
    return Report(kind, "shop@1", "production", at, None, None, "prediction log", 900, (measure,))


def test_a_drift_sensor_goes_by_the_newest_report_that_is_fresh(shop: Regulated) -> None:
    sensor = DriftSensor(task_id="drift", **where(shop))

    def seen(*made: Report) -> Answer:
        for one in made:
            keep(shop.engine, one, NOW - timedelta(days=90))
        return sensor.looked(sensor.about({}))

    assert seen().what == "wait"
    assert "nobody has looked since" in seen().reason
    old = report(NOW - timedelta(days=2), Verdict.FOUND, "p = 1e-9")
    assert "nobody has looked since" in seen(old).reason
    thin = seen(report(NOW - timedelta(hours=3), Verdict.INSUFFICIENT, "12 rows, 50 are needed"))
    assert (thin.what, "insufficient, 12 rows" in thin.reason) == ("wait", True)
    found = seen(report(NOW - timedelta(hours=2), Verdict.FOUND, "p = 1e-9"))
    assert (found.what, found.facts["models"]) == ("go", ["shop@1"])
    assert found.facts["found"] == ["drift visits: p = 1e-9"]
    fine = seen(report(NOW - timedelta(hours=1), Verdict.FINE, ""))
    assert (fine.what, fine.reason) == (
        "wait",
        "features of shop@1: nothing found in 900 rows",
    )


def test_without_a_triggerer_a_sensor_looks_from_its_worker(shop: Regulated) -> None:
    keep(shop.engine, report(NOW, Verdict.FOUND, "PSI 0.4", "predictions"), NOW)
    sensor = DriftSensor(
        task_id="drift", kinds=["predictions"], deferrable=False, mode="reschedule", **where(shop)
    )
    found = sensor.poke({})
    assert found.is_done
    assert found.xcom_value["found"] == ["drift visits: PSI 0.4"]


def test_a_rollout_that_is_not_there_fails_its_sensor(shop: Regulated) -> None:
    sensor = RolloutSensor(task_id="watch", rollout="ro-1", **where(shop))
    with pytest.raises(AirflowFailException, match="ro-1"):
        sensor.execute({})
    first = RolloutSensor(task_id="watch", rollout={"rollout": ""}, **where(shop))
    assert first.execute({"inlets": [], "outlets": []})["outcome"] == "promoted"


def fired(trigger: WaitTrigger) -> dict[str, Any]:
    async def events() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    (payload,) = asyncio.run(events())
    assert isinstance(payload, dict)
    return payload


def test_a_database_that_is_away_is_waited_for_and_a_mistake_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[Answer | PenstockError] = [
        ResourceError("the database does not answer"),
        Answer("wait", "one more person must approve it"),
        Answer("go", "approved by ann"),
        DataError("no such thing"),
    ]

    def looked(*_: Any) -> Answer:
        answer = answers.pop(0)
        if isinstance(answer, PenstockError):
            raise answer
        return answer

    monkeypatch.setattr(triggers, "look", looked)
    trigger = WaitTrigger("/p", "dev", "approval", {"digest": "m"}, every=0)
    assert fired(trigger) == {"what": "go", "reason": "approved by ann", "facts": {}}
    assert fired(trigger)["what"] == "stop"
    path, arguments = trigger.serialize()
    assert path == "penstock.orchestrators.airflow.triggers.WaitTrigger"
    assert WaitTrigger(**arguments).serialize() == (path, arguments)


@pytest.fixture
def told(make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A project whose team has a mailbox."""
    with running() as box:
        monkeypatch.setenv("PENSTOCK_NOTIFY_EMAILS", "team@example.com")
        monkeypatch.setenv("PENSTOCK_NOTIFY_SMTP_HOST", "127.0.0.1")
        monkeypatch.setenv("PENSTOCK_NOTIFY_SMTP_PORT", str(box.port))
        yield make_project(), box


def test_a_late_run_is_told_of_once_however_often_its_deadline_fires(told: Any) -> None:
    project, box = told
    run = {"dag_run_id": "scheduled__1", "state": "running"}
    deadline = {"id": "1", "deadline_time": "2026-11-29T08:00:00Z"}

    async def twice_at_once() -> None:
        context = {"dag_run": run, "deadline": deadline}
        one = late(str(project.root), "dev", context)
        await asyncio.gather(one, late(str(project.root), "dev", context))

    asyncio.run(twice_at_once())
    (mail,) = box.mails
    assert mail["subject"] == "[shop] a run is late"
    body = mail.get_payload(decode=True).decode()
    assert "It was to end by 2026-11-29T08:00:00Z, and is running." in body
    (entry,) = Ledger(open_database(project)).entries(LATE)
    assert (entry.subject, entry.run_id) == ("scheduled__1", "scheduled__1")


def test_a_notifier_mails_what_its_templates_say(told: Any) -> None:
    project, box = told
    notifier = PenstockNotifier(
        project=str(project.root),
        environment="dev",
        title="[shop] {{ run_id }} failed",
        body="Task: {{ task_id }}",
    )
    notifier({"run_id": "manual__1", "task_id": "load"})
    (mail,) = box.mails
    assert mail["subject"] == "[shop] manual__1 failed"
    assert mail.get_payload(decode=True).decode().strip() == "Task: load"
    assert "manual__1 failed" in Path(project.folder / "notices.log").read_text()
