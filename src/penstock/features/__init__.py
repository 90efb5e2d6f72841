"""Features: declared once, joined exactly, kept where a served model finds them. On Feast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.features.declarations import (
        Aggregate,
        BatchSource,
        Entity,
        FeatureService,
        FeatureView,
        OnDemandFeatureView,
        RequestSource,
        batch_feature_view,
        on_demand_feature_view,
    )

__all__ = [
    "Aggregate",
    "BatchSource",
    "Entity",
    "FeatureService",
    "FeatureView",
    "OnDemandFeatureView",
    "RequestSource",
    "batch_feature_view",
    "on_demand_feature_view",
]


def __getattr__(name: str) -> Any:
    # Only when asked for: declarations import pyarrow, 35 MB that a replica may do without.
    if name in __all__:
        from penstock.features import declarations

        return getattr(declarations, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
