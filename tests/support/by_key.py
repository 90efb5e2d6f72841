"""A gateway that reads the features of a project from its online store."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from gateways import Gateway, table

from penstock.cli.main import run
from penstock.releases.staging import FEATURE_MODULES


def serving_by_key(root: Path, model: Path, features: Sequence[str]) -> Gateway:
    """Applies and materialises the project's features, and serves the model with two replicas."""
    for command in ("apply", "materialize"):
        try:
            assert run(["features", command, "--project", str(root)]) == 0
        finally:
            sys.modules.pop("features", None)
            sys.path[:] = [path for path in sys.path if path != str(root)]
    gateway = Gateway(root / ".penstock" / "endpoints" / "staging")
    source = {
        "module": "penstock.features.online:OnlineFeatures",
        "warm": [*FEATURE_MODULES],
        "entities": ["customer_id"],
        "arguments": {
            "root": str(root),
            "service": "churn_v1",
            "features": [*features],
            "entity_keys": ["customer_id"],
        },
    }
    gateway.serve(table(gateway.spec("r1", model, features=source, replicas=2)))
    return gateway
