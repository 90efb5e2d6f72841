"""The search space of params.yaml: read, or refused with the line to mend."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import SettingsError
from penstock.training.search import Dimension, space_of


def test_each_dimension_is_read() -> None:
    space = {
        "leaves": {"type": "int", "low": 8, "high": 64, "log": True},
        "rate": {"type": "float", "low": 0.0, "high": 0.5},
        "kind": {"type": "categorical", "choices": ["a", "b"]},
    }
    assert space_of({"space": space}) == (
        Dimension("leaves", "int", 8, 64, log=True),
        Dimension("rate", "float", 0.0, 0.5),
        Dimension("kind", "categorical", choices=("a", "b")),
    )


@pytest.mark.parametrize("search", [{}, {"trials": 3}, {"space": None}])
def test_no_space_is_no_dimension(search: dict[str, Any]) -> None:
    assert space_of(search) == ()


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ([{"name": "x"}], "search.space is"),
        ({"x": 3}, "search.space.x is 3"),
        ({"x": {"type": "integer"}}, "search.space.x is"),
        ({"x": {"type": "int", "low": 1, "high": 2, "step": 1}}, "the unknown key step"),
        ({"x": {"type": "int", "low": 9, "high": 2}}, "low is 9 and high is 2"),
        ({"x": {"type": "float", "low": "a", "high": 2}}, "low is 'a'"),
        ({"x": {"type": "float", "low": 1}}, "high is None"),
        ({"x": {"type": "float", "low": 0, "high": 1, "log": True}}, "begins above 0"),
        ({"x": {"type": "categorical"}}, "has no choices"),
    ],
)
def test_a_dimension_that_cannot_be_searched_is_refused(space: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        space_of({"space": space})
