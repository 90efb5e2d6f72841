"""Feast, imported in a third of the time: `from penstock.features.quick_feast import feast`.

Feast 0.67 has typeguard 4 read, rewrite and compile the methods of its classes in every process
anew, 4 of 8 seconds of its import, and imports torch, another 2, where that is installed. Here its
arguments are not checked by typeguard, and torch is imported when a tensor is asked for.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

TORCH = "feast.torch_wrapper"


def _unchecked(target: Any = None, **_: Any) -> Any:
    """What `typeguard.typechecked` is under `python -O`."""
    return (lambda found: found) if target is None else target


def _lazy_torch() -> ModuleType:
    module: Any = ModuleType(TORCH)
    module.get_torch = lambda: importlib.import_module("torch")
    return module  # type: ignore[no-any-return]


def _imported() -> Any:
    if "feast" in sys.modules:  # the project's own code came first
        return sys.modules["feast"]
    import typeguard

    sys.modules[TORCH] = _lazy_torch()
    checked = typeguard.typechecked
    typeguard.typechecked = _unchecked
    try:
        return importlib.import_module("feast")
    finally:
        typeguard.typechecked = checked


feast = _imported()
