"""The examples in docstrings come to what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import penstock

ROOT = Path(penstock.__file__).parent
MODULES = [
    ".".join(("penstock", *file.relative_to(ROOT).with_suffix("").parts))
    for file in sorted(ROOT.rglob("*.py"))
    if ">>> " in file.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", MODULES)
def test_examples(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted
    assert not found.failed
