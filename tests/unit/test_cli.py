"""The command line: what it costs, what every command offers, how it ends when used wrongly."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from penstock import __version__, records
from penstock.cli.main import build_parser, run
from penstock.cli.output import moment, seconds, table
from penstock.cli.sentences import sentence
from penstock.cli.table import COMMANDS, Command
from penstock.errors import GateFailed
from penstock.project import Project, open_project

MakeProject = Callable[..., Project]
HEAVY = {
    *("airflow", "alembic", "apprise", "asyncio", "dask", "duckdb", "dvc", "feast"),
    *("great_expectations", "lightgbm", "matplotlib", "mlflow", "numpy", "optuna", "pandas"),
    *("pyarrow", "pydantic", "rich", "scipy", "skops", "sklearn", "sqlalchemy", "torch", "yaml"),
}
LIST_MODULES = """
import sys
from penstock.cli.main import run
try:
    run(sys.argv[1:])
finally:
    print("loaded:", *{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["run", "--help"]], ids=str)
def test_help_and_version_load_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, *arguments], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0
    loaded = set(done.stderr.rpartition("loaded:")[2].split())
    assert "penstock" in loaded
    assert loaded & HEAVY == set()


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"penstock {__version__}\n"


def test_without_a_command_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    printed = capsys.readouterr().out
    for command in COMMANDS:
        assert command.name.partition(" ")[0] in printed


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_help_and_the_common_options(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run([*command.name.split(), "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert " ".join(printed.split()).count(command.help) == 1
    for option in ("--project", "--environment", "--json", "--help"):
        assert option in printed


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_is_carried_out_by_a_function_that_is_there(command: Command) -> None:
    module, _, name = command.handler.partition(":")
    assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["run", "--no-such-option"],
        ["runs"],
        ["why"],
        ["models", "approve", "shop@1", "--meaning", "x"],
        ["users", "add", "ann", "--role", "king"],
        ["runs", "list", "--limit", "many"],
        ["init", "x", "--template", "none"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_status_2_and_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: penstock")


ARGUMENTS = {
    "why": ["train_model"],
    "data add": ["raw"],
    "data stage": ["prepare"],
    "experiments compare": ["last", "20261101"],
    "runs show": ["last"],
    "features show": ["sales"],
    "features lineage": ["sales"],
    "features history": ["SELECT 1", "--output", "training.parquet"],
    "features push": ["orders", "orders.csv"],
    "predictions show": ["0123"],
    "trace": ["0123"],
    "impact": ["0123"],
    "predictions export": ["--output", "out.parquet"],
    "models approve": ["shop@1", "--for", "production", "--meaning", "x"],
    "models reject": ["shop@1", "--for", "production", "--meaning", "x"],
    "models review": ["shop@1", "--reason", "x"],
    "users add": ["ann", "--role", "admin"],
    "users show": ["ann"],
    "users remove": ["ann"],
    "users token": ["ann"],
    "users revoke": ["0123"],
    "rollout start": ["shop@2"],
    "audit show": ["1"],
    "alerts show": ["0123"],
    "alerts silence": ["drift", "--reason", "x"],
    "alerts unsilence": ["0123"],
    "audit export": ["bundle"],
    "models sign": ["shop@1", "--reason", "ours"],
    "models verify": ["shop@1"],
    "models show": ["shop@1"],
    "models compare": ["shop@1", "shop@2"],
    "models lineage": ["shop@1"],
    "models rollback": ["--reason", "worse"],
    "release show": ["shop@1"],
    "release diff": ["shop@1", "shop@2"],
    "release rollback": ["--reason", "worse"],
    "reproduce": ["shop@1"],
    "triggers fire": ["--reason", "ours"],
    "compliance card": ["shop@1"],
    "compliance bundle": ["shop@1"],
    "compliance change": ["shop@1", "shop@2"],
    "models waive": ["shop@1", "--flavour", "pyfunc", "--reason", "ours"],
    **{
        f"rollout {name}": ["ro-1"]
        for name in ("show", "approve", "pause", "resume", "promote", "abort", "rollback")
    },
}
NEED_A_PROJECT = [command.name for command in COMMANDS if command.name not in {"init", "doctor"}]


@pytest.mark.parametrize("name", NEED_A_PROJECT)
def test_without_a_project_every_command_says_what_to_do(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*name.split(), *ARGUMENTS.get(name, []), "--project", str(tmp_path)]
    assert run(asked) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    told, remedy = printed.err.splitlines()
    assert told == f"error: no penstock.toml in {tmp_path}"
    assert remedy.startswith("  → ")
    assert "penstock init NAME" in remedy

    assert run([*asked, "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["error"] == "ProjectError"
    assert answer["message"] == told.removeprefix("error: ")
    assert answer["hint"] == remedy.removeprefix("  → ")


def test_a_wrong_setting_ends_with_status_2(
    make_project: MakeProject, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_project().root
    (root / "penstock.toml").write_text('[project]\nname = "s"\n[data]\nkeys = ["id"]\n')
    assert run(["status", "--project", str(root), "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["error"] == "SettingsError"
    assert f"{root}/penstock.toml:4: unknown setting data.keys" in answer["message"]


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def fail(_: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr("penstock.cli.status.status", fail)
    return run(["status"])


def test_a_gate_that_says_no_ends_with_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(GateFailed("2 of 3 checks failed"), monkeypatch) == 1
    assert capsys.readouterr().err == "error: 2 of 3 checks failed\n"


def test_the_chain_of_causes_is_shown_to_those_who_ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PENSTOCK_TRACEBACK", "1")
    error = GateFailed("no")
    error.__cause__ = ZeroDivisionError("division by zero")
    assert raising(error, monkeypatch) == 1
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().err


def test_an_interrupt_ends_with_the_shell_s_status_and_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(KeyboardInterrupt(), monkeypatch) == 130
    assert "goes on from here" in capsys.readouterr().err


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "init", tmp_path / "shop", "--template", "blank"],
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=30,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def initialise(name: Path, *options: str) -> int:
    return run(["init", str(name), *options])


def test_the_smallest_project_bears_the_folder_s_name(tmp_path: Path) -> None:
    assert initialise(tmp_path / "deep" / "My-shop_2", "--template", "blank") == 0
    project = open_project(tmp_path / "deep" / "My-shop_2")
    assert project.settings.project.name == "My-shop_2"
    for file in project.root.rglob("*"):
        if file.is_file():
            assert "NAME" not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("template", ["blank", "churn"])
def test_a_new_project_opens_and_has_a_plan(
    template: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from penstock.pipeline.plan import plan_of

    assert initialise(tmp_path / "shop", "--template", template, "--json") == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert {"penstock.toml", "pipeline.py", "params.yaml", ".gitignore"} <= set(files)
    assert not [name for name in files if "__pycache__" in name or name.startswith(".penstock")]
    for name in (name for name in files if name.endswith(".py")):
        compile((tmp_path / "shop" / name).read_bytes(), name, "exec")
    for environment in ("dev", "staging", "production"):
        assert len(plan_of(open_project(tmp_path / "shop", environment)).steps) >= 9


def test_the_example_is_the_default_and_the_next_command_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert initialise(tmp_path / "shop") == 0
    assert (tmp_path / "shop" / "features.py").is_file()
    assert capsys.readouterr().out.endswith(f"next: penstock run --project {tmp_path}/shop\n")


@pytest.mark.parametrize(
    "name", ["8shops", "my shop", "caf\u00e9", "_shop", "-shop", "a" * 65, "shop.py"]
)
def test_a_bad_name_is_refused_before_anything_is_made(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert initialise(tmp_path / name) == 2
    printed = capsys.readouterr().err
    assert "cannot be a project's name" in printed
    assert "→ use up to 64 letters" in printed
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "file").write_text("mine")
    assert initialise(tmp_path / "shop", "--template", "blank") == 0  # empty: nothing is lost
    (tmp_path / "shop" / "pipeline.py").write_text("mine")
    assert initialise(tmp_path / "shop") == 2
    assert initialise(tmp_path / "file") == 2
    assert (tmp_path / "shop" / "pipeline.py").read_text() == "mine"


def test_what_the_file_system_refuses_is_an_error_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert initialise(tmp_path / "file" / "shop") == 1
    assert "Not a directory" in capsys.readouterr().err


def test_columns_stand_below_each_other() -> None:
    assert table(("a", "b"), [("long", 1), ("x", 22)]) == "a     b\nlong  1\nx     22"
    assert table(("a", "b"), []) == "a  b"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 0 s"), (3725, "62 min 5 s")],
)
def test_durations_are_shown_in_words(value: float | None, shown: str) -> None:
    assert seconds(value) == shown


def test_times_are_shown_in_utc() -> None:
    assert moment(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02 03:04:05 UTC"
    assert moment(None) == ""


COMMON: dict[str, Any] = {"digest": "d" * 64}
SENTENCES = {
    "12,345 rows, 2026-01-01 to 2026-02-01, DVC abcdef12": records.DatasetVersion(
        name="events",
        path="p",
        dvc_md5="abcdef1234",
        remote="",
        rows=12345,
        columns=(),
        first_event=datetime(2026, 1, 1, tzinfo=UTC),
        last_event=datetime(2026, 2, 1, tzinfo=UTC),
        **COMMON,
    ),
    "shop@3 at http://127.0.0.1:8600, 2 replicas": records.Release(
        endpoint="staging",
        id="r",
        url="http://127.0.0.1:8600",
        model="shop@3",
        replicas=2,
        **COMMON,
    ),
    "p95 4.2 ms, 512 requests/s, errors 0.10%": records.IntegrationReport(
        subject="d",
        checks=(),
        requests=9,
        metrics={"latency_p95_ms": 4.21, "throughput_qps": 512.4, "error_rate": 0.001},
    ),
    "told by log, email": records.Notice(
        title="", body="", next_command="", channels=("log", "email")
    ),
    "StepDone": records.StepDone(step="profile"),
}


@pytest.mark.parametrize("said", SENTENCES)
def test_each_record_is_one_sentence(said: str) -> None:
    assert sentence(SENTENCES[said]) == said


def test_every_option_of_the_table_is_taken_by_the_parser() -> None:
    parser = build_parser()
    parsed = parser.parse_args(["run", "--until", "train_model", "-e", "staging", "--json"])
    assert (parsed.until, parsed.environment, parsed.json) == ("train_model", "staging", True)
