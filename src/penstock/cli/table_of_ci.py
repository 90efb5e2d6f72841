"""The commands about continuous integration."""

from __future__ import annotations

from penstock.access.roles import Permission
from penstock.cli.command import Command, Option

CI_COMMANDS: tuple[Command, ...] = (
    Command(
        "ci check",
        "Look at a change without running it: settings, code, declarations, lint, its tests",
        "penstock.cli.ci:check",
        permission=Permission.READ,
    ),
    Command(
        "ci trial",
        "Run a change up to the model's gates, compare it with the champion, and report",
        "penstock.cli.ci:trial",
        (Option("--report", metavar="FILE", help="write the report there, as Markdown"),),
        "[data] sample, or PENSTOCK_DATA_SAMPLE=0.2, runs it on a share of the data. Nothing is "
        "registered. Exit status 1 means that a gate or a step failed.",
    ),
    Command(
        "ci promote",
        "Start the rollout of the latest tested version, once it is approved",
        "penstock.cli.ci:promote",
        (
            Option(
                "--wait",
                metavar="DURATION",
                default="0s",
                help="how long to wait for approvals, such as 24h (default: not at all)",
            ),
        ),
        "Exit status 1 means that approvals are missing; it says which.",
    ),
)
