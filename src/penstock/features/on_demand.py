"""What Feast's on-demand feature views compute, and what Feast overlooks when one changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.features.changes import Computed
from penstock.records import digest_of


def computed(view: Any) -> Computed:
    """An on-demand view of Feast's, as far as it decides values."""
    inputs = [
        f"{projection.name}.{field.name}"
        for projection in view.source_feature_view_projections.values()
        for field in projection.features
    ]
    asked = [
        f"{field.name}: {field.dtype}"
        for source in view.source_request_sources.values()
        for field in source.schema
    ]
    function = view.feature_transformation
    return Computed(
        features={field.name: str(field.dtype) for field in view.features},
        mode=str(view.mode),
        code=digest_of(getattr(function, "udf_string", "") or str(function)),
        inputs=(*sorted(inputs), *sorted(asked)),
    )


def forget_changed(store: Any, objects: Iterable[Any]) -> None:
    """Before objects are applied: takes those on-demand views out of the registry that changed.

    Feast 0.67 keeps the registered one where only request columns changed, and compares no features
    of such views.
    """
    from feast import OnDemandFeatureView

    there = {view.name: view for view in store.list_on_demand_feature_views()}
    for one in objects:
        changed = isinstance(one, OnDemandFeatureView) and (before := there.get(one.name))
        if changed and computed(before) != computed(one):
            store.registry.delete_feature_view(one.name, store.project)
