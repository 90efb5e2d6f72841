"""`penstock models list` and `penstock models approve`."""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from datetime import UTC, datetime

from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, table
from penstock.errors import UsageError


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


def approve(options: argparse.Namespace) -> int:
    from penstock.registry.promotion import approve_for_production
    from penstock.state.database import open_database

    project = project_of(options)
    match = re.fullmatch(r"(.+)@(\d+)", options.model)
    if match is None or match[1] != project.settings.model_name:
        raise UsageError(
            f"{options.model!r} is no version of this project's model",
            hint=f"write {project.settings.model_name}@NUMBER; see `penstock models list`",
        )
    version = approve_for_production(
        project, open_database(project), int(match[2]), meaning=options.meaning
    )
    if options.json:
        print_json(asdict(version))
    else:
        print(f"{version.label} ({version.digest[:12]}) is approved for production")
        print(f"  next: penstock rollout start {version.label}")
    return 0
