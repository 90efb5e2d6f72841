"""What goes wrong on a user's machine: each ends in one clear message, and nothing half-written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import User, new_user, with_tables

pytestmark = pytest.mark.slow

# what extract() does, and what the message must name
EXTRACTS = [
    pytest.param("return rows()[:0]", ["no rows"], id="empty extract"),
    pytest.param("return rows().drop(columns='id')", ["'id'", "usage"], id="missing column"),
    pytest.param("return pd.concat([rows(), rows()])", ["600 rows repeat", "id"], id="duplicates"),
    pytest.param(
        "f = rows(); f['event_timestamp'] = f['event_timestamp'].dt.tz_localize(None); return f",
        ["no time zone", "tz_localize"],
        id="naive time",
    ),
    pytest.param(
        "f = rows(); f['event_timestamp'] += pd.Timedelta('9000d'); return f",
        ["future"],
        id="future time",
    ),
    pytest.param("return 42", ["returned int"], id="no table"),
    pytest.param("return Path('nowhere.csv')", ["nowhere.csv"], id="no such file"),
    pytest.param(
        "Path('x.parquet').write_text('no'); return Path('x.parquet')",
        ["cannot be read"],
        id="corrupt Parquet",
    ),
    pytest.param("return rows()['nothing']", ["KeyError", "pipeline.py:"], id="user's exception"),
    pytest.param("os.kill(os.getpid(), 11)", ["died without a result"], id="crash"),
]


@pytest.mark.parametrize(("body", "named"), EXTRACTS)
def test_extract_that_goes_wrong(shop: User, body: str, named: list[str]) -> None:
    shop.write_extract(body)
    outcome = shop.run("--until", "extract_data")
    assert outcome["exit"] in {1, 2}
    for words in named:
        assert words in outcome["error"]["message"] + outcome["error"]["hint"]
    assert outcome["error"]["hint"]
    assert not list((shop.project / "data").glob("*")), "something half-written was left"


def test_a_failed_step_is_told_to_the_team(shop: User) -> None:
    shop.write_extract("return rows()[:0]")
    shop.run("--until", "extract_data")
    assert shop.penstock("runs", "list", "--json").json[0]["status"] == "failed"
    notices = (shop.project / ".penstock" / "notices.log").read_text()
    assert "extract_data failed" in notices
    assert "no rows" in notices


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("key = ", "keys = ", ["penstock.toml:", "data.keys", "did you mean 'key'"]),
        ('name = "shop"', "", ["project.name is missing"]),
        ("holdout = 0.2 ", "holdout = 2.0 ", ["training.holdout", "2.0"]),
        ('">= 0.60"', '"good"', ["gates.model.auc_roc", "'good'"]),
        ("[data]", "[data", ["not valid TOML"]),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, old: str, new: str, named: list[str]) -> None:
    user = new_user(tmp_path)
    user.edit("penstock.toml", old, new)
    answer = user.penstock("run")
    assert answer.status == 2
    assert all(words in answer.err for words in named), answer.err
    assert "Traceback" not in answer.text


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, mlflow_tables: Path) -> User:
    """A project whose model is the next to be made; never changed, but copied."""
    user = with_tables(new_user(tmp_path_factory.mktemp("prepared")), mlflow_tables)
    assert user.run("--until", "feature_engineering")["exit"] == 0
    return user


@pytest.fixture
def trainer(prepared: User, tmp_path: Path) -> User:
    """Has a copy of it, and goes on from there."""
    return User(shutil.copytree(prepared.project, tmp_path / "shop"))


def test_a_failing_gate_stops_the_run_and_says_by_how_much(trainer: User) -> None:
    trainer.edit("penstock.toml", '">= 0.60"', '">= 0.999"')
    outcome = trainer.run()
    assert outcome["exit"] == 1
    message = outcome["error"]["message"]
    assert re.search(r"auc_roc: 0\.\d+, expected >= 0\.999", message)
    statuses = [step["status"] for step in outcome["steps"].values()]
    assert statuses == ["cached"] * 3 + ["succeeded", "failed"] + ["skipped"] * 4
    report = outcome["steps"]["evaluate_model"]["record"]
    assert "misses >= 0.999 by" in report["checks"][0]["reason"]


def test_a_failing_expectation_names_column_expectation_and_rows(trainer: User) -> None:
    trainer.edit("expectations/rows.json", '"max_value": 100', '"max_value": 9')
    outcome = trainer.run("--until", "validate_data")
    assert outcome["exit"] == 1
    failed = [c for c in outcome["steps"]["validate_data"]["record"]["checks"] if not c["passed"]]
    assert failed[0]["name"] == "expect_column_values_to_be_between(usage)"
    assert failed[0]["failed_rows"] > 0
    assert failed[0]["sample"]


@pytest.mark.parametrize(
    ("train", "named"),
    [
        ("return 'a model'", "train() returned str"),
        (
            "from sklearn.preprocessing import FunctionTransformer\n"
            "    return make_pipeline(FunctionTransformer(noise), LogisticRegression())"
            ".fit(training_set.X, training_set.y)\n\ndef noise(x):\n    return x",
            "noise",
        ),
    ],
    ids=["not a model", "not safe to save"],
)
def test_models_that_cannot_be_kept(trainer: User, train: str, named: str) -> None:
    path = trainer.project / "pipeline.py"
    text = path.read_text()
    path.write_text(
        text[: text.index("def train(")] + f"def train(training_set, params):\n    {train}\n"
    )
    outcome = trainer.run("--until", "train_model")
    assert outcome["error"]["error"] == "ModelError"
    assert named in outcome["error"]["message"]
    assert not list((trainer.project / ".penstock" / "artifacts" / "model").glob("*"))


def test_labels_of_one_class(user: User) -> None:
    user.write_extract("f = rows(); f['label'] = 1; return f")
    outcome = user.run("--until", "feature_engineering")
    assert "needs both 0 and 1" in outcome["error"]["message"]


def test_a_changed_artifact_is_found_and_made_anew(trainer: User) -> None:
    made = trainer.run("--until", "feature_engineering")
    training_set = trainer.project / made["steps"]["feature_engineering"]["record"]["path"]
    training_set.write_bytes(training_set.read_bytes()[:-10] + b"0123456789")
    refused = trainer.run("--until", "feature_engineering")
    assert refused["exit"] == 1
    assert refused["error"]["error"] == "IntegrityError"
    assert "--rerun feature_engineering" in refused["error"]["hint"]
    mended = trainer.run("--until", "feature_engineering", "--rerun", "feature_engineering")
    assert mended["exit"] == 0
    training_set.unlink()
    again = trainer.run("--until", "feature_engineering")
    assert again["steps"]["feature_engineering"]["status"] == "succeeded"


def test_killed_in_training_the_next_run_goes_on(trainer: User) -> None:
    trainer.edit("params.yaml", "trials: 2", "trials: 400")
    running = trainer.start("run", start_new_session=True)
    studies = trainer.project / ".penstock" / "studies"
    _wait(lambda: any(f.stat().st_size > 5_000 for f in studies.glob("*.log")))
    running.kill()
    running.wait()
    _wait(lambda: not _processes_of(trainer))
    trainer.edit("params.yaml", "trials: 400", "trials: 2")  # all 400 would take long
    outcome = trainer.run("--until", "train_model")
    assert outcome["exit"] == 0
    statuses = [step["status"] for step in outcome["steps"].values()]
    assert statuses == ["cached", "cached", "cached", "succeeded"]
    runs = trainer.penstock("runs", "list", "--json").json
    assert [run["status"] for run in runs] == ["succeeded", "interrupted", "succeeded"]


def test_two_runs_at_once_do_each_step_once(user: User) -> None:
    both = [user.start("run", "--until", "evaluate_model", "--json") for _ in range(2)]
    answers = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    statuses = [[step["status"] for step in json.loads(out)["steps"]] for out, _ in answers]
    assert sorted(statuses) == [["cached"] * 5, ["succeeded"] * 5]


def test_a_step_that_takes_too_long_is_ended(user: User) -> None:
    user.write_extract("time.sleep(600)")
    user.variables["PENSTOCK_PIPELINE_TIMEOUT"] = "3s"
    outcome = user.run("--until", "extract_data")
    assert "ran longer than its timeout" in outcome["error"]["message"]
    _wait(lambda: not _processes_of(user))


def test_a_lost_connection_is_retried(user: User) -> None:
    user.write_extract(
        "tried = Path('tried')\n"
        "if not tried.exists():\n"
        "    tried.touch()\n"
        "    raise ConnectionError('the warehouse hung up')\n"
        "return rows()"
    )
    user.variables |= {
        "PENSTOCK_PIPELINE_RETRIES": "2",
        "PENSTOCK_PIPELINE_RETRY_DELAY": "100ms",
    }
    outcome = user.run("--until", "extract_data")
    assert outcome["exit"] == 0
    assert outcome["steps"]["extract_data"]["attempts"] == 2


MEETING = """
from penstock import step

def meet(mine, other):
    Path(mine).touch()
    while not Path(other).exists():
        time.sleep(0.02)

@step(after="extract_data", before="validate_data")
def left(context):
    meet("left.seen", "right.seen")

@step(after="extract_data", before="validate_data")
def right(context):
    meet("right.seen", "left.seen")
"""


def test_steps_that_need_not_wait_run_side_by_side(user: User) -> None:
    user.write_extract("return rows()")
    path = user.project / "pipeline.py"
    path.write_text(path.read_text() + MEETING)
    user.variables["PENSTOCK_PIPELINE_TIMEOUT"] = "60s"
    outcome = user.run("--until", "validate_data")
    assert outcome["exit"] == 0
    assert list(outcome["steps"]) == ["extract_data", "left", "right", "validate_data"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk can be mounted by root only")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_leaves_nothing_half_written(small_disk: Path) -> None:
    user = new_user(small_disk)
    user.write_extract(
        "f = rows(3000).loc[lambda f: np.repeat(f.index, 130)]\n"
        "f['id'] = range(len(f))\n"
        "f['usage'] = np.random.default_rng(2).random(len(f))\n"
        "return f"
    )
    outcome = user.run("--until", "extract_data")
    assert outcome["exit"] == 1
    assert "No space left" in outcome["error"]["message"]
    assert "free some space" in outcome["error"]["hint"]
    assert not list((user.project / "data").glob("*"))


def test_a_disk_that_may_not_be_written(small_disk: Path) -> None:
    user = new_user(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    answer = user.penstock("run")
    assert answer.status == 1
    assert ".penstock is writable" in answer.err
    assert "Traceback" not in answer.err


def test_wrong_use_ends_with_status_2(tmp_path: Path) -> None:
    user = User(tmp_path)
    assert user.penstock("run").status == 2
    assert "penstock init" in user.penstock("status").err
    assert user.penstock("rnu").status == 2
    assert user.penstock("run", "--as-of", "yesterday", "--project", str(tmp_path)).status == 2


def _wait(condition: Any, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def _processes_of(user: User) -> list[int]:
    """Processes, other than gateways, that work for this project."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            cwd = (entry / "cwd").readlink()
        except OSError:
            continue
        if cwd == user.project and b"penstock" in command:
            found.append(int(entry.name))
    return found
