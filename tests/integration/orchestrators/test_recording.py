"""What a run leaves behind, whoever runs it: events for other tools, and a signed ledger."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from openlineage_schemas import faults

from penstock.audit.ledger import Entry, Ledger
from penstock.audit.signing_keys import LedgerKeys
from penstock.cli.watch import PlainWatcher
from penstock.digests import file_digest
from penstock.errors import ResourceError, UserCodeError
from penstock.orchestrators.dvc_run import run_stage
from penstock.orchestrators.local import run_plan
from penstock.orchestrators.outcomes import RunOutcome
from penstock.orchestrators.task import Task, close_run, run_task
from penstock.pipeline.plan import plan_of
from penstock.project import Project
from penstock.state.database import open_database
from penstock.state.runs import Runs

pytestmark = pytest.mark.slow  # extract_data imports pandas and DVC

SETTINGS = """\
[project]
name = "shop"
[data]
name = "orders"
sources = ["raw.csv"]
[pipeline]
retries = 1
retry_delay = "1ms"
[audit]
anchors = ["notes"]
[lineage]
openlineage = "file:events.jsonl"
"""
# Steps that need no data, so that a run of them costs a second.
PIPELINE = """\
from pathlib import Path
from penstock import step

def extract(context):
    import pandas
    return pandas.read_csv("raw.csv")

@step(before="extract_data")
def greet(context):
    if (seen := Path("no-route")).exists():
        seen.unlink()
        raise ConnectionError("no route to the warehouse")

@step(after="greet", before="extract_data")
def weigh(context):
    assert not Path("heavy").exists(), "too heavy"
"""
TASK = Task("extract_data", "scheduled__1", datetime(2026, 11, 23, tzinfo=UTC), 1, False, "airflow")


@pytest.fixture
def shop(make_project: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    project: Project = make_project(
        **{"penstock.toml": SETTINGS, "pipeline.py": PIPELINE, "raw.csv": "id,amount\n1,2.5\n2,3\n"}
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "pipeline", raising=False)
    yield project
    sys.modules.pop("pipeline", None)


def run(project: Project, until: str = "weigh") -> RunOutcome:
    plan = plan_of(project)
    return run_plan(plan, project, open_database(project), PlainWatcher(project, plan), until=until)


def told(project: Project) -> list[Any]:
    """The events since the last look, all of them valid."""
    file = project.root / "events.jsonl"
    events = [json.loads(line) for line in file.read_text().splitlines()]
    file.unlink()
    assert [fault for event in events for fault in faults(event)] == []
    return events


def ends(events: list[Any]) -> list[tuple[str, str]]:
    return [(event["eventType"], event["job"]["name"]) for event in events]


def story(project: Project) -> list[Entry]:
    """What the ledger says of the latest run."""
    entries = Ledger(open_database(project)).entries()
    (stream,) = {entry.stream for entry in entries[-1:]}
    return [entry for entry in entries if entry.stream == stream]


def acts(entries: list[Entry]) -> list[tuple[str, str]]:
    return [(entry.action, entry.subject) for entry in entries]


def test_a_local_run(shop: Project) -> None:
    outcome = run(shop)
    assert (outcome.error, outcome.remarks) == (None, ())
    events = told(shop)
    assert ends(events) == [
        ("START", "shop"), ("START", "shop.greet"), ("COMPLETE", "shop.greet"),
        ("START", "shop.weigh"), ("COMPLETE", "shop.weigh"), ("COMPLETE", "shop"),
    ]  # fmt: skip
    (of_run,) = {event["run"]["runId"] for event in events if event["job"]["name"] == "shop"}
    parents = [e["run"]["facets"]["parent"]["run"]["runId"] for e in events[1:-1]]
    assert parents == [of_run] * 4
    entries = story(shop)
    assert acts(entries) == [
        ("run.started", "shop"), ("step.succeeded", "greet"), ("step.succeeded", "weigh"),
        ("run.succeeded", "shop"),
    ]  # fmt: skip
    assert {(e.run_id, e.environment) for e in entries} == {(outcome.run_id, "dev")}
    assert [entry.outcome for entry in entries] == ["", "done", "done", "done"]
    run(shop)
    cached = told(shop)
    assert acts(story(shop)) == [("run.started", "shop"), ("run.succeeded", "shop")]
    assert story(shop)[-1].details == {"cached": ["greet", "weigh"]}
    assert ends(cached) == ends(events)  # what did not run has begun and ended as well
    tags = {(t["key"], t["value"]) for t in cached[2]["run"]["facets"]["tags"]["tags"]}
    assert ("cached", "true") in tags


def test_a_local_run_that_fails(shop: Project) -> None:
    (shop.root / "no-route").touch()
    (shop.root / "heavy").touch()
    assert isinstance(run(shop).error, UserCodeError)
    events = told(shop)
    assert ends(events) == [
        ("START", "shop"),
        ("START", "shop.greet"), ("FAIL", "shop.greet"),  # is tried again
        ("START", "shop.greet"), ("COMPLETE", "shop.greet"),
        ("START", "shop.weigh"), ("FAIL", "shop.weigh"), ("FAIL", "shop"),
    ]  # fmt: skip
    assert len({event["run"]["runId"] for event in events}) == 4
    assert "too heavy" in events[-1]["run"]["facets"]["errorMessage"]["message"]
    entries = story(shop)
    assert [(e.subject, e.outcome, e.decision, e.details.get("attempt")) for e in entries[1:]] == [
        ("greet", "failed", "another attempt", 1), ("greet", "done", "", 2),
        ("weigh", "failed", "", 1), ("shop", "failed", "", None),
    ]  # fmt: skip
    # What an error says may quote a row, and so a person: the ledger has its kind.
    assert (
        entries[-1].reason == "weigh: UserCodeError: A function of the project raised an exception."
    )


def test_a_ledger_that_cannot_be_written_fails_the_run(shop: Project) -> None:
    engine = open_database(shop)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER broken BEFORE INSERT ON ledger WHEN NEW.entry LIKE '%step.succeeded%'"
            " BEGIN SELECT json('{'); END"
        )
    with pytest.raises(ResourceError, match="the ledger cannot be written: malformed JSON"):
        run(shop)
    (row,) = Runs(engine).list()
    assert [step.status for step in Runs(engine).get(row.id).steps] == ["running"]  # type: ignore[union-attr]
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER broken")
    assert run(shop).error is None
    entries = Ledger(engine).entries()
    of_first = [entry for entry in entries if entry.run_id == row.id]
    assert acts(of_first) == [
        ("run.started", "shop"), ("step.failed", "greet"), ("run.interrupted", "shop"),
    ]  # fmt: skip


def test_the_end_of_a_run_that_was_killed_is_told_by_the_next(shop: Project) -> None:
    runs, about = Runs(open_database(shop)), {"pipeline": "shop", "environment": "dev"}
    runs.start("killed", **about, orchestrator="local", as_of=TASK.as_of, now=TASK.as_of)
    runs.record_step("killed", "greet", status="running", started_at=TASK.as_of)
    run(shop)
    assert ends(told(shop))[:3] == [("START", "shop"), ("FAIL", "shop.greet"), ("ABORT", "shop")]
    of_killed = Ledger(open_database(shop)).entries(stream="run/killed")
    assert acts(of_killed) == [("step.failed", "greet"), ("run.interrupted", "shop")]


def test_the_tasks_of_an_orchestrator(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.root)
    (shop.root / "no-route").touch()
    greet = replace(TASK, step="greet")
    with pytest.raises(ResourceError):
        run_task(shop, greet, {})
    run_task(shop, replace(greet, attempt=2), {})
    run_task(shop, TASK, {"weigh": {"kind": "StepDone", "step": "weigh"}})
    events = told(shop)
    assert ends(events) == [
        ("START", "shop"), ("START", "shop.greet"), ("FAIL", "shop.greet"),
        ("START", "shop.greet"), ("COMPLETE", "shop.greet"),
        ("START", "shop.extract_data"), ("COMPLETE", "shop.extract_data"),
    ]  # fmt: skip
    (source,), (made,) = events[-1]["inputs"], events[-1]["outputs"]
    assert source["name"] == str(shop.root / "raw.csv")
    assert made["name"] == "shop.orders"
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == 2
    assert len({e["run"]["facets"]["parent"]["run"]["runId"] for e in events[1:]}) == 1
    extracted = story(shop)[-1]
    (dataset,) = (shop.root / "data").glob("*.parquet")
    assert extracted.digest == file_digest(dataset)
    assert extracted.digests["file raw.csv"] == file_digest(shop.root / "raw.csv")
    assert {"inputs", "code pipeline.py:extract"} <= set(extracted.digests)

    database = open_database(shop)
    Runs(database).record_step(TASK.run_id, "weigh", status="running", started_at=TASK.as_of)
    close_run(shop, TASK.run_id, "weigh", "the worker died")
    assert ends(told(shop)) == [("FAIL", "shop.weigh"), ("FAIL", "shop")]
    run_task(shop, replace(greet, attempt=3), {})  # the run has failed, and is not told again
    assert ends(told(shop)) == [("START", "shop.greet"), ("COMPLETE", "shop.greet")]
    assert acts(story(shop)) == [
        ("run.started", "shop"), ("step.failed", "greet"), ("step.succeeded", "greet"),
        ("step.succeeded", "extract_data"), ("step.failed", "weigh"), ("run.failed", "shop"),
    ]  # fmt: skip


def test_a_stage_of_dvc(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.root)
    (shop.root / "heavy").touch()
    plan = plan_of(shop)
    with pytest.raises(UserCodeError):
        run_stage(plan, shop, open_database(shop), "prepare", lambda *_: None)
    assert ends(told(shop)) == [
        ("START", "shop"), ("START", "shop.greet"), ("COMPLETE", "shop.greet"),
        ("START", "shop.weigh"), ("FAIL", "shop.weigh"), ("FAIL", "shop"),
    ]  # fmt: skip


def notes(project: Project) -> list[Path]:
    return sorted((project.root / "notes").glob("*.note"))


def test_what_the_ledger_has_grown_by_is_anchored_when_a_run_ends(shop: Project) -> None:
    book = Ledger(open_database(shop))
    assert run(shop).remarks == ()
    assert notes(shop) == []  # no key, no signature
    LedgerKeys.in_new_project(shop.root).new("shop")
    assert run(shop).remarks == ()
    (note,) = notes(shop)
    assert note.name == f"shop.{len(book.entries()):012}.note"  # the end of the run is signed too
    (shop.root / "notes").rename(shop.root / "elsewhere")
    (shop.root / "notes").write_text("in the way")
    outcome = run(shop)
    assert outcome.error is None
    (remark,) = outcome.remarks
    assert remark.startswith("the ledger is signed, and not anchored at notes: ")
    (shop.root / "ledger.pub").unlink()
    (remark,) = run(shop).remarks
    assert remark.startswith("the ledger is not signed: ")
