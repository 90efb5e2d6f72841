"""Feast's registry in a file that is whole at any time. Loaded as a Feast plugin only.

Feast's own `FileRegistryStore` (0.67) empties the file before it writes: whoever reads meanwhile,
or after the writer was killed, finds a registry without a single feature.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from feast.infra.registry.file import FileRegistryStore

from penstock.digests import written_whole


class WholeFileRegistryStore(FileRegistryStore):
    """In feature_store.yaml: `registry_store_type: penstock.features.registry_file.…`."""

    def _write_registry(self, registry_proto: Any) -> None:
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(datetime.now(UTC))
        self._filepath.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(self._filepath) as part:
            part.write_bytes(registry_proto.SerializeToString())
