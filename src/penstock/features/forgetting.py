"""What the online store and the log of served vectors know of one entity is destroyed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.blanking import blank_lines
from penstock.features.definition import FEEDS_TAG
from penstock.features.store import CONFIG, keys_of, open_store, repository

INTEGERS = ("INT32", "INT64", "UNIX_TIMESTAMP")


@dataclass(frozen=True)
class OnlineForgotten:
    """What was deleted, and what could not be."""

    rows: int
    views_left: tuple[str, ...]  # with the key, but not alone; or in a store of Feast's own


def forget_online(root: Path, key: str, value: str) -> OnlineForgotten:
    """Deletes the rows of an entity from the views that it is the whole key of.

    `value` is text. A view comes to have the row again when it is materialised from a source that
    still has it. Raises `ResourceError`.
    """
    if not (repository(root) / CONFIG).is_file():
        return OnlineForgotten(0, ())
    store = open_store(root)
    online = store._get_provider().online_store
    rows, left = 0, []
    for view in store.list_feature_views():
        names = list(keys_of(view).values())
        if not view.online or FEEDS_TAG in view.tags or key not in names:
            continue
        if names == [key] and hasattr(online, "forget"):
            kind = view.entity_columns[0].dtype.to_value_type().name
            if kind not in INTEGERS or value.lstrip("-").isdigit():
                typed: Any = int(value) if kind in INTEGERS else value
                rows += online.forget(store.config, view, {key: typed})
        else:
            left.append(view.name)
    return OnlineForgotten(rows, tuple(sorted(left)))


def forget_served(root: Path, key: str, value: str) -> int:
    """Blanks the vectors that were served of an entity; gives how many."""

    def is_meant(line: bytes) -> bool:
        try:
            _, keys, _ = json.loads(line)
            return str(keys.get(key)) in (value, f"{value}.0")
        except (ValueError, TypeError, AttributeError):
            return False

    files = sorted((root / ".penstock" / "served").glob("*/*.jsonl"))
    return sum(blank_lines(file, is_meant) for file in files)
