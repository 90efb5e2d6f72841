"""What outlives a process, on every database: migrations, runs, the cache, the ledger."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, text

from penstock.audit.ledger import Ledger
from penstock.errors import PenstockError, ResourceError
from penstock.project import Project, open_project
from penstock.records import IntegrationReport, from_json, to_json
from penstock.registry.champions import Champion, champion_label, crown
from penstock.state import database as state
from penstock.state.cache import CacheEntry, StepCache
from penstock.state.database import open_database
from penstock.state.runs import RunRow, Runs, new_run_id
from penstock.state.tables import REVISION, metadata

NOW = datetime(2026, 3, 1, 2, 3, 4, 567891, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TOKYO = timezone(timedelta(hours=9))


def at_once(count: int, action: Callable[[int], object]) -> None:
    """Calls `action(0)` … `action(count - 1)` from as many threads, all let go together."""
    barrier, raised = threading.Barrier(count), list[BaseException]()

    def call(number: int) -> None:
        barrier.wait()
        try:
            action(number)
        except BaseException as error:  # noqa: BLE001 -- told to the test
            raised.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []


def forget_open_databases() -> None:
    """As a new process would begin."""
    state._open.cache_clear()


class TestMigrations:
    @pytest.fixture
    def url(self, empty_url: str) -> str:
        return empty_url

    def test_an_empty_database_gets_every_table(self, database: Engine) -> None:
        made = inspect(database)
        assert set(made.get_table_names()) == {*metadata.tables, "alembic_version"}

    def test_the_tables_are_those_that_the_code_expects(self, database: Engine) -> None:
        for table in metadata.tables.values():
            found = {column["name"]: column for column in inspect(database).get_columns(table.name)}
            assert set(found) == {column.name for column in table.columns}
            for column in table.columns:
                assert found[column.name]["nullable"] == column.nullable
            indexed = {
                (tuple(index["column_names"]), bool(index["unique"]))
                for index in inspect(database).get_indexes(table.name)
            }
            assert indexed == {
                (tuple(index.columns.keys()), bool(index.unique)) for index in table.indexes
            }

    def test_opening_it_again_changes_nothing(self, project: Project) -> None:
        Ledger(open_database(project)).append("model.approved", "shop@1", digest="d")
        forget_open_databases()
        assert [entry.subject for entry in Ledger(open_database(project)).entries()] == ["shop@1"]

    @pytest.mark.slow
    def test_two_processes_may_open_an_empty_database_at_once(self, project: Project) -> None:
        code = (
            "import sys; from pathlib import Path\n"
            "from penstock.project import open_project\n"
            "from penstock.state.database import open_database\n"
            "from penstock.audit.ledger import Ledger\n"
            "project = open_project(Path(sys.argv[1]), 'dev')\n"
            "print('ready', flush=True); sys.stdin.readline()\n"
            "Ledger(open_database(project)).append('model.approved', 'shop@1', digest='d')\n"
        )
        openers = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(project.root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for opener in openers:
            assert opener.stdout
            assert opener.stdout.readline() == "ready\n"
        for opener in openers:
            assert opener.stdin
            opener.stdin.write("\n")
            opener.stdin.flush()
        for opener in openers:
            _, told = opener.communicate(timeout=60)
            assert opener.returncode == 0, told
        assert len(Ledger(open_database(project)).entries()) == 2

    def test_a_database_of_a_newer_revision_is_refused(
        self, project: Project, database: Engine
    ) -> None:
        with database.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        forget_open_databases()
        with pytest.raises(PenstockError, match=f"revision 9999; this Penstock knows {REVISION}"):
            open_database(project)


class TestRuns:
    @pytest.fixture
    def runs(self, database: Engine) -> Runs:
        return Runs(database)

    def start(
        self,
        runs: Runs,
        run_id: str,
        now: datetime = NOW,
        orchestrator: str = "local",
        as_of: datetime = NOW,
    ) -> None:
        runs.start(
            run_id,
            pipeline="shop",
            environment="dev",
            orchestrator=orchestrator,
            as_of=as_of,
            now=now,
        )

    def test_a_run_from_its_start_to_its_end(self, runs: Runs) -> None:
        self.start(runs, "r1")
        assert runs.get("r1") == RunRow(
            "r1", "shop", "dev", "local", "running", NOW, NOW, None, None
        )
        error = {"error": "GateFailed", "message": "no ✗", "hint": ""}
        runs.finish("r1", "failed", NOW + MINUTE, error)
        found = runs.get("r1")
        assert found is not None
        assert (found.status, found.finished_at, found.error) == ("failed", NOW + MINUTE, error)

    def test_a_run_that_is_started_again_goes_on(self, runs: Runs) -> None:
        self.start(runs, "r1", orchestrator="airflow")
        runs.record_step("r1", "extract_data", status="succeeded", started_at=NOW)
        runs.finish("r1", "failed", NOW + MINUTE, {"error": "StepError"})
        self.start(runs, "r1", now=NOW + 2 * MINUTE, orchestrator="airflow")
        found = runs.get("r1")
        assert found is not None
        assert (found.status, found.finished_at, found.error) == ("running", None, None)
        assert found.started_at == NOW
        assert [step.step for step in found.steps] == ["extract_data"]

    def test_tasks_of_one_run_may_start_it_at_once(self, runs: Runs) -> None:
        at_once(6, lambda _: self.start(runs, "r1", orchestrator="airflow"))
        assert [run.id for run in runs.list()] == ["r1"]

    def test_times_come_back_as_utc(self, runs: Runs) -> None:
        local = NOW.astimezone(TOKYO)
        self.start(runs, "r1", now=local, as_of=local)
        runs.record_step("r1", "s", status="succeeded", started_at=local, finished_at=local)
        found = runs.get("r1")
        assert found is not None
        for time in (found.as_of, found.started_at, found.steps[0].finished_at):
            assert time == NOW
            assert time is not None
            assert time.utcoffset() == timedelta(0)

    def test_a_step_is_known_by_its_last_state(self, runs: Runs) -> None:
        self.start(runs, "r1")
        runs.record_step("r1", "b", status="running", started_at=NOW + MINUTE)
        runs.record_step("r1", "a", status="cached", started_at=NOW, record={"kind": "StepDone"})
        runs.record_step(
            "r1", "b", status="failed", started_at=NOW + MINUTE, attempts=3,
            finished_at=NOW + 2 * MINUTE, error={"message": "m"},
        )  # fmt: skip
        found = runs.get("r1")
        assert found is not None
        first, second = found.steps
        assert (first.step, first.status, first.record) == ("a", "cached", {"kind": "StepDone"})
        assert (second.step, second.status, second.attempts) == ("b", "failed", 3)
        assert (second.seconds, second.error, second.record) == (60.0, {"message": "m"}, None)

    def test_one_step_may_be_written_from_several_threads(self, runs: Runs) -> None:
        self.start(runs, "r1")
        at_once(
            6, lambda n: runs.record_step("r1", "s", status="running", started_at=NOW, attempts=n)
        )
        found = runs.get("r1")
        assert found is not None
        assert [step.step for step in found.steps] == ["s"]

    def test_what_was_not_measured_can_be_stored(self, runs: Runs) -> None:
        metrics = {"latency_p95_ms": math.inf, "error_rate": math.nan}
        report = IntegrationReport(subject="d", checks=(), metrics=metrics, requests=0)
        self.start(runs, "r1")
        runs.record_step("r1", "s", status="failed", started_at=NOW, record=to_json(report))
        found = runs.get("r1")
        assert found is not None
        back = from_json(found.steps[0].record or {})
        assert isinstance(back, IntegrationReport)
        assert str(back.metrics) == "{'latency_p95_ms': inf, 'error_rate': nan}"

    def test_the_latest_report_about_a_digest_is_found_whichever_run_made_it(
        self, runs: Runs
    ) -> None:
        for number, subject in enumerate(("d1", "d2", "d1", "d3")):
            self.start(runs, f"r{number}")
            report = {"kind": "IntegrationReport", "subject": subject, "requests": number}
            at = NOW + number * MINUTE
            runs.record_step(f"r{number}", "s", status="failed", started_at=at, record=report)
        found = runs.latest_of("IntegrationReport", "d1")
        assert found is not None
        assert found["requests"] == 2
        assert runs.latest_of("ModelReport", "d1") is None
        assert runs.latest_of("IntegrationReport", "d4") is None

    def test_the_latest_are_listed_first(self, runs: Runs) -> None:
        for number in (2, 0, 3, 1):
            self.start(runs, f"r{number}", now=NOW + number * MINUTE)
        assert [run.id for run in runs.list()] == ["r3", "r2", "r1", "r0"]
        assert [run.id for run in runs.list(limit=2)] == ["r3", "r2"]

    def test_a_run_is_found_by_a_beginning_that_is_its_own(self, runs: Runs) -> None:
        for run_id in ("20260301T01-aa", "20260301T02-bb", "20260302T01-cc", "100%_x"):
            self.start(runs, run_id)

        def found(beginning: str) -> str | None:
            run = runs.get(beginning)
            return run and run.id

        assert found("20260302") == "20260302T01-cc"
        assert found("20260301T02-bb") == "20260301T02-bb"
        assert found("20260301") is None  # more than one
        assert found("2027") is None
        assert found("100%_") == "100%_x"
        assert found("1%") is None  # not a pattern
        assert found("_") is None

    @pytest.mark.parametrize("others", [("a1", "a2", "a3"), ("a3", "a2", "a1")])
    def test_a_whole_id_is_found_though_others_begin_with_it(
        self, runs: Runs, others: tuple[str, ...]
    ) -> None:
        for run_id in (*others, "a"):
            self.start(runs, run_id)
        found = runs.get("a")
        assert found is not None
        assert found.id == "a"

    def test_only_local_runs_that_still_run_are_abandoned(self, runs: Runs) -> None:
        self.start(runs, "killed")
        runs.record_step("killed", "a", status="succeeded", started_at=NOW)
        runs.record_step("killed", "b", status="running", started_at=NOW)
        self.start(runs, "ended")
        runs.finish("ended", "succeeded", NOW)
        self.start(runs, "elsewhere", orchestrator="airflow")
        later = NOW + MINUTE
        assert runs.interrupt_abandoned(later) == ["killed"]
        assert runs.interrupt_abandoned(later) == []
        assert {run.id: run.status for run in runs.list()} == {
            "killed": "interrupted",
            "ended": "succeeded",
            "elsewhere": "running",
        }
        killed = runs.get("killed")
        assert killed is not None
        assert killed.error is not None
        assert (killed.finished_at, killed.error["error"]) == (later, "StepInterrupted")
        assert [(step.step, step.status) for step in killed.steps] == [
            ("a", "succeeded"),
            ("b", "failed"),
        ]


def test_run_ids_are_sorted_by_time_and_never_the_same() -> None:
    ids = [new_run_id(NOW + number * timedelta(seconds=1)) for number in range(20)]
    assert ids == sorted(ids)
    assert len({new_run_id(NOW) for _ in range(100)}) == 100


def entry(key: str = "k1", made: datetime = NOW, **changes: Any) -> CacheEntry:
    given = {
        "step": "train_model",
        "key": key,
        "inputs": {"param seed": "7", "ü": "→"},
        "record": {"kind": "StepDone", "step": "x"},
        "run_id": "r1",
        "created_at": made,
    }
    return CacheEntry(**(given | changes))


class TestCache:
    @pytest.fixture
    def cache(self, database: Engine) -> StepCache:
        return StepCache(database)

    def test_what_was_put_is_got(self, cache: StepCache) -> None:
        cache.put(entry())
        assert cache.get("train_model", "k1") == entry()
        assert cache.get("train_model", "k2") is None
        assert cache.get("extract_data", "k1") is None

    def test_the_later_result_takes_the_place_of_the_earlier(self, cache: StepCache) -> None:
        cache.put(entry())
        again = entry(made=NOW + MINUTE, run_id="r2", record={"kind": "StepDone", "step": "y"})
        cache.put(again)
        assert cache.get("train_model", "k1") == again

    def test_the_latest_is_the_one_made_last_and_not_the_one_put_last(
        self, cache: StepCache
    ) -> None:
        assert cache.latest("train_model") is None
        cache.put(entry("new", NOW + MINUTE))
        cache.put(entry("old", NOW))
        cache.put(entry("other", NOW + 2 * MINUTE, step="extract_data"))
        latest = cache.latest("train_model")
        assert latest is not None
        assert latest.key == "new"

    def test_one_entry_or_all_of_a_step_are_forgotten(self, cache: StepCache) -> None:
        for key in ("k1", "k2", "k3"):
            cache.put(entry(key))
        cache.put(entry(step="extract_data"))
        cache.forget("train_model", "k1")
        assert cache.get("train_model", "k1") is None
        assert cache.get("train_model", "k2") is not None
        cache.forget("train_model")
        assert cache.latest("train_model") is None
        assert cache.get("extract_data", "k1") is not None

    def test_the_same_result_may_be_put_from_several_threads(self, cache: StepCache) -> None:
        at_once(8, lambda number: cache.put(entry(run_id=f"r{number}")))
        assert cache.get("train_model", "k1") is not None


class TestLedger:
    @pytest.fixture
    def ledger(self, database: Engine) -> Ledger:
        return Ledger(database)

    def test_an_entry_comes_back_with_who_when_and_why(self, ledger: Ledger) -> None:
        before = datetime.now(UTC)
        number = ledger.append(
            "model.approved",
            "shop@1",
            digest="d" * 64,
            reason="seen and good ✓",
            run_id="r1",
            actor="ann",
            details={"target": "production", "metrics": {"auc": math.nan}},
        )
        (found,) = ledger.entries()
        assert (found.sequence, found.action, found.subject) == (number, "model.approved", "shop@1")
        assert (found.digest, found.reason, found.run_id) == ("d" * 64, "seen and good ✓", "r1")
        assert found.details == {"target": "production", "metrics": {"auc": "nan"}}
        assert found.actor == "ann"
        assert before <= found.at <= datetime.now(UTC)
        assert found.at.utcoffset() == timedelta(0)

    def test_the_actor_is_the_user_of_the_machine_where_nobody_is_named(
        self, ledger: Ledger
    ) -> None:
        ledger.append("release.deployed", "staging", digest="d")
        assert "@" in ledger.entries()[0].actor

    def test_entries_of_one_action_are_read_oldest_first(self, ledger: Ledger) -> None:
        for number in range(4):
            action = "model.approved" if number % 2 else "model.registered"
            ledger.append(action, f"shop@{number}", digest="d")
        assert [found.subject for found in ledger.entries("model.approved")] == ["shop@1", "shop@3"]
        assert len(ledger.entries()) == 4

    def test_eight_threads_append_in_one_order(self, ledger: Ledger) -> None:
        told: dict[str, int] = {}

        def append(thread: int) -> None:
            for number in range(5):
                subject = f"{thread}-{number}"
                told[subject] = ledger.append("model.registered", subject, digest="d")

        at_once(8, append)
        found = ledger.entries()
        assert {entry.subject: entry.sequence for entry in found} == told
        assert len({entry.sequence for entry in found}) == 40
        for thread in range(8):  # each sees its own in the order it wrote them
            own = [e.subject for e in found if e.subject.startswith(f"{thread}-")]
            assert own == [f"{thread}-{number}" for number in range(5)]

    def test_the_champion_is_the_version_promoted_last(self, database: Engine) -> None:
        assert champion_label(database) == "none"
        Ledger(database).append("model.approved", "shop@9", digest="d")
        assert champion_label(database) == "none"  # to be approved is not to serve
        for label in ("shop@2", "shop@3", "shop@1"):
            with Ledger(database).page() as page:
                crown(page, Champion(label, "d"), reason="it passed", actor="ro-1")
        assert champion_label(database) == "shop@1"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://penstock:hunter2@127.0.0.1:9/none",
        "sqlite:////proc/nowhere/state.db",
        "nosuch://penstock:hunter2@127.0.0.1/none",
        "not an address: hunter2",
    ],
)
def test_a_database_that_is_not_there_is_told_without_its_password(
    url: str, make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project().root
    monkeypatch.setenv("PENSTOCK_STATE_URL", url)
    with pytest.raises(ResourceError, match="the state database cannot be opened") as caught:
        open_database(open_project(root, "dev"))
    assert "hunter2" not in str(caught.value.as_dict())
    assert "PENSTOCK_STATE_URL" in caught.value.hint
