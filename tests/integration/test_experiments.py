"""`penstock experiments …` on an MLflow that others filled."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.cli.main import run
from penstock.project import Project, open_project
from penstock.registry.client import open_client
from penstock.training import tracking

pytestmark = pytest.mark.slow

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Three runs with histories, logged by hand; the last has a search of Penstock's beside it."""
    root = tmp_path_factory.mktemp("shop")
    (root / "penstock.toml").write_text(
        '[project]\nname = "shop"\n[gates.model]\nprofit = ">= 1"\nauc_roc = ">= 0.5"\n'
    )
    project = open_project(root)
    client = open_client(project)
    for number, rate in enumerate(("0.001", "0.1", "0.01")):
        tags = {"penstock.run": f"2026110{number}T000000-abc", "penstock.dataset": "d" * 64}
        one = tracking.start_run(project, f"night {number}", tags)
        metrics = {"auc_roc": 0.7 + number / 10, "profit": 3.0 - number}
        tracking.log(project, one, params={"rate": rate, "seed": 7}, metrics=metrics)
        for step in range(4):
            client.log_metric(one, "train_loss", 1.0 / (1 + step + number), step=step)
        tracking.end_run(project, one)
    trials = [{"trial": n, "value": 0.8 + n / 100, "rate": 10.0**-n, "kind": "ab"[n % 2]}
              for n in range(5)]  # fmt: skip
    file = root / "trials.json"
    file.write_text(json.dumps(trials))
    tracking.log(project, one, files={"search": file})
    return project


@pytest.fixture
def ask(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Ask:
    monkeypatch.chdir(project.root)

    def asked(*arguments: str, json_: bool = True) -> Any:
        run(["experiments", *arguments, *(["--json"] if json_ else [])])
        out = capsys.readouterr().out
        return json.loads(out) if json_ else out

    return asked


def test_the_latest_first_or_the_best(ask: Ask) -> None:
    assert [one["name"] for one in ask("list")] == ["night 2", "night 1", "night 0"]
    assert [one["name"] for one in ask("list", "--limit", "1")] == ["night 2"]
    best = ask("list", "--sort", "profit")
    assert [one["metrics"]["profit"] for one in best] == [3.0, 2.0, 1.0]
    filtered = ask("list", "--where", "params.rate = '0.1'")
    assert [one["name"] for one in filtered] == ["night 1"]
    shown = ask("list", json_=False)
    assert re.search(r"run +name +started +took +status +rate +auc_roc +profit", shown)
    assert "no run has a metric 'nope'" in ask("list", "--sort", "nope")["message"]
    assert "MLflow has no experiment 'nope'" in ask("list", "--experiment", "nope")["message"]
    assert "MLflow: " in ask("list", "--where", "nonsense !")["message"]


def test_runs_are_compared_in_three_forms(ask: Ask) -> None:
    names = ("20261100", "last", "night 1")
    found = {row["name"]: row for row in ask("compare", *names)["rows"]}
    ids = [one["id"] for one in ask("compare", *names)["runs"]]
    assert found["seed"]["differs"] is False
    assert found["auc_roc"]["best"] == [ids[1]]
    assert found["profit"]["best"] == [ids[0]]  # by the project's own gate
    assert found["train_loss"]["best"] == [ids[1]]
    text = ask("compare", *names, "--differing", json_=False)
    assert "| ≠ | auc_roc | 0.7 | **0.9** | 0.8 |" in text
    assert "seed" not in text
    rows = list(csv.reader(io.StringIO(ask("compare", *names, "--format", "csv", json_=False))))
    assert rows[0][2:5] == ids
    assert ["metric", "profit", "3.0", "1.0", "2.0", "true", ids[0]] in rows
    ask("compare", *names, "--output", "found.md", json_=False)
    assert Path("found.md").read_text().count("\n") == len(found) + 2
    for wrong, said in {
        ("last",): "one run has nothing to be compared with",
        ("last", "last"): "a run is named twice",
        ("last", "2026110"): "'2026110' fits 3 runs",
        ("last", "nope"): "'nope' fits no run",
        ("last", "shop@9"): "MLflow: ",
    }.items():
        assert said in ask("compare", *wrong)["message"]


def test_a_page_holds_all_of_it_and_needs_no_network(ask: Ask) -> None:
    assert len(ask("plot", "--output", "page.html")["pictures"]) == 2
    text = Path("page.html").read_text()
    addresses = set(re.findall(r"https?://[^\"'\s<]+", text))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"<(script|link|img|iframe)|@import|url\((?!#)", text)
    for word in ("train_loss", "rate", "auc_roc", "night 0", "0.001"):
        assert word in text
    again = Path("page.html").read_bytes()
    ask("plot", "--output", "page.html")
    assert Path("page.html").read_bytes() == again


def test_pictures_of_runs_and_of_a_search(ask: Ask) -> None:
    ask("plot", "last", "--output", "trials.svg")
    drawn = Path("trials.svg").read_text()
    assert "5 trials of" in drawn
    assert {"kind", "rate", "auc_roc"} <= set(re.findall(r">([a-z_]+)<", drawn))
    ask("plot", "--kind", "curves", "--metric", "train_loss", "--output", "curves.png")
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")
    for wrong, said in {
        ("--output", "page.pdf"): "is no picture and no page",
        ("--metric", "nope"): "no run has a metric 'nope'",
        ("--kind", "curves", "--metric", "profit"): "there is nothing to draw",
    }.items():
        assert said in ask("plot", *wrong)["message"]
