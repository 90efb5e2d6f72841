"""Shops whose registry is made once; tests share one with a gateway, or have one of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import shops
from shops import Shop


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template") / "shop"
    shops.build(root)
    return root


@pytest.fixture(scope="session")
def running(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop whose gateway, of two processes, serves the baseline."""
    shop = shops.copied(template, tmp_path_factory.mktemp("running") / "shop", workers=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(shops.SUPPORT), prepend=os.pathsep)
        shop.serve_baseline()
        yield shop
        shop.close()


@pytest.fixture
def shop(running: Shop) -> Shop:
    """Nothing is going on, and the baseline is served."""
    running.fresh()
    return running


@pytest.fixture
def new_shop(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Shop]]:
    """Shops of a test's own, with no gateway."""
    monkeypatch.setenv("PYTHONPATH", str(shops.SUPPORT), prepend=os.pathsep)
    made: list[Shop] = []

    def make(**given: int) -> Shop:
        made.append(shops.copied(template, tmp_path / f"shop-{len(made)}", **given))
        return made[-1]

    yield make
    for one in made:
        one.close()
