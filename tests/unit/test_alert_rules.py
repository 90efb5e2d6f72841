"""Rules as people write them: which are there without a word, and what is refused, and where."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import penstock.monitoring
from penstock.errors import SettingsError
from penstock.monitoring_settings import DEFAULT_RULES, is_measure
from penstock.settings_source import load_settings

PROJECT = '[project]\nname = "shop"\n'
# What makes a measure in the looks: its name is the first argument, or `name`.
MAKERS = {"Measure", "untold", "counted", "calibrated", "rate", "_ahead"}


def rules_of(folder: Path, text: str = "", **variables: str) -> dict[str, Any]:
    file = folder / "penstock.toml"
    file.write_text(PROJECT + text)
    return load_settings(file, "dev", variables).alerts


def test_every_project_has_sound_rules_and_changes_them_by_name(tmp_path: Path) -> None:
    assert set(rules_of(tmp_path)) == set(DEFAULT_RULES)
    text = '[alerts.drift]\nwhen = "> 0.3"\n[alerts.mine]\nmetric = "null_share"\n'
    own = rules_of(tmp_path, text, PENSTOCK_ALERTS_DRIFT_SEVERITY="page")
    drift = own["drift"]
    assert (str(drift.when), drift.severity, drift.group) == ("> 0.3", "page", "model")
    assert set(own) == {*DEFAULT_RULES, "mine"}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            'metric = "drft"',
            ":4: alerts.mine.metric: nothing measures 'drft'; did you mean 'drift'?",
        ),
        ('metric = "gini"', "There are drift, drifted_share, null_share"),
        ('metric = "drift"\naction = "rollback"', "drift never rolls back"),
        ('metric = "drift"\nwhen = "much"', "'much' is neither 'found' nor a threshold"),
        ('metric = "drift"\nlooks = 0', "greater than or equal to 1"),
        ('metric = "drift"\nseverty = "page"', "unknown setting alerts.mine.severty"),
        ('when = "> 1"', "alerts.mine.metric is missing"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused_at_its_line(
    tmp_path: Path, rule: str, said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        rules_of(tmp_path, f"[alerts.mine]\n{rule}\n")
    assert said in caught.value.message


def test_whatever_a_look_measures_a_rule_may_name() -> None:
    made = set(_measures())
    assert {"drift", "null_share", "event_age_s", "retraining_gain", "skew"} <= made
    assert {name for name in made if not is_measure(name)} == set()


def _measures() -> Iterator[str]:
    """The names in the source of the looks, constants of their modules among them."""
    for file in Path(penstock.monitoring.__path__[0]).glob("*.py"):
        tree = ast.parse(file.read_text())
        constants: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
                names, values = node.targets[0].elts, getattr(node.value, "elts", [])
                for name, value in zip(names, values, strict=False):
                    constants[ast.unparse(name)] = getattr(value, "value", "")
        for node in ast.walk(tree):
            if (
                not isinstance(node, ast.Call)
                or ast.unparse(node.func).split(".")[-1] not in MAKERS
            ):
                continue
            named = [one.value for one in node.keywords if one.arg == "name"]
            for first in (*node.args[:1], *named)[:1]:
                text = constants.get(ast.unparse(first), getattr(first, "value", None))
                if isinstance(text, str):
                    yield text
