"""One step: cached, run, refused, remembered; with a real database and a step of a few lines."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from penstock.digests import file_digest
from penstock.errors import GateFailed, IntegrityError, StepError, UserCodeError
from penstock.pipeline.context import StepContext
from penstock.pipeline.execution import RunIdentity, cached, perform, prepare
from penstock.pipeline.plan import Plan, Step
from penstock.project import Project
from penstock.records import Check, DatasetVersion, GateReport, Record, StepDone
from penstock.state.artifacts import keep
from penstock.state.cache import StepCache
from penstock.state.database import open_database

MODULE = "steps_of_this_test"
RUN = RunIdentity("r1", datetime(2026, 1, 1, tzinfo=UTC), asked=True)


@dataclass
class Bench:
    """A plan of one step, whose function the test gives."""

    project: Project
    module: ModuleType
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.database = open_database(self.project)
        self.plan = Plan((Step("work", f"{MODULE}:work", params=("work",)),))

    def works(self, function: Callable[[StepContext], object]) -> None:
        def work(context: StepContext) -> object:
            self.calls.append(context.run_id)
            return function(context)

        vars(self.module)["work"] = work

    def perform(self) -> Record:
        prepared = prepare(self.plan, self.plan.steps[0], self.project, {}, self.database)
        return perform(prepared, self.project, RUN, self.database, lambda *_: None)

    def cached(self) -> Record | None:
        prepared = prepare(self.plan, self.plan.steps[0], self.project, {}, self.database)
        return cached(prepared, self.project, self.database)


@pytest.fixture
def bench(make_project: Callable[..., Project]) -> Iterator[Bench]:
    module = ModuleType(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, MODULE, module)
        yield Bench(make_project(), module)


def dataset(context: StepContext) -> DatasetVersion:
    artifact = keep(context.project, "sets", lambda path: path.write_text("rows") and None)
    return DatasetVersion(
        name="rows",
        path=artifact.path,
        digest=artifact.digest,
        dvc_md5="",
        remote="",
        rows=1,
        columns=(),
        first_event=None,
        last_event=None,
    )


def test_what_was_done_is_not_done_again(bench: Bench) -> None:
    bench.works(dataset)
    assert bench.cached() is None
    assert bench.perform() == bench.perform() == bench.cached()
    assert bench.calls == ["r1"]


def test_who_wants_what_another_is_doing_waits_and_finds_it_done(bench: Bench) -> None:
    bench.works(lambda _: StepDone(step="work"))
    found: list[Record] = []
    threads = [threading.Thread(target=lambda: found.append(bench.perform())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [StepDone(step="work")] * 4
    assert bench.calls == ["r1"]


def test_a_changed_file_is_an_error_and_a_missing_one_is_made_anew(bench: Bench) -> None:
    bench.works(dataset)
    record = bench.perform()
    assert isinstance(record, DatasetVersion)
    file = bench.project.absolute(record.path)
    file.write_text("tampered with")
    with pytest.raises(IntegrityError, match="was changed after work wrote it") as caught:
        bench.cached()
    assert "--rerun work" in caught.value.hint
    file.unlink()
    assert bench.cached() is None
    assert bench.perform() == record
    assert file.read_text() == "rows"


def test_a_gate_that_says_no_is_an_error_and_never_remembered(bench: Bench) -> None:
    checks = [
        Check(name=f"m{n}", passed=n > 5, observed="0.1", expected=">= 0.2") for n in range(8)
    ]
    bench.works(lambda _: GateReport(subject="d", checks=tuple(checks)))
    with pytest.raises(GateFailed) as caught:
        bench.perform()
    assert caught.value.message.startswith("6 of 8 checks failed: m0: 0.1, expected >= 0.2; m1: ")
    assert caught.value.message.endswith(" and 1 more")
    assert StepCache(bench.database).latest("work") is None


@pytest.mark.parametrize(
    ("function", "kind", "said"),
    [
        (lambda _: {"a": 1}, StepError, "work returned dict, not a record"),
        (lambda _: 1 / 0, UserCodeError, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_step_without_a_result_leaves_nothing_behind(
    bench: Bench, function: Callable[[StepContext], object], kind: type[StepError], said: str
) -> None:
    scratch: list[Path] = []

    def noted(context: StepContext) -> object:
        (context.scratch / "half").touch()
        scratch.append(context.scratch)
        return function(context)

    bench.works(noted)
    with pytest.raises(kind, match=said):
        bench.perform()
    assert StepCache(bench.database).latest("work") is None
    assert not scratch[0].exists()


def test_an_entry_of_another_version_is_said_to_be_unreadable(bench: Bench) -> None:
    bench.works(lambda _: StepDone(step="work"))
    bench.perform()
    entry = StepCache(bench.database).latest("work")
    assert entry is not None
    StepCache(bench.database).put(
        type(entry)(**(vars(entry) | {"record": {"kind": "NoSuchRecord"}}))
    )
    with pytest.raises(IntegrityError, match="the cache entry of work cannot be read"):
        bench.cached()


def test_the_same_content_is_kept_once_and_nothing_half_written(bench: Bench) -> None:
    first = keep(bench.project, "sets", lambda path: path.write_text("x") and None)
    assert first == keep(bench.project, "sets", lambda path: path.write_text("x") and None)
    file = bench.project.absolute(first.path)
    assert file_digest(file) == first.digest

    def fails(path: Path) -> None:
        path.write_text("half")
        raise InterruptedError

    with pytest.raises(InterruptedError):
        keep(bench.project, "sets", fails)
    file.write_text("spoiled")  # and mended by whoever makes the same again
    keep(bench.project, "sets", lambda path: path.write_text("x") and None)
    assert list(file.parent.iterdir()) == [file]
    assert file.read_text() == "x"
