"""A DAG file is parsed from what the last parse left, and shows whatever has changed since."""

from __future__ import annotations

import importlib
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions.param import process_params

from penstock.errors import PenstockError, SettingsError
from penstock.orchestrators.airflow import build_dag
from penstock.orchestrators.airflow import kept_outline as kept
from penstock.project import Project

pytestmark = pytest.mark.slow  # imports Airflow

SETTINGS = '[project]\nname = "shop"\n[environments.dev.pipeline]\nretries = 9\n'
PIPELINE = """
@step(after="validate_data", map="regions")
def profile(context): ...
"""


@pytest.fixture
def root(make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that has been parsed once."""
    monkeypatch.delenv("PENSTOCK_ENVIRONMENT", raising=False)
    files = {
        "penstock.toml": SETTINGS,
        "pipeline.py": PIPELINE,
        "params.yaml": "profile: {regions: [eu, us]}\n",
        "dags/shop.py": "",
    }
    made = make_project(**files).root
    parsed(made)
    return made


def parsed(root: Path, environment: str | None = None) -> DAG:
    return build_dag(str(root / "dags" / "shop.py"), environment)


def imported_for(file: str) -> set[str]:
    """What of Penstock a process imports that parses a DAG file, and has Airflow there already."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "penstock"]:
        del sys.modules[name]
    importlib.import_module("penstock.orchestrators.airflow").build_dag(file)
    return {name for name in sys.modules if name.startswith("penstock.")}


def file_of(root: Path) -> Path:
    return root / ".penstock" / "airflow" / "production.json"


def seen(dag: DAG) -> tuple[Any, ...]:
    made: Any = dag.get_task("extract_data")
    mapped: Any = dag.get_task("profile")
    steps = mapped.expand_input.value["step"]
    return dag.schedule, made.owner, made.retries, steps, sorted(dag.task_dict), dag.params.dump()


def test_a_second_parse_gives_the_same_and_reads_neither_settings_nor_plan(root: Path) -> None:
    file_of(root).unlink()
    assert seen(parsed(root)) == seen(parsed(root))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as child:
        modules = child.submit(imported_for, str(root / "dags" / "shop.py")).result()
    assert "penstock.orchestrators.airflow.dag" in modules
    heavy = ("settings", "settings_source", "pipeline", "records", "state")
    assert not modules & {f"penstock.{name}" for name in heavy}


def test_what_changes_shows_in_the_next_parse(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, params = root / "penstock.toml", root / "params.yaml"
    before = seen(parsed(root))
    settings.write_text(SETTINGS + '[pipeline]\nschedule = "5 5 * * *"\n')
    assert parsed(root).schedule == "5 5 * * *"
    settings.write_text(SETTINGS)
    assert seen(parsed(root)) == before
    params.write_text("profile: {regions: [eu, us, asia]}\n")
    mapped: Any = parsed(root).get_task("profile")
    assert mapped.expand_input.value["step"][-1] == "profile.asia"
    (root / "pipeline.py").write_text(PIPELINE + "@step(after='profile')\ndef more(context): ...\n")
    assert "more" in parsed(root).task_dict
    monkeypatch.setenv("PENSTOCK_PROJECT_OWNER", "night-shift")
    assert parsed(root).get_task("extract_data").owner == "night-shift"
    monkeypatch.delenv("PENSTOCK_PROJECT_OWNER")
    assert parsed(root).get_task("extract_data").owner == "ml-team"
    assert parsed(root, "dev").get_task("extract_data").retries == 9
    assert parsed(root).get_task("extract_data").retries == 3


def test_another_version_of_penstock_makes_its_own(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file_of(root).read_bytes()
    monkeypatch.setattr(kept, "__version__", "99.0")
    parsed(root)
    assert file_of(root).read_bytes() != before


def test_a_mistake_is_told_at_each_parse_and_what_was_kept_does_not_hide_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "penstock.toml").write_text(SETTINGS + "[pipeline]\nretries = -1\n")
    for _ in range(2):
        with pytest.raises(SettingsError, match=r"pipeline\.retries"):
            parsed(root)
    (root / "penstock.toml").write_text(SETTINGS)
    monkeypatch.setenv("PENSTOCK_NO_SUCH", "1")
    with pytest.raises(SettingsError, match="PENSTOCK_NO_SUCH is no setting"):
        parsed(root)
    (root / "pipeline.py").write_text("def broken(:\n")
    with pytest.raises(PenstockError):
        parsed(root)


def test_no_secret_is_kept_not_even_as_a_part_of_a_digest(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ("PENSTOCK_NOTIFY_SMTP_PASSWORD", "PENSTOCK_STATE_URL", "PENSTOCK_TOKEN")
    found = set()
    for word in ("postgresql://a:hunter2@h/db", "sqlite:///swordfish.db"):
        for name in secrets:
            monkeypatch.setenv(name, word)
        file_of(root).unlink()
        parsed(root)
        found.add(file_of(root).read_text())
    (text,) = found
    assert "hunter2" not in text
    assert "swordfish" not in text


@pytest.mark.parametrize("left", [b"", b"\xff", b'{"made_of": "', b"[]", b'{"made_of": ""}'])
def test_a_file_that_is_not_what_it_should_be_is_made_anew(root: Path, left: bytes) -> None:
    whole, before = file_of(root).read_bytes(), seen(parsed(root))
    file_of(root).write_bytes(left or whole[:-9])
    assert seen(parsed(root)) == before
    assert file_of(root).read_bytes() == whole


def test_a_project_that_cannot_be_written_to_is_parsed_all_the_same(root: Path) -> None:
    before = seen(parsed(root))
    file_of(root).unlink()
    file_of(root).parent.rmdir()
    file_of(root).parent.write_text("a file where the folder would be")
    assert seen(parsed(root)) == before


def test_processes_that_parse_at_once_leave_a_whole_file(root: Path) -> None:
    whole = file_of(root).read_bytes()

    def parse(_: int) -> str:
        file_of(root).unlink(missing_ok=True)
        return kept.outline_at(root, "production").name

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(parse, range(24))) == {"shop"}
    parsed(root)
    assert file_of(root).read_bytes() == whole
    assert [path.name for path in file_of(root).parent.iterdir()] == ["production.json"]


def test_a_task_sees_the_params_of_its_dag_without_a_copy_of_them(root: Path) -> None:
    dag = parsed(root)
    for task in dag.tasks:
        asked = process_params(dag, task, {"until": "train_model"}, suppress_exception=False)
        assert asked == {**dag.params.dump(), "until": "train_model"}
        assert not task.params
