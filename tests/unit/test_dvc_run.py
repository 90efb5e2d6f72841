"""One stage of the exported pipeline: what it is given, what it leaves, how it fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine

from penstock.digests import digest_at
from penstock.errors import DataError, IntegrityError, ProjectError, UserCodeError
from penstock.orchestrators.dvc_run import run_stage
from penstock.pipeline.plan import plan_of
from penstock.project import Project
from penstock.records import Check, FeatureSet, ModelReport, to_json
from penstock.state.database import open_database
from penstock.state.runs import Runs

MakeProject = Callable[..., Project]
PIPELINE = """
from pathlib import Path
from penstock import step
from penstock.records import FeatureSet, StepDone

def extract(context): ...
def train(training_set, params): ...

@step(after="evaluate_model")
def fairness(context, features: FeatureSet) -> StepDone:
    context.progress("looking")
    return StepDone(step=Path(features.path).read_text() + context.params.get("more", ""))
"""
KEPT = ".penstock/artifacts/training_set/0123.parquet"


@pytest.fixture
def project(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """As `dvc pull` leaves it: records and outputs of the stages before, nothing of Penstock's."""
    project = make_project(
        **{
            "pipeline.py": PIPELINE,
            "params.yaml": "fairness: {more: ''}\n",
            "stages/training_set.parquet": "the rows",
        }
    )
    laid = project.root / "stages" / "training_set.parquet"
    features = FeatureSet(
        path=KEPT, digest=digest_at(laid), rows=1, features=(), entity_keys=(), timestamp="t",
        label="y", service="", definitions="", dataset="", online_until=None,
    )  # fmt: skip
    check = Check(name="auc", passed=True, observed="1", expected="1")
    report = ModelReport(subject="", checks=(check,), metrics={"auc": 1.0}, rows=1)
    for stage, step, record in (
        ("featurize", "feature_engineering", features),
        ("evaluate", "evaluate_model", report),
    ):
        file = project.root / "stages" / f"{stage}.json"
        file.write_text(json.dumps({step: to_json(record)}))
    monkeypatch.syspath_prepend(str(project.root))
    sys.modules.pop("pipeline", None)  # of another project
    yield project
    sys.modules.pop("pipeline", None)


@pytest.fixture
def database(project: Project) -> Engine:
    return open_database(project)


def run(project: Project, database: Engine, stage: str = "fairness") -> list[str]:
    told: list[str] = []
    run_stage(plan_of(project), project, database, stage, lambda text, *_: told.append(text))
    return told


def test_it_goes_on_from_what_dvc_brought(project: Project, database: Engine) -> None:
    assert run(project, database) == ["fairness", "looking"]
    assert (project.root / KEPT).read_text() == "the rows"
    left = json.loads((project.root / "stages" / "fairness.json").read_text())
    assert left["fairness"]["step"] == "the rows"
    assert run(project, database) == ["fairness"]  # cached: nobody looked
    done, before = Runs(database).list()
    assert [(r.status, r.orchestrator) for r in (before, done)] == [("succeeded", "dvc")] * 2
    found = Runs(database).get(done.id)
    assert found is not None
    assert [(step.step, step.status) for step in found.steps] == [("fairness", "cached")]


def test_bytes_that_are_not_the_record_s_are_not_taken(project: Project, database: Engine) -> None:
    (project.root / "stages" / "training_set.parquet").write_text("other rows")
    with pytest.raises(IntegrityError, match="is gone"):
        run(project, database)
    assert Runs(database).list()[0].status == "failed"


def test_a_step_that_fails_fails_the_run_and_leaves_no_record(
    project: Project, database: Engine
) -> None:
    text = (project.root / "pipeline.py").read_text().replace("return StepDone(", "raise OSError(")
    (project.root / "pipeline.py").write_text(text)
    with pytest.raises(UserCodeError):
        run(project, database)
    (failed,) = Runs(database).list()
    assert (failed.status, failed.error is not None) == ("failed", True)
    assert not (project.root / "stages" / "fairness.json").exists()


def test_a_record_that_is_missing_and_a_stage_that_is_unknown(
    project: Project, database: Engine
) -> None:
    (project.root / "stages" / "evaluate.json").write_text("{}")
    with pytest.raises(DataError, match="does not hold the record of evaluate_model") as raised:
        run(project, database)
    assert "dvc repro evaluate" in raised.value.hint
    with pytest.raises(ProjectError, match="no stage is called 'nope'"):
        run(project, database, "nope")
