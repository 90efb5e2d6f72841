"""The DAG that settings and plan give, and what somebody may ask of a run of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, AssetAlias, AssetAny, AssetOrTimeSchedule
from airflow.sdk.exceptions import ParamValidationError

import penstock.orchestrators.airflow as public
from penstock.errors import ProjectError
from penstock.orchestrators.airflow import build_dag
from penstock.orchestrators.airflow.asked import Asked, params_of
from penstock.orchestrators.airflow.assets import dataset_asset
from penstock.project import Project

pytestmark = pytest.mark.slow  # imports Airflow

STEPS = """
@step(after="validate_data", before="train_model", map="regions")
def profile(context, dataset: DatasetVersion): ...

@step(after="register_model")
def announce(context, version: ModelVersion): ...

@step(before="extract_data")
def unlock(context): ...
"""
NAME = '[project]\nname = "shop"\n'
Build = Callable[..., DAG]


@pytest.fixture
def build(make_project: Callable[..., Project]) -> Build:
    """The DAG of a project with these settings and files."""

    def built(settings: str = "", **files: str) -> DAG:
        files = {"dags/pipeline.py": "", "params.yaml": "profile: {regions: [eu, us]}\n"} | files
        project = make_project(**files, **{"penstock.toml": NAME + settings})
        return build_dag(str(project.root / "dags" / "pipeline.py"))

    return built


def test_what_the_package_names_is_there() -> None:
    for name in public.__all__:
        assert callable(getattr(public, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = public.nothing


def test_each_step_lies_in_the_group_of_those_it_stands_behind(build: Build) -> None:
    dag = build(**{"pipeline.py": STEPS})
    groups = {t: task.task_group.group_id for t, task in dag.task_dict.items()}
    assert groups["unlock"] == groups["profile"] == groups["feature_engineering"] == "data"
    assert groups["train_model"] == groups["announce"] == "model"
    assert groups["notify_team"] == "staging"
    assert list(dag.task_group.topological_sort())  # Airflow's screen: no circle among the groups


def test_a_mapped_step_is_one_task_for_all_its_items(build: Build) -> None:
    dag = build('[airflow]\npools = { profile = "small" }\n', **{"pipeline.py": STEPS})
    task: Any = dag.get_task("profile")
    assert task.is_mapped
    assert task.expand_input.value == {"step": ["profile.eu", "profile.us"]}
    assert task.partial_kwargs["pool"] == "small"
    assert task.downstream_task_ids == {"train_model"}
    trained: Any = dag.get_task("train_model")
    assert {"profile.eu", "profile.us"} < set(trained.needs)


def test_the_schedule_is_cron_assets_or_whichever_comes_first(build: Build) -> None:
    uris = 'assets = ["penstock://lake/data/orders", "s3://lake/users"]'
    assert build().schedule == "0 2 * * *"
    assert build('[pipeline]\nschedule = ""\n').schedule is None
    both = build(f"[airflow]\n{uris}\n").schedule
    assert isinstance(both, AssetOrTimeSchedule)
    alone = build(f'[pipeline]\nschedule = ""\n[airflow]\n{uris}\n').schedule
    assert isinstance(alone, AssetAny)
    assert [asset.uri for asset in alone.objects] == [
        "penstock://lake/data/orders",
        "s3://lake/users",
    ]


def outlets(dag: DAG) -> dict[str, str]:
    return {
        name: alias.name.removesuffix("#new")
        for name, task in dag.task_dict.items()
        for alias in task.outlets
        if isinstance(alias, AssetAlias)
    }


def test_data_model_and_tested_release_are_assets(build: Build) -> None:
    assert outlets(build('[data]\nname = "orders"\n')) == {
        "extract_data": "penstock://shop/data/orders",
        "register_model": "penstock://shop/models/shop",
        "run_integration_tests": "penstock://shop/endpoints/staging",
    }


def test_a_run_that_new_data_starts_does_not_start_the_next_by_the_data_it_makes(
    build: Build,
) -> None:
    uri = dataset_asset("shop", "orders").uri
    dag = build(f'[data]\nname = "orders"\n[airflow]\nassets = ["{uri}"]\n')
    assert set(outlets(dag)) == {"register_model", "run_integration_tests"}


def test_pools_timeouts_and_retries_come_from_the_settings(build: Build) -> None:
    dag = build(
        '[pipeline]\nretries = 1\ntimeouts = { train_model = "9h" }\n'
        '[airflow]\npool = "ml"\npools = { train_model = "gpu" }\n'
    )
    trained, made = dag.get_task("train_model"), dag.get_task("extract_data")
    assert (trained.pool, made.pool) == ("gpu", "ml")
    assert (trained.retries, trained.execution_timeout) == (1, timedelta(hours=9))


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ('[airflow]\npools = { train = "gpu" }\n', "[airflow] pools"),
        ('[pipeline]\ntimeouts = { train = "9h" }\n', "[pipeline] timeouts"),
    ],
)
def test_a_setting_of_a_step_that_is_not_there_is_refused(
    build: Build, settings: str, where: str
) -> None:
    with pytest.raises(ProjectError) as caught:
        build(settings)
    assert caught.value.message == f"{where} names 'train', which is no step"


def test_a_run_has_a_deadline_where_the_settings_name_one(build: Build) -> None:
    assert not build().deadline
    (deadline,) = build('[airflow]\ndeadline = "6h"\n').deadline
    assert deadline.interval == timedelta(hours=6)
    assert deadline.callback.path == "penstock.orchestrators.airflow.notifier.late"
    assert set(deadline.callback.kwargs) == {"project", "environment"}


def test_what_is_asked_of_a_run_is_checked_by_airflow(build: Build) -> None:
    params = build().params
    assert Asked.of(params.dump()) == Asked()
    params["until"] = "train_model"
    params["as_of"] = "2026-11-01T02:00:00+01:00"
    asked = Asked.of(params.dump())
    assert asked.as_of == datetime(2026, 11, 1, 1, tzinfo=UTC)
    for name, value in (("until", "train"), ("rerun", 3), ("as_of", "monday"), ("reason", None)):
        with pytest.raises(ParamValidationError):
            params[name] = value


def test_a_run_until_a_step_leaves_out_what_does_not_stand_before_it() -> None:
    asked = Asked.of({"until": "train_model"})
    assert not asked.leaves_out("train_model", ["evaluate_model"])
    assert not asked.leaves_out("extract_data", ["train_model", "evaluate_model"])
    assert asked.leaves_out("evaluate_model", ["register_model"])
    assert not Asked.of({}).leaves_out("evaluate_model", [])
    assert set(params_of(["a"])) == {"until", "rerun", "as_of", "reason"}


def test_a_dag_outside_any_project_says_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"no penstock\.toml in any folder above"):
        build_dag(str(tmp_path / "stray.py"))
