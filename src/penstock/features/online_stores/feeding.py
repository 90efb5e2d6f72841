"""What is pushed to a view of raw events, for the view that it feeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from feast.repo_config import RepoConfig

from penstock.errors import DataError
from penstock.features.definition import ViewDefinition
from penstock.features.online_stores.backend import RowStore
from penstock.features.online_stores.layout import Layout, Note, layout_of
from penstock.features.online_stores.writing import Written, events_table


class FedViews:
    """Views by name, as the registry has them."""

    def __init__(self) -> None:
        self._store: Any = None  # a FeatureStore

    def find(self, config: RepoConfig, name: str, rows: RowStore) -> tuple[Any, Layout]:
        """A view of the registry, which is read again where the rows are of a newer definition."""
        from feast import FeatureStore

        if self._store is None or self._store.config is not config:
            # Feast 0.67 takes a relative registry from the current folder unless it is told.
            self._store = FeatureStore(repo_path=str(config.repo_path or ""), config=config)
        registry = self._store.registry
        view = registry.get_feature_view(name, config.project, allow_cache=True)
        layout = layout_of(config.project, view)
        text = rows.get_note(layout.space)
        if text is None or Note.from_json(layout.space, text).differs(layout):
            view = registry.get_feature_view(name, config.project, allow_cache=False)
            layout = layout_of(config.project, view)
        return view, layout


def raw_events(
    config: RepoConfig, raw: Layout, fed: Layout, data: Sequence[Written]
) -> tuple[ViewDefinition, pa.Table]:
    """The definition of the view that is fed, and its rows of the events that were pushed.

    Raises `DataError` where the view is none of Penstock's, or the events do not fit its source.
    """
    from penstock.features.facts import transformed

    definition = fed.definition
    if definition is None:
        raise DataError(
            f"feature view {fed.view!r}, which {raw.view!r} feeds, is none of Penstock's",
            hint="apply the features again",
        )
    root = Path(getattr(config.offline_store, "root", "") or config.repo_path)
    return definition, transformed(definition, events_table(definition, raw, data), root)
