"""Carries a model from raw events to guarded production traffic, and can prove every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.authoring import Context, TrainingSet, step

__version__ = "0.1.0"

__all__ = ["Context", "TrainingSet", "__version__", "step"]


def __getattr__(name: str) -> Any:
    # Only when asked for: `penstock --help` shall cost little more than Python itself.
    if name in {"Context", "TrainingSet", "step"}:
        from penstock import authoring

        return getattr(authoring, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
