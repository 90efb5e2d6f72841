"""Reads a feature vector by entity key, as a served model needs it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd

from penstock.features.served_log import ServedLog
from penstock.features.store import open_store


class OnlineFeatures:
    """The online side of one feature service; columns come in the model's order.

    A share of what is read is logged, for the skew audit.
    """

    def __init__(
        self,
        root: str,
        service: str,
        features: list[str],
        entity_keys: list[str],
        log_share: float = 0.0,
    ) -> None:
        self.entity_keys = tuple(entity_keys)
        self._features = features
        self._store = open_store(Path(root))
        self._service = self._store.get_feature_service(service)
        self._log = ServedLog(Path(root), service, log_share)

    def read(self, entities: dict[str, list[Any]]) -> pd.DataFrame:
        """One row per entity; features that are missing or expired are null.

        All are null of an entity that no view knows, though a window without events counts 0.
        """
        at = time.time_ns()
        answer = self._store.get_online_features(features=self._service, entity_rows=dict(entities))
        columns = answer.to_dict()
        found = {name: columns[name] for name in self._features}
        self._log.write(getattr(answer, "at", at), entities, found)
        frame = pd.DataFrame(found)
        unknown = answer.unknown() if hasattr(answer, "unknown") else [False]
        return frame.mask(pd.Series(unknown, frame.index)) if any(unknown) else frame
