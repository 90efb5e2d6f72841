"""The search by the real Optuna: resumed, reproducible, in the right direction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.training.search import SearchResult, run_search, space_of

pytestmark = pytest.mark.slow

SPACE = space_of({"space": {"x": {"type": "float", "low": -5.0, "high": 5.0}}})


def parabola(choice: dict[str, Any]) -> float:
    return -((choice["x"] - 2) ** 2)


def search(journal: Path, trials: int, metric: str = "auc_roc", **changes: Any) -> SearchResult:
    told: list[str] = []
    given = {"objective": parabola, "progress": lambda message, _: told.append(message)} | changes
    objective = given.pop("objective")
    return run_search(
        objective, SPACE, trials=trials, metric=metric, seed=7, journal=journal, **given
    )


def test_a_search_that_was_cut_off_keeps_its_trials_and_does_the_rest(tmp_path: Path) -> None:
    journal = tmp_path / "study.log"

    def killed(choice: dict[str, Any]) -> float:
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(choice["x"])
        return parabola(choice)

    seen: list[float] = []
    with pytest.raises(KeyboardInterrupt):
        search(journal, 10, objective=killed)

    whole = search(journal, 6)

    assert [trial.params["x"] for trial in whole.trials[:3]] == seen
    assert len(whole.trials) == 6
    assert len({trial.params["x"] for trial in whole.trials}) == 6, "no draw is repeated"


def test_a_finished_search_asks_nothing_again(tmp_path: Path) -> None:
    first = search(tmp_path / "study.log", 4)

    def never(_: dict[str, Any]) -> float:
        raise AssertionError("the objective was asked")

    assert search(tmp_path / "study.log", 4, objective=never) == first


def test_the_same_seed_makes_the_same_choices(tmp_path: Path) -> None:
    assert search(tmp_path / "a.log", 5) == search(tmp_path / "b.log", 5)


@pytest.mark.parametrize(("metric", "best"), [("auc_roc", max), ("log_loss", min)])
def test_the_best_is_the_largest_but_the_smallest_of_a_loss(
    tmp_path: Path, metric: str, best: Any
) -> None:
    found = search(tmp_path / "study.log", 8, metric)
    assert found.value == best(trial.value for trial in found.trials)
