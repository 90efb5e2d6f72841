"""Reads feature vectors by entity key, as a served model needs them."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Any

from penstock.features.served_log import ServedLog
from penstock.features.store import open_store
from penstock.features.vectors import Vectors

__all__ = ["OnlineFeatures", "Vectors"]


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

    def read(self, asked: dict[str, list[Any]]) -> Vectors:
        """One row for each entity; `asked` has a column for each key and request column."""
        at = time.time_ns()
        answer = self._store.get_online_features(features=self._service, entity_rows=asked)
        columns = answer.to_dict()
        found = {name: columns[name] for name in self._features}
        self._log.write(getattr(answer, "at", at), asked, found)
        if hasattr(answer, "unknown"):
            return Vectors(found, answer.unknown(), answer.event_times())
        return Vectors(found, _without_any(found), {})  # one of Feast's own stores

    def feast_answer(self, document: dict[str, Any]) -> dict[str, Any]:
        """The answer of Feast's `/get-online-features` to a JSON document, as its server gives it.

        Raises Feast's own errors.
        """
        from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]

        _write_values_plainly()
        if service := document.get("feature_service"):
            features: Any = self._store.get_feature_service(service, allow_cache=True)
        else:
            features = list(document.get("features") or [])
        answer = self._store.get_online_features(
            features=features,
            entity_rows=document.get("entities") or {},
            full_feature_names=bool(document.get("full_feature_names", False)),
        )
        return dict(MessageToDict(answer.proto, preserving_proto_field_name=True))


@cache
def _write_values_plainly() -> None:
    """5 instead of {"int64_val": "5"}: Feast 0.67 teaches protobuf so in its server only."""
    from feast import proto_json

    proto_json.patch()


def _without_any(columns: dict[str, list[Any]]) -> list[bool]:
    return [all(value is None for value in row) for row in zip(*columns.values(), strict=True)]
