"""Penstock carries a model from raw events to guarded production traffic, and can prove every step."""

from penstock.step import Context, step

__version__ = "0.1.0"

__all__ = ["Context", "__version__", "step"]
