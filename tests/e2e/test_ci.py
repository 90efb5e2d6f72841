"""A change goes from its branch to production by the commands that pipelines call."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import User

pytestmark = pytest.mark.slow


def test_a_project_is_checked_without_running_it(shop: User) -> None:
    good = shop.penstock("ci", "check", "--json")
    assert good.status == 0, good.text
    names = {"settings", "plan", "declarations", "suites", "lint", "tests"}
    assert {one["what"] for one in good.json["checks"] if one["ok"]} == names

    code = shop.project / "pipeline.py"
    whole = code.read_text()
    code.write_text(whole.replace("def train(", "import os\n\n\ndef trained("))
    (shop.project / "test_shop.py").write_text("def test_sums():\n    assert 1 + 1 == 3\n")
    bad = shop.penstock("ci", "check", "--json")
    assert bad.status == 1
    wrong = {one["what"]: one["seen"] for one in bad.json["checks"] if not one["ok"]}
    assert wrong.keys() == {"plan", "lint", "tests"}
    assert "no train()" in wrong["plan"]
    assert "assert (1 + 1) == 3" in wrong["tests"]
    code.write_text(whole)
    (shop.project / "test_shop.py").unlink()


def test_a_change_is_tried_beside_the_champion_and_promoted_once_approved(shop: User) -> None:
    report = shop.project / "report.md"
    first = shop.penstock("ci", "trial", "--report", str(report))
    assert first.status == 0, first.text
    assert "there is no champion" in report.read_text()
    assert shop.penstock("models", "list", "--json").json == []

    assert shop.penstock("run").status == 0
    waiting = shop.penstock("ci", "promote", "--json")
    assert (waiting.status, waiting.json["model"]) == (1, "shop@1")
    assert waiting.json["missing"]
    agreed = shop.penstock(
        *("models", "approve", "shop@1", "--for", "production", "--meaning", "holds")
    )
    assert agreed.status == 0, agreed.text
    promoted = shop.penstock("ci", "promote", "--json")
    assert (promoted.status, promoted.json["started"]) == (0, "production")
    assert shop.penstock("ci", "promote", "--json").json["started"] == "production"

    shop.edit("params.yaml", "rows: 800", "rows: 700")
    again = shop.penstock("ci", "trial", "--report", str(report), "--json")
    assert again.status == 0, again.text
    assert again.json["champion"] == "shop@1"
    text = report.read_text()
    assert "| metric" in text
    assert "| shop@1" in text
    assert "700 (-100)" in text
    shop.penstock("serve", "--stop", "--endpoint", "production")


def test_a_gate_that_refuses_is_reported_and_fails(shop: User, tmp_path: Path) -> None:
    shop.variables["PENSTOCK_GATES_MODEL_AUC_ROC"] = ">= 0.99"
    report = tmp_path / "report.md"
    refused = shop.penstock("ci", "trial", "--report", str(report))
    assert refused.status == 1
    text = report.read_text()
    assert "# shop: refused" in text
    assert ">= 0.99" in text
    del shop.variables["PENSTOCK_GATES_MODEL_AUC_ROC"]
