"""Opening a project's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.errors import PenstockError, ProjectError, SettingsError, UserCodeError
from penstock.project import Project, open_project

MakeProject = Callable[..., Project]


def test_a_project_is_found_from_any_folder_below(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project(**{"deep/below/file": ""}).root
    monkeypatch.chdir(root / "deep" / "below")
    monkeypatch.delenv("PENSTOCK_PROJECT", raising=False)
    assert open_project().root == root
    monkeypatch.chdir("/")
    monkeypatch.setenv("PENSTOCK_PROJECT", str(root / "deep"))
    assert open_project().root == root


def test_a_folder_that_is_named_must_be_the_project_s_own(make_project: MakeProject) -> None:
    root = make_project(**{"deep/file": ""}).root
    with pytest.raises(ProjectError, match=r"no penstock\.toml in .*deep$") as caught:
        open_project(root / "deep")
    assert "penstock init" in caught.value.hint


def test_nowhere_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PENSTOCK_PROJECT", raising=False)
    with pytest.raises(ProjectError, match="or any folder above it"):
        open_project()


def test_the_environment_is_named_or_a_variable_or_dev(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project().root
    monkeypatch.delenv("PENSTOCK_ENVIRONMENT", raising=False)
    assert open_project(root).environment == "dev"
    monkeypatch.setenv("PENSTOCK_ENVIRONMENT", "staging")
    assert open_project(root).environment == "staging"
    assert open_project(root, "production").environment == "production"


def test_parameters_are_read_by_section(make_project: MakeProject) -> None:
    project = make_project(**{"params.yaml": "seed: 7\ntrain: {depth: 3}\nextract:\n"})
    assert project.seed == 7
    assert project.section("train") == {"depth": 3}
    assert project.section("extract") == project.section("none") == {}
    assert make_project(**{"params.yaml": ""}).seed == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: [", "not valid YAML"),
        ("- a\n- b\n", "saw a list"),
        ("just words", "saw a str"),
        ("seed: many", "seed is 'many', not a whole number"),
        ("seed:", "seed is None, not a whole number"),
        ("train: 3", "section 'train' is 3, not a table"),
    ],
)
def test_parameters_that_cannot_be_read_are_refused_with_the_file(
    make_project: MakeProject, text: str, said: str
) -> None:
    def read() -> object:
        project = make_project(**{"params.yaml": text})
        return project.seed, project.section("train")

    with pytest.raises(PenstockError, match=said) as caught:
        read()
    assert isinstance(caught.value, SettingsError | ProjectError)
    assert "params.yaml" in caught.value.message


def test_a_project_s_module_is_imported_with_its_neighbours(make_project: MakeProject) -> None:
    files = {"neighbour_of_users.py": "N = 3", "users_code.py": "from neighbour_of_users import N"}
    assert make_project(**files).module("users_code").N == 3


def test_a_module_that_is_missing_or_raises_is_named(make_project: MakeProject) -> None:
    project = make_project(**{"raises_at_once.py": "1 / 0"})
    with pytest.raises(ProjectError, match=r"pipeline\.py does not exist"):
        project.module("pipeline")
    with pytest.raises(UserCodeError, match=r"raises_at_once\.py cannot be .*ZeroDivisionError"):
        project.module("raises_at_once")


def test_paths_in_records_are_relative_to_the_project(make_project: MakeProject) -> None:
    project = make_project()
    assert project.relative(project.absolute("data/x.parquet")) == "data/x.parquet"
