"""Step 9: tells the team what there is to approve, and the command to type."""

from __future__ import annotations

from penstock.notifications.outbox import tell
from penstock.pipeline.context import StepContext
from penstock.records import (
    DatasetVersion,
    IntegrationReport,
    ModelReport,
    ModelVersion,
    Notice,
    Release,
)


def notify_team(
    context: StepContext,
    dataset: DatasetVersion,
    report: ModelReport,
    version: ModelVersion,
    release: Release,
    tested: IntegrationReport,
) -> Notice:
    settings = context.project.settings
    command = f"penstock models approve {version.label} --for production --meaning '…'"
    gates = "\n".join(f"  {c.name}: {c.observed} ({c.expected})" for c in report.checks)
    service = "\n".join(f"  {c.name}: {c.observed} ({c.expected})" for c in tested.checks)
    title = f"[{settings.project.name}] {version.label} waits for approval"
    body = "\n".join(
        [
            f"Pipeline: {settings.project.name} ({context.project.environment})",
            f"Run: {context.run_id}",
            f"Model: {version.label}, digest {version.digest[:12]}",
            f"Data: {dataset.name}, {dataset.rows:,} rows, DVC {dataset.dvc_md5}",
            f"Held-out evaluation on {report.rows:,} rows:",
            gates,
            f"Staging: {release.url}, tested with {tested.requests:,} requests:",
            service,
            "Next step: a manual approval for production. To approve, type",
            f"  {command}",
        ]
    )
    # Another attempt tells nobody twice.
    channels = tell(context.project, title, body, key=f"{context.run_id}/{version.label}")
    return Notice(title=title, body=body, next_command=command, channels=channels)
