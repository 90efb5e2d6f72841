"""Features: declared once, joined exactly, kept where a served model finds them. On Feast."""

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
