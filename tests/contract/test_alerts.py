"""Rules held against what is kept: entries, messages and requests, on every database."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from penstock.audit.ledger import Ledger
from penstock.cli.main import run
from penstock.errors import UsageError
from penstock.monitoring.alerts import acting, memory
from penstock.monitoring.alerts.alert import Status
from penstock.monitoring.alerts.check import Checked, check
from penstock.monitoring.history import keep
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.project import Project, open_project
from penstock.state import heartbeats, observations, routes
from penstock.state.observations import Observed
from penstock.state.runs import Runs

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FOUND, FINE = Verdict.FOUND, Verdict.FINE
SETTINGS = """\
[project]
name = "shop"
owner = "customer-analytics"

[alerts.drift]
metric = "drift"
when = "> 0.2"
action = "retrain"
runbook = "https://wiki.example/drift"

[alerts.drifted_share]
enabled = false
"""


@pytest.fixture
def project(project: Project, tmp_path: Path) -> Project:
    (tmp_path / "penstock.toml").write_text(SETTINGS)
    return open_project(tmp_path, "dev")


Look = Callable[..., Checked]


@pytest.fixture
def look(project: Project, database: Engine) -> Look:
    """A look finds these measures, and the rules are checked."""

    def look(at: datetime, *measures: Measure, model: str = "shop@3") -> Checked:
        if measures:
            report = Report("features", model, "", at, at - DAY, at, "log", 12_000, measures)
            keep(database, report, at - 30 * DAY)
        return check(project, database, at)

    return look


def drift(feature: str = "tenure", value: float = 0.31) -> Measure:
    verdict = FOUND if value > 0.2 else FINE
    return Measure("drift", feature, verdict, f"PSI {value}", value, before=0.02, rows=12_000)


ESTIMATE = Measure("estimated_auc_roc", "", FINE, "as expected", 0.81, before=0.84)


def test_drift_is_told_of_with_all_that_it_takes_to_act_and_asks_for_a_model(
    look: Look, project: Project, database: Engine
) -> None:
    dataset = {"kind": "DatasetVersion", "name": "orders", "rows": 9000, "dvc_md5": "d41d8cd9"}
    Runs(database).start(
        "run-1", pipeline="shop", environment="dev", orchestrator="local", as_of=NOW, now=NOW
    )
    Runs(database).record_step(
        "run-1", "extract", status="succeeded", started_at=NOW, record=dataset
    )
    Ledger(database).append("model.registered", "shop@3", digest="ab" * 32, run_id="run-1")

    found = look(NOW, drift(), drift("visits", 0.1), ESTIMATE)

    (alert,) = memory.read(database).values()
    assert (alert.name, alert.status) == ("drift(tenure) of shop@3", Status.FIRING)
    asked, fired = (Ledger(database).entries(a)[0] for a in (acting.RETRAINING, memory.FIRED))
    assert (asked.subject, asked.details["alert"]) == ("shop", alert.id)
    assert asked.details["measures"] == [
        {"metric": "drift", "subject": "tenure", "value": 0.31, "before": 0.02}
    ]
    assert (fired.subject, fired.reason, fired.actor) == (alert.id, "PSI 0.31", "monitor")
    assert found.done == {alert.id: f"retraining requested: entry {asked.sequence}"}
    text = notices(project)
    for said in (
        "[shop] shop@3: drift(tenure) fires",
        f"Model: shop@3, digest {'ab' * 6}",
        "Data it learned from: orders, 9,000 rows, DVC d41d8cd9",
        "Estimated performance: estimated_auc_roc 0.81, before 0.84, 12,000 rows",
        "drift 0.31, before 0.02, 12,000 rows: PSI 0.31",
        "Owner: customer-analytics",
        "Runbook: https://wiki.example/drift",
        "Done by itself: retrain",
        "To do: penstock triggers list",
        "penstock alerts silence drift --for 4h",
    ):
        assert said in text

    look(NOW + HOUR, drift(value=0.05), ESTIMATE)
    assert "[shop] shop@3: drift(tenure) is over" in notices(project)
    assert len(Ledger(database).entries(acting.RETRAINING)) == 1


def test_many_checks_of_one_look_decide_once(
    look: Look, project: Project, database: Engine
) -> None:
    keep_storm(database)
    checks = [threading.Thread(target=check, args=(project, database, NOW)) for _ in range(4)]
    for one in checks:
        one.start()
    for one in checks:
        one.join()

    entries = Ledger(database).entries()
    assert [one.action for one in entries].count(memory.FIRED) == 200
    assert [one.action for one in entries].count(acting.RETRAINING) == 1
    assert notices(project).count("[shop] shop@3: 200 alerts fire: drift(f") == 1
    assert notices(project).count("and 190 more: penstock alerts list") == 1
    firing = {one.id for one in memory.read(database).values() if one.status is Status.FIRING}
    assert memory.firing_of(fired_and_resolved(database)) == firing

    look(NOW + HOUR, *[drift(f"f{n}", 0.1 if n % 2 else 0.4) for n in range(200)])
    firing = {one.id for one in memory.read(database).values() if one.status is Status.FIRING}
    assert len(firing) == 100
    assert memory.firing_of(fired_and_resolved(database)) == firing


def keep_storm(database: Engine) -> None:
    measures = tuple(drift(f"f{n}") for n in range(200))
    keep(database, Report("features", "shop@3", "", NOW, None, None, "log", 9, measures), NOW - DAY)


def fired_and_resolved(database: Engine) -> Any:
    return Ledger(database).entries_of((memory.FIRED, memory.RESOLVED))


def test_a_model_that_was_replaced_alarms_nobody(look: Look, database: Engine) -> None:
    look(NOW, drift())
    look(NOW + HOUR, drift(value=0.1), model="shop@4")
    assert [one.status for one in memory.read(database).values()] == [Status.RESOLVED]
    look(NOW + 2 * HOUR)
    assert [one.action for one in fired_and_resolved(database)] == ["alert.fired", "alert.resolved"]


def test_an_endpoint_that_fails_pages_and_few_requests_say_nothing(
    look: Look, database: Engine, project: Project
) -> None:
    released = {"champion": "r", "releases": {"r": {"model": "shop@3"}}}
    routes.publish(database, "production", released, expected=0, actor="ann", at=NOW)
    heartbeats.beat(database, heartbeats.MONITOR, NOW)

    def answers(at: datetime, requests: int, errors: int) -> Checked:
        counts = {"requests": requests, "errors": {"died": errors}, "latency": {"80": requests}}
        second = int(at.timestamp()) - 30
        seen = Observed("production", "", "r", "champion", "g", second, counts)
        observations.write(database, [seen])
        return look(at)

    assert answers(NOW, 50, 50).decision.alerts == ()  # of so few, nothing is said
    later = NOW + 10 * MINUTE
    for minute in range(4):
        answers(later + minute * MINUTE, 1000, 100)
    text = notices(project)
    assert "[production] shop@3: endpoint_errors fires" in text
    assert "300 of 3,000 requests of the last 5 minutes ended with an error" in text
    assert "To do: penstock endpoints show production" in text
    look(later + HOUR)  # nobody asks it any more
    (alert,) = memory.read(database).values()
    assert (alert.status, alert.blind[:10]) == (Status.FIRING, "0 requests")


def test_the_watchdog_barks_when_nobody_looks(look: Look, project: Project) -> None:
    assert look(NOW).signals == 0  # nothing is served, nothing was ever looked at
    look(NOW, ESTIMATE)
    assert look(NOW + 3 * HOUR).decision.transitions == ()
    (barked,) = look(NOW + 4 * HOUR).decision.transitions
    assert barked.alert.rule == "monitoring_silent"
    assert "the last look was" in notices(project)
    (over,) = look(NOW + 5 * HOUR, ESTIMATE).decision.transitions
    assert over.kind == "resolved"


def test_silences_are_entries_that_people_end(
    look: Look, database: Engine, project: Project
) -> None:
    given = {"subject": "*", "endpoint": "*", "lasts": 4 * HOUR, "now": NOW}
    made = memory.silence(database, "drift", reason="a campaign", **given)
    look(NOW, drift())
    assert "tenure" not in notices(project)
    assert memory.unsilence(database, made.id[:3], "over", NOW).id == made.id
    look(NOW + MINUTE)
    assert "drift(tenure) fires" in notices(project)
    for lasts, reason in ((31 * DAY, "x"), (HOUR, " ")):
        with pytest.raises(UsageError):
            memory.silence(database, "drift", reason=reason, **{**given, "lasts": lasts})
    with pytest.raises(UsageError, match="no single silence"):
        memory.unsilence(database, made.id, "again", NOW)


def test_what_people_type(
    look: Look, database: Engine, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    look(NOW, drift())
    (alert,) = memory.read(database)

    def typed(*words: str) -> tuple[int, Any]:
        capsys.readouterr()
        status = run(["alerts", *words, "--project", str(project.root), "--json"])
        return status, json.loads(capsys.readouterr().out)

    assert typed("list")[1]["alerts"][0]["id"] == alert
    assert [one["action"] for one in typed("show", alert[:6])[1]["story"]] == ["alert.fired"]
    status, silenced = typed("silence", "drift", "--for", "2h", "--reason", "a campaign")
    assert (status, silenced["alerts"]) == (0, "drift")
    assert typed("list")[1]["silences"][0]["id"] == silenced["id"]
    (fired,) = typed("check")[1]["transitions"]  # by the real clock, nobody has looked for long
    assert fired["alert"]["rule"] == "monitoring_silent"
    assert typed("unsilence", silenced["id"])[0] == 0
    assert typed("test")[1]["channels"] == ["log"]
    assert typed("rules")[1]["drift"]["action"] == "retrain"
    bad = project.root / "bad.json"
    bad.write_text('{"kind": "features"}')
    for words, said in (
        (("check", "--report", str(bad)), "is no report"),
        (("check", "--report", "nowhere.json"), "No such file"),
        (("silence", "drift", "--for", "P1D", "--reason", "x"), "no span of time"),
        (("silence", "drift"), "needs a reason"),
        (("show", "zz"), "no single alert"),
    ):
        status, error = typed(*words)
        assert status == 2, words
        assert said in error["message"], words


def notices(project: Project) -> str:
    file = project.folder / "notices.log"
    return file.read_text() if file.exists() else ""
