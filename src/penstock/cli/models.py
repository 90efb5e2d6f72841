"""`penstock models list`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import UTC, datetime

from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, table


def list_models(options: argparse.Namespace) -> int:
    from penstock.registry.versions import versions

    found = versions(project_of(options))
    if options.json:
        print_json([asdict(version) for version in found])
    elif not found:
        print("no model is registered yet; `penstock run` registers one that passes its gates")
    else:
        rows = [
            (
                version.label,
                ", ".join(version.aliases),
                version.tags.get("penstock.metric.auc_roc", ""),
                version.digest[:12],
                moment(datetime.fromtimestamp(version.created_ms / 1000, UTC)),
            )
            for version in found
        ]
        print(table(("model", "aliases", "AUC", "digest", "registered"), rows))
    return 0
