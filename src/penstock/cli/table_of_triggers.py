"""The commands about what starts a run."""

from __future__ import annotations

from penstock.access.roles import Permission
from penstock.cli.command import Command, Option

TRIGGER_COMMANDS: tuple[Command, ...] = (
    Command(
        "triggers list",
        "List what may start a run: on or off, when it did last, and when it may next",
        "penstock.cli.triggers:list_triggers",
        permission=Permission.READ,
    ),
    Command(
        "triggers why",
        "Say why a run was started, or why none was",
        "penstock.cli.triggers:why",
        (
            Option(
                "run",
                metavar="RUN",
                nargs="?",
                help="its id, or a beginning of it (default: what was decided last)",
            ),
        ),
        permission=Permission.READ,
    ),
    Command(
        "triggers fire",
        "Start a run now, through every gate",
        "penstock.cli.triggers:fire",
        (
            Option(
                "--reason",
                metavar="TEXT",
                required=True,
                help="kept with the run, its model and the ledger",
            ),
            Option("--wait", action="store_true", help="until it has ended, and say how"),
        ),
        "No cool-down holds back a person. Exit status 1 means that a run goes on; with --wait, "
        "that no new version came of it.",
    ),
    Command(
        "triggers check",
        "Look at requests, reports and data, and start the run or rollout that is due",
        "penstock.cli.triggers:check",
        (
            Option(
                "--report",
                metavar="FILE",
                action="append",
                help="a report as `penstock monitor … --json` prints it; may be repeated",
            ),
        ),
        "What `penstock monitor loop` does by itself. May be repeated, and run twice at once.",
    ),
)
