"""The commands about rollouts."""

from __future__ import annotations

from penstock.access.roles import Permission
from penstock.cli.command import Command, Option

ROLLOUT = Option("rollout", metavar="ROLLOUT", help="its id, or a beginning of it")
REASON = Option("--reason", metavar="TEXT", default="", help="kept in the ledger")
ENDPOINT = Option("--endpoint", metavar="NAME", default="production", help="(default: production)")
PLAN = Option(
    "--file", metavar="FILE", help="a TOML file with the keys of [rollout], in place of that table"
)
STRATEGY = Option(
    "--strategy",
    choices=("canary", "blue_green", "ab", "shadow"),
    help="in place of the plan's",
)

ROLLOUT_COMMANDS: tuple[Command, ...] = (
    Command(
        "rollout start",
        "Bring a version to an endpoint, under guard",
        "penstock.cli.rollout:start",
        (
            Option("model", metavar="NAME@VERSION"),
            ENDPOINT,
            PLAN,
            STRATEGY,
            Option("--dry-run", action="store_true", help="check and plan, but route nothing"),
        ),
        "The first version of an endpoint is served at once, when it is approved. A controller "
        "(`penstock controller`) carries the rollout out.",
    ),
    Command(
        "rollout check",
        "Check a plan: the traffic that each stage needs, what it detects, and how fast",
        "penstock.cli.rollout_check:check",
        (
            PLAN,
            STRATEGY,
            ENDPOINT,
            Option(
                "--rate",
                type=float,
                metavar="R",
                help="requests a minute of the endpoint (default: as observed, or 100)",
            ),
            Option(
                "--error-rate",
                type=float,
                metavar="P",
                help="share of errors that is normal (default: as observed, or 0.01)",
            ),
        ),
        "Exit status 1 means that the plan cannot be decided with that traffic.",
        permission=Permission.READ,
    ),
    Command(
        "rollout status",
        "Show how a rollout stands: arms, evidence, verdicts, and what happens next",
        "penstock.cli.rollout:status",
        (
            Option("rollout", metavar="ROLLOUT", nargs="?", help="(default: the latest)"),
            Option("--watch", action="store_true", help="go on until it ends"),
        ),
        permission=Permission.READ,
    ),
    Command(
        "rollout list",
        "List all rollouts",
        "penstock.cli.rollout:list_rollouts",
        permission=Permission.READ,
    ),
    Command(
        "rollout show",
        "Show all of a rollout: its plan, and everything that happened",
        "penstock.cli.rollout:show",
        (ROLLOUT,),
        permission=Permission.READ,
    ),
    Command(
        "rollout approve",
        "Agree to what a rollout waits for",
        "penstock.cli.rollout:approve",
        (
            ROLLOUT,
            Option("--point", metavar="POINT", default="", help="start, stage:INDEX or promote"),
            REASON,
        ),
        permission=Permission.APPROVE,
    ),
    Command(
        "rollout pause",
        "Stop the clock; guardrails still roll back",
        "penstock.cli.rollout:pause",
        (ROLLOUT, REASON),
    ),
    Command(
        "rollout resume",
        "Go on where a rollout was held or paused",
        "penstock.cli.rollout:resume",
        (ROLLOUT, REASON),
    ),
    Command(
        "rollout promote",
        "End the stage as soon as the evidence suffices",
        "penstock.cli.rollout:promote",
        (
            ROLLOUT,
            Option(
                "--full",
                action="store_true",
                help="skip all that remains, whatever the evidence says; needs a reason",
            ),
            REASON,
        ),
    ),
    Command(
        "rollout abort",
        "Give everything back to the baseline; the version may come again",
        "penstock.cli.rollout:abort",
        (ROLLOUT, REASON),
    ),
    Command(
        "rollout rollback",
        "Give everything back to the baseline, and put the version into quarantine",
        "penstock.cli.rollout:rollback",
        (ROLLOUT, REASON),
    ),
    Command(
        "rollout simulate",
        "Simulate many rollouts of a plan: how often a good version falls, how fast a bad one",
        "penstock.cli.rollout_simulate:simulate",
        (
            PLAN,
            Option("--rate", type=float, metavar="R", default=100.0, help="requests a minute"),
            Option("--error-rate", type=float, metavar="P", default=0.01, help="of the baseline"),
            Option(
                "--candidate",
                type=float,
                metavar="P",
                help="error rate of a worse candidate (default: twice the baseline's)",
            ),
            STRATEGY,
            Option("--rollouts", type=int, metavar="N", default=200, help="(default: 200)"),
            Option("--seed", type=int, metavar="N", default=1, help="(default: 1)"),
        ),
        permission=Permission.READ,
    ),
    Command(
        "controller",
        "Carry out rollouts: observe, decide, act, every few seconds",
        "penstock.cli.controller:controller",
        (
            Option("--once", action="store_true", help="one look, and end"),
            Option("--interval", type=float, metavar="S", default=2.0, help="seconds (default: 2)"),
            Option("--host", metavar="HOST", default="127.0.0.1", help="of the HTTP interface"),
            Option("--port", type=int, metavar="PORT", default=8610, help="0: any (default: 8610)"),
        ),
        "Any number may run: one leads, the others stand by.",
    ),
)
