"""The exported dvc.yaml, run by the real `dvc repro`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.cli.main import run as penstock
from penstock.digests import digest_at

pytestmark = pytest.mark.slow


@dataclass
class Shop:
    """The blank project, once for `penstock run` and once for `dvc repro`."""

    plain: Path
    exported: Path
    records: dict[str, Any]  # of `penstock run`, by step
    repro: str  # what `dvc repro` printed

    def dvc(self, *arguments: str) -> str:
        return command("dvc", *arguments, folder=self.exported)


def command(*arguments: str, folder: Path) -> str:
    program, *rest = arguments
    scripts = Path(sys.executable).parent
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")},
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "true",
    }
    done = subprocess.run(
        [sys.executable, "-m", program, *rest],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def records_of(printed: str) -> dict[str, Any]:
    outcome = json.loads(printed)
    return {step["step"]: step for step in outcome["steps"]}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("dvc")
    plain, exported = folder / "shop", folder / "exported" / "shop"
    assert penstock(["init", str(plain), "--template", "blank"]) == 0
    edit(plain / "params.yaml", "rows: 3000", "rows: 400")
    edit(plain / "params.yaml", "trials: 5", "trials: 0")
    edit(plain / "penstock.toml", '">= 0.70"', '">= 0.55"')
    shutil.copytree(plain, exported)
    done = records_of(
        command("penstock", "run", "--until", "evaluate_model", "--json", folder=plain)
    )
    # MLflow's empty tables take seconds to make, and are made once.
    shutil.copytree(plain / ".penstock" / "mlflow", exported / ".penstock" / "mlflow")
    command("penstock", "data", "export", folder=exported)
    printed = command("dvc", "repro", folder=exported)
    return Shop(plain, exported, {name: step["record"] for name, step in done.items()}, printed)


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_dvc_repro_comes_to_the_same_digests(shop: Shop) -> None:
    made = {
        step: record
        for name in ("prepare", "featurize", "train", "evaluate")
        for step, record in json.loads(
            (shop.exported / "stages" / f"{name}.json").read_text()
        ).items()
    }
    assert list(made) == list(shop.records)
    for step in ("extract_data", "feature_engineering", "train_model"):
        assert made[step]["digest"] == shop.records[step]["digest"]
    assert made["evaluate_model"]["metrics"] == shop.records["evaluate_model"]["metrics"]
    # And what DVC keeps are these bytes.
    for step, path in {
        "extract_data": "data/rows.parquet",
        "feature_engineering": "stages/training_set.parquet",
        "train_model": "stages/model",
    }.items():
        assert digest_at(shop.exported / path) == shop.records[step]["digest"]
    lock = yaml.safe_load((shop.exported / "dvc.lock").read_text())
    (data,) = [o for o in lock["stages"]["prepare"]["outs"] if o["path"] == "data/rows.parquet"]
    assert data["md5"] == shop.records["extract_data"]["dvc_md5"]


def test_done_again_it_does_nothing(shop: Shop) -> None:
    assert shop.dvc("repro").count("didn't change, skipping") == 4
    # Nor has `penstock run` anything to do after it: both have one cache.
    done = records_of(
        command("penstock", "run", "--until", "evaluate_model", "--json", folder=shop.exported)
    )
    assert {step["status"] for step in done.values()} == {"cached"}
    assert shop.dvc("status") == "Data and pipelines are up to date.\n"


def test_metrics_and_parameters_are_dvc_s_own(shop: Shop) -> None:
    files = json.loads(shop.dvc("metrics", "show", "--json"))[""]["data"]
    assert files["stages/metrics.json"]["data"] == shop.records["evaluate_model"]["metrics"]
    assert files["stages/train_metrics.json"]["data"] == shop.records["train_model"]["metrics"]
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for arguments in (["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], cwd=shop.exported, check=True)
    edit(shop.exported / "params.yaml", "C: 1.0", "C: 2.0")
    edit(shop.exported / "penstock.toml", '">= 0.55"', '">= 0.56"')
    changed = json.loads(shop.dvc("params", "diff", "--json"))
    assert changed["params.yaml"]["train.C"]["new"] == 2.0
    assert changed["penstock.toml"]["gates.model.auc_roc"]["new"] == ">= 0.56"
    assert "train" in shop.dvc("status")
    edit(shop.exported / "params.yaml", "C: 2.0", "C: 1.0")
    edit(shop.exported / "penstock.toml", '">= 0.56"', '">= 0.55"')


@pytest.fixture
def ask(shop: Shop, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def asked(*arguments: str) -> Any:
        penstock([*arguments, "--project", str(shop.plain), "--json"])
        return json.loads(capsys.readouterr().out)

    return asked


def test_what_others_wrote_into_dvc_yaml_stays(shop: Shop, ask: Callable[..., Any]) -> None:
    file = shop.plain / "dvc.yaml"
    own = "# ours\nstages:\n  report:\n    cmd: echo report # nightly\n"
    file.write_text(own)
    assert ask("data", "export")["taken_over"] == ["data/rows.parquet.dvc"]
    text = file.read_text()
    assert "# ours" in text
    assert "echo report # nightly" in text
    assert list(yaml.safe_load(text)["stages"]) == [
        "report", "prepare", "featurize", "train", "evaluate",
    ]  # fmt: skip
    again = ask("data", "export")
    assert (again["taken_over"], file.read_text()) == ([], text)
    file.write_text(own.replace("report:", "train:"))
    refused = ask("data", "export")
    assert refused["error"] == "ProjectError"
    assert "has stages of its own called train" in refused["message"]
    assert file.read_text() == own.replace("report:", "train:")
