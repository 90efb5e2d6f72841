"""The plan as stages of DVC: which files, parameters and outputs each of them has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from penstock.data.pipeline_file import is_current
from penstock.errors import ProjectError
from penstock.orchestrators.dvc_stages import rendered, stages_of
from penstock.pipeline.plan import plan_of
from penstock.project import Project

MakeProject = Callable[..., Project]
PIPELINE = """
from helpers import rows
from penstock import step
from penstock.records import DatasetVersion, ModelReport

def extract(context):
    return rows()

def train(training_set, params):
    ...

@step(after="validate_data", before="feature_engineering")
def profile(context, dataset: DatasetVersion):
    ...

@step(after="evaluate_model", before="register_model")
def fairness(context, report: ModelReport):
    ...

@step(after="notify_team")
def party(context):
    ...
"""
FILES = {
    "pipeline.py": PIPELINE,
    "helpers.py": "def rows(): ...\n",
    "raw/one.csv": "id\n1\n",
    "expectations/rows.json": "{}",
    "params.yaml": "seed: 7\nextract: {rows: 1}\ntrain: {C: 1}\nsearch: {trials: 0}\n",
    "penstock.toml": '[project]\nname = "shop"\n[data]\nname = "rows"\nsources = ["raw/*.csv"]\n',
}


@pytest.fixture
def stages(make_project: MakeProject) -> dict[str, dict[str, Any]]:
    project = make_project(**FILES)
    return rendered(plan_of(project), project)


def test_each_step_up_to_the_evaluation_is_in_one_stage(make_project: MakeProject) -> None:
    found = stages_of(plan_of(make_project(**FILES)))
    assert {stage.name: [step.name for step in stage.steps] for stage in found} == {
        "prepare": ["extract_data", "validate_data"],
        "featurize": ["profile", "feature_engineering"],
        "train": ["train_model"],
        "evaluate": ["evaluate_model"],
        "fairness": ["fairness"],  # party follows the release, which is no stage
    }


def test_code_sources_and_suites_are_dependencies(stages: dict[str, dict[str, Any]]) -> None:
    assert stages["prepare"]["deps"] == ["expectations", "helpers.py", "pipeline.py", "raw"]
    # evaluate() is not there yet; should it come, pipeline.py has changed.
    assert "pipeline.py" in stages["evaluate"]["deps"]


def test_stages_hang_together_by_records_and_what_they_name(
    stages: dict[str, dict[str, Any]],
) -> None:
    made = {
        path if isinstance(path, str) else next(iter(path))
        for stage in stages.values()
        for path in (*stage["outs"], *stage.get("metrics", ()))
    }
    assert made >= {"data/rows.parquet", "stages/training_set.parquet", "stages/model"}
    assert {"stages/prepare.json", "data/rows.parquet"} <= set(stages["featurize"]["deps"])
    assert {"stages/train.json", "stages/model"} <= set(stages["evaluate"]["deps"])
    assert "stages/evaluate.json" in stages["fairness"]["deps"]
    own = {"expectations", "helpers.py", "pipeline.py", "raw"}
    assert {dep for stage in stages.values() for dep in stage["deps"]} <= made | own


def test_sections_that_may_still_come_make_a_stage_read_the_whole_file(
    stages: dict[str, dict[str, Any]],
) -> None:
    settings = {"penstock.toml": None}
    assert stages["train"]["params"] == ["search", "seed", "train", settings]
    assert stages["featurize"]["params"] == [{"params.yaml": None}, settings]


def test_a_step_named_like_a_stage_is_refused(make_project: MakeProject) -> None:
    pipeline = PIPELINE.replace("def profile(", "def train(").replace(
        "def train(training_set", "def fit(training_set"
    )
    with pytest.raises(ProjectError, match="'train' has the name of a stage"):
        stages_of(plan_of(make_project(**FILES | {"pipeline.py": pipeline})))


def test_a_file_that_is_older_than_the_plan_is_noticed(make_project: MakeProject) -> None:
    project = make_project(**FILES)
    stages = rendered(plan_of(project), project)
    assert is_current(project.root, "train", stages["train"])  # no file: nothing to compare with
    (project.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    assert is_current(project.root, "train", stages["train"])
    assert not is_current(project.root, "train", {**stages["train"], "deps": ["other.py"]})
