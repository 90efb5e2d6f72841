"""`penstock models list`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, table

if TYPE_CHECKING:
    from penstock.registry.aliases import Stray


def list_models(options: argparse.Namespace) -> int:
    from penstock.registry.aliases import strays
    from penstock.registry.versions import versions
    from penstock.state.database import open_database

    project = project_of(options)
    found = versions(project)
    wrong = strays(project, open_database(project), found) if found else []
    if options.json:
        named = {one.alias: asdict(one) for one in wrong}
        print_json([asdict(one) | {"strays": _strays_of(one.label, named)} for one in found])
    elif not found:
        print("no model is registered yet; `penstock run` registers one that passes its gates")
    else:
        rows = [
            (
                version.label,
                ", ".join(version.aliases),
                version.tags.get("penstock.metric.auc_roc", ""),
                version.digest[:12] or "none: of another tool",
                moment(datetime.fromtimestamp(version.created_ms / 1000, UTC)),
            )
            for version in found
        ]
        print(table(("model", "aliases", "AUC", "digest", "registered"), rows))
        tell_strays(wrong)
    return 0


def tell_strays(wrong: Sequence[Stray]) -> None:
    """What of MLflow's aliases is not as the ledger says, and what to do."""
    for stray in wrong:
        print(f"! {stray}")
    if wrong:
        print("  → somebody changed it in MLflow; `penstock models promote --mend` puts it right")


def _strays_of(label: str, wrong: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in wrong.values() if label in (one["ledger"], one["registry"])]
