"""Reads a feature vector by entity key, as a served model needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from penstock.features.store import open_store


class OnlineFeatures:
    """The online side of one feature service; columns come in the model's order."""

    def __init__(
        self,
        root: str,
        name: str,
        service: str,
        features: list[str],
        entity_keys: list[str],
    ) -> None:
        self.entity_keys = tuple(entity_keys)
        self._features = features
        self._store = open_store(Path(root), name)
        self._service = self._store.get_feature_service(service)

    def read(self, entities: dict[str, list[Any]]) -> pd.DataFrame:
        """One row per entity; features that are missing or expired are null."""
        answer = self._store.get_online_features(
            features=self._service, entity_rows=dict(entities)
        ).to_dict()
        return pd.DataFrame({name: answer[name] for name in self._features})
