"""The churn DAG on a running Airflow: started by schedule, by a trigger and as a backfill."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflows import ENDED, ONCE, PATIENCE, PIPELINE, Airflow, effects
from churn_on_airflow import (
    AS_OF,
    KEY,
    REASON,
    Run,
    Triggered,
    airflow,
    mailbox,
    nightly,
    python,
    refusal,
    refused,
    seen,
    staging,
)
from gateways import until
from mailboxes import Mailbox
from openlineage_schemas import faults

from penstock.errors import AccessError, ConflictError, PenstockError, ProjectError, ResourceError
from penstock.monitoring.report import Measure, Report, Verdict
from penstock.orchestrators.airflow_api import find_run, start_run
from penstock.orchestrators.task import Task, run_task
from penstock.state.cache import StepCache
from penstock.state.database import open_database
from penstock.state.runs import Runs

# The first test waits for a whole deployment and its run, on a machine that may be busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

__all__ = ["airflow", "mailbox", "nightly", "python", "refused", "staging"]

DRIFT = Report(
    *("features", "churn@1", "production", AS_OF, None, AS_OF, "prediction log", 12_000),
    (Measure("drifted_share", "", Verdict.FOUND, "40% of the importance", 0.4),),
)
BEFORE = datetime(2020, 2, 29, tzinfo=UTC)
BEHIND = {"register_model", "deploy_to_staging", "run_integration_tests", "notify_team"}


def model_at(url: str) -> str:
    with urllib.request.urlopen(f"{url}/release", timeout=PATIENCE) as answer:
        return str(json.load(answer)["model"])


def test_the_schedule_starts_a_run_which_ends_with_a_live_endpoint(
    airflow: Airflow, nightly: Run, staging: str
) -> None:
    assert nightly.state == "success", airflow.log(nightly.id, "train_model", 2)
    assert {state for state, _ in nightly.tasks.values()} == {"success"}
    assert airflow.of_run(nightly.id)["run_type"] == "scheduled"
    assert model_at(staging) == "churn@1"


def test_a_run_of_airflow_is_recorded_like_others_about_the_moment_of_its_schedule(
    nightly: Run,
) -> None:
    run = nightly.told
    assert (run["status"], run["orchestrator"]) == ("succeeded", "airflow")
    assert run["environment"] == "production"
    assert datetime.fromisoformat(run["as_of"]) == AS_OF
    assert set(nightly.steps) == set(nightly.tasks)


def test_what_was_killed_or_may_pass_is_tried_again_and_nothing_else(
    airflow: Airflow, nightly: Run
) -> None:
    again = {task: attempts for task, (_, attempts) in nightly.tasks.items() if attempts > 1}
    assert again == {"train_model": 2, "count_rows": 2}
    assert "the counter does not answer" in airflow.log(nightly.id, "count_rows")
    assert nightly.steps["count_rows"]["attempts"] == 2


def test_no_step_was_done_twice_in_effect(airflow: Airflow, nightly: Run) -> None:
    assert effects(airflow, nightly.id) == ONCE


def test_the_xcom_of_a_task_is_its_record(airflow: Airflow, nightly: Run) -> None:
    for task in ("extract_data", "notify_team"):
        left = airflow.of_run(nightly.id, "taskInstances", task, "xcomEntries", "return_value")
        value = left["value"]
        record = json.loads(value) if isinstance(value, str) else value
        assert record == nightly.steps[task]["record"]


def test_what_a_step_says_is_in_the_log_of_its_task_and_little_else(
    airflow: Airflow, nightly: Run
) -> None:
    rows = nightly.steps["extract_data"]["record"]["rows"]
    assert f"counted {rows} rows" in airflow.log(nightly.id, "count_rows", 2)
    log = airflow.log(nightly.id, "validate_data")
    assert f"validating {rows:,} rows" in log
    assert "Skipping registering function" not in log  # Great Expectations


def test_a_mapped_step_is_a_task_an_item(nightly: Run) -> None:
    assert nightly.tasks["survey.eu"] == nightly.tasks["survey.us"] == ("success", 1)
    assert nightly.steps["survey.eu"]["record"] == {"kind": "StepDone", "step": "survey.eu"}


def test_a_retry_that_helped_is_no_reason_to_call_anybody(nightly: Run, mailbox: Mailbox) -> None:
    subjects = [mail["subject"] for mail in mailbox.mails]
    assert subjects == ["[churn] churn@1 waits for approval"]


def test_a_registration_that_only_the_ledger_knows_of_is_not_done_again(
    airflow: Airflow, nightly: Run
) -> None:
    """As when the process is killed between the ledger and its last write."""
    project = airflow.opened()
    database = open_database(project)
    StepCache(database).forget("register_model")
    run = Runs(database).get(nightly.id)
    assert run is not None
    records = {step.step: step.record for step in run.steps}
    before = ("extract_data", "validate_data", "feature_engineering", "train_model")
    needed = {name: records[name] for name in (*before, "evaluate_model")}
    task = Task("register_model", run.id, AS_OF, 2, last_attempt=True, orchestrator="airflow")
    assert run_task(project, task, needed) == records["register_model"]
    assert effects(airflow, run.id) == ONCE


def test_drift_starts_a_run_that_airflow_shows_with_its_reason(
    airflow: Airflow, refused: Triggered
) -> None:
    assert refused.first.new
    shown = airflow.of_run(refused.run.id)
    assert shown["note"] == REASON
    assert shown["conf"] == {"feature": "minutes_30d", "reason": REASON}
    assert shown["run_type"] == "manual"
    assert refused.first.url == f"{airflow.url}/dags/churn/runs/{refused.run.id}"


def test_the_same_trigger_starts_one_run(airflow: Airflow, refused: Triggered) -> None:
    assert (refused.again.id, refused.again.new) == (refused.run.id, False)
    later = start_run(airflow.opened(), REASON, key=KEY)
    assert (later.id, later.new, later.state) == (refused.run.id, False, "failed")


def test_another_trigger_is_refused_while_a_run_is_under_way(refused: Triggered) -> None:
    assert isinstance(refused.other, ConflictError)
    assert f"a run of churn is under way in Airflow: {refused.run.id}" in refused.other.message


def test_a_gate_that_says_no_fails_its_task_at_once_and_what_is_behind_it(
    refused: Triggered,
) -> None:
    tasks = refused.run.tasks
    assert (refused.run.state, tasks["evaluate_model"]) == ("failed", ("failed", 1))
    assert {tasks[name][0] for name in BEHIND} == {"upstream_failed"}
    assert Counter(state for state, _ in tasks.values())["success"] == len(tasks) - 5
    assert not BEHIND & set(refused.run.steps)


def test_the_log_of_the_task_says_why_and_so_does_the_record(
    airflow: Airflow, refused: Triggered
) -> None:
    log = airflow.log(refused.run.id, "evaluate_model")
    assert "expected >= 0.9999" in log
    assert "AirflowFailException" in log
    assert refused.run.told["status"] == "failed"
    assert refused.run.told["error"]["error"] == "GateFailed"
    assert "auc_roc" in refused.run.told["error"]["message"]
    assert refused.run.steps["evaluate_model"]["record"]["kind"] == "ModelReport"


def test_the_team_hears_of_a_failure_once(
    airflow: Airflow, refused: Triggered, mailbox: Mailbox
) -> None:
    said = "[churn] evaluate_model failed"
    notices = (airflow.project / ".penstock" / "notices.log").read_text()
    assert notices.count(said) == 1
    (mail,) = [mail for mail in mailbox.mails if mail["subject"] == said]
    assert "expected >= 0.9999" in mail.get_payload(decode=True).decode()


def test_a_failed_gate_leaves_the_endpoint_as_it_was(staging: str, refused: Triggered) -> None:
    assert model_at(staging) == "churn@1"


def test_data_model_and_tested_release_are_told_as_assets_once(
    airflow: Airflow, nightly: Run, refused: Triggered
) -> None:
    """The run that was refused found the same data."""
    events = airflow.ask("assets/events")["asset_events"]
    told = {event["uri"]: event["extra"] for event in events}
    assert len(events) == len(told) == 3
    data, record = nightly.steps["extract_data"], nightly.steps["register_model"]["record"]
    model = {name: record[name] for name in ("name", "version", "digest")}
    assert model.items() <= told["penstock://churn/models/churn"].items()
    assert told["penstock://churn/data/events"]["rows"] == data["record"]["rows"]
    assert told["penstock://churn/endpoints/staging"]["model"] == "churn@1"


def test_its_tasks_tell_openlineage_of_all_that_began_and_ended(
    airflow: Airflow, refused: Triggered
) -> None:
    lines = (airflow.project / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [fault for event in events for fault in faults(event)] == []
    told = Counter((event["eventType"], event["job"]["name"]) for event in events)
    # Two runs, and one attempt more of the step that did not reach its source.
    assert told["START", "churn"] == 2
    assert (told["COMPLETE", "churn"], told["FAIL", "churn"]) == (1, 1)
    assert (told["START", "churn.count_rows"], told["FAIL", "churn.count_rows"]) == (3, 1)
    assert told["FAIL", "churn.evaluate_model"] == 1
    facets = [event["run"]["facets"] for event in events]
    assert len({one["parent"]["run"]["runId"] for one in facets if "parent" in one}) == 2


def test_the_end_of_a_run_leaves_a_signed_ledger(airflow: Airflow, refused: Triggered) -> None:
    audited = airflow.penstock("audit", "verify")
    assert audited["holds"]
    assert audited["checkpoints"]


def test_a_backfill_makes_the_run_of_a_past_date_as_far_as_it_is_asked(
    airflow: Airflow, refused: Triggered
) -> None:
    asked = {
        "dag_id": "churn",
        "from_date": BEFORE.isoformat(),
        "to_date": BEFORE.isoformat(),
        "dag_run_conf": {"until": "extract_data"},
    }
    made = airflow.ask("backfills", asked)
    until(lambda: airflow.ask(f"backfills/{made['id']}")["completed_at"], PATIENCE, pause=1)
    found = airflow.ask("dags/churn/dagRuns?run_type=backfill")["dag_runs"]
    (run,) = [seen(airflow, one["dag_run_id"]) for one in found]
    assert run.state == "success", run.tasks
    ends = Counter(state for state, _ in run.tasks.values())
    assert (run.tasks["extract_data"][0], ends["success"]) == ("success", 1)
    assert run.told["status"] == "succeeded"
    assert datetime.fromisoformat(run.told["as_of"]) == BEFORE
    last = run.steps["extract_data"]["record"]["last_event"]
    assert datetime.fromisoformat(last) < BEFORE


def test_an_operator_in_a_dag_by_hand_runs_its_step_under_the_python_it_names(
    airflow: Airflow, python: str
) -> None:
    until(lambda: "by_hand" in str(airflow.ask("dags")), PATIENCE, pause=1)
    airflow.change("dags/by_hand", {"is_paused": False})
    airflow.ask("dags/by_hand/dagRuns", {"dag_run_id": "once", "logical_date": None})
    until(lambda: airflow.state("once", "by_hand") in ENDED, PATIENCE, pause=1)
    log = airflow.log("once", "extract_data", dag="by_hand")
    assert airflow.state("once", "by_hand") == "success", log
    assert f"extracted by {Path(python).parents[1]}" in log


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"AIRFLOW_URL": "http://127.0.0.1:1"}, ResourceError, "does not answer"),
        ({"AIRFLOW_PASSWORD": "wrong"}, AccessError, "gave admin no token (401)"),
        ({"AIRFLOW_PASSWORD": ""}, AccessError, "neither a token nor a password"),
        ({"AIRFLOW_TOKEN": "wrong"}, AccessError, "refused us (403)"),
    ],
)
def test_an_airflow_that_lets_nobody_in_is_an_error_that_says_what_to_set(
    airflow: Airflow, changed: dict[str, str], kind: type[PenstockError], said: str
) -> None:
    more = {f"PENSTOCK_PIPELINE_{name}": value for name, value in changed.items()}
    error = refusal(airflow.opened(more), key="x")
    assert type(error) is kind
    assert said in error.message
    assert "PIPELINE" in error.hint or "[pipeline]" in error.hint


def test_a_dag_that_airflow_does_not_have_or_run_is_an_error(
    airflow: Airflow, refused: Triggered
) -> None:
    error = refusal(airflow.opened({"PENSTOCK_PROJECT_NAME": "missing"}), key="x")
    assert isinstance(error, ProjectError)
    assert "has no DAG missing" in error.message
    airflow.change("dags/churn", {"is_paused": True})
    paused = refusal(airflow.opened(), key="x")
    airflow.change("dags/churn", {"is_paused": False})
    assert paused is not None
    assert "the DAG churn is paused in Airflow" in paused.message
    assert find_run(airflow.opened(), "penstock__x") is None


def test_drift_starts_a_run_whose_reason_is_everywhere_and_which_holds_nothing_when_it_is_ended(
    airflow: Airflow, refused: Triggered, tmp_path: Path
) -> None:
    by_airflow = replace(airflow, variables={**airflow.variables, **starts_runs(airflow)})
    look = tmp_path / "report.json"
    look.write_text(json.dumps(asdict(DRIFT), default=str))
    fired = by_airflow.penstock("triggers", "check", "--report", str(look))
    run, because = fired["run"], "churn@1: drifted_share: 40% of the importance"
    told = airflow.ask(f"dags/churn/dagRuns/{run}")
    assert told["note"] == because
    assert told["conf"] | {"entry": 0} == {"reason": because, "cause": "drift", "entry": 0}
    again = by_airflow.penstock("triggers", "check", "--report", str(look))
    assert again["run"] is None

    runs = Runs(open_database(airflow.opened()))
    until(lambda: runs.get(run), PATIENCE, pause=0.2)
    row = runs.get(run)
    assert row
    assert (row.trigger, row.reason) == ("drift", because)
    airflow.change(f"dags/churn/dagRuns/{run}", {"state": "failed"})
    ended = list[Any]()
    until(
        lambda: ended.extend(by_airflow.penstock("triggers", "check")["ended"]) or ended, PATIENCE
    )
    assert ended[0]["run"] == run
    assert ended[0]["outcome"] in {"failed", "interrupted"}  # as its task could say so, or not


def starts_runs(airflow: Airflow) -> dict[str, str]:
    """Settings of whoever checks triggers."""
    return {
        f"{PIPELINE}_URL": airflow.url,
        f"{PIPELINE}_PASSWORD": airflow.password,
        "PENSTOCK_PIPELINE_ORCHESTRATOR": "airflow",
        "PENSTOCK_ENVIRONMENT": "production",
        "PENSTOCK_TRIGGERS_ON": "drift",
    }
