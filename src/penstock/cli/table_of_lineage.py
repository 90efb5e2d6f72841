"""The commands about lineage."""

from __future__ import annotations

from penstock.access.roles import Permission
from penstock.cli.command import Command, Option

LINEAGE_COMMANDS: tuple[Command, ...] = (
    Command(
        "trace",
        "Say what a prediction rests on: release, model, run, data, files, gates and approvals",
        "penstock.cli.lineage:trace",
        (
            Option("id", metavar="PREDICTION_ID", help="as the answer had it"),
            Option("--endpoint", help="where it was given (default: all are searched)"),
            Option("--rows", action="store_true", help="name the rows behind its features too"),
        ),
        permission=Permission.READ,
    ),
    Command(
        "impact",
        "Say what was made from a fact, and what of that is serving now",
        "penstock.cli.lineage:impact",
        (
            Option(
                "fact", metavar="DIGEST", help="its beginning will do; or a file, or NAME@VERSION"
            ),
        ),
        permission=Permission.READ,
    ),
    Command(
        "lineage rebuild",
        "Add the lineage of what ran before it was kept",
        "penstock.cli.lineage:rebuild",
    ),
)
