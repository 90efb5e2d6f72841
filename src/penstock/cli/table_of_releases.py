"""The commands about what becomes of versions, and about releases."""

from __future__ import annotations

from penstock.access.roles import Permission
from penstock.cli.command import Command, Option

MODEL = Option("model", metavar="NAME@VERSION")
RELEASE = Option("release", metavar="RELEASE", help="NAME@VERSION, or a beginning of its digest")
REASON = Option("--reason", metavar="TEXT", required=True, help="kept in the ledger")
ABORT = Option(
    "--abort-rollout", action="store_true", help="also while a rollout of the endpoint goes on"
)

VERSION_COMMANDS: tuple[Command, ...] = (
    Command(
        "models show",
        "Show a version: where it stands, what it came from, what was done with it",
        "penstock.cli.model_versions:show",
        (MODEL,),
        permission=Permission.READ,
    ),
    Command(
        "models compare",
        "Show versions side by side, and say what differs in what they rest on",
        "penstock.cli.model_versions:compare",
        (Option("model", metavar="NAME@VERSION", nargs="+"),),
        permission=Permission.READ,
    ),
    Command(
        "models lineage",
        "Show what a version was made from, step by step, and what came of it",
        "penstock.cli.model_versions:lineage",
        (MODEL,),
        permission=Permission.READ,
    ),
    Command(
        "models promote",
        "Bring a version to staging, or make it the champion and archive the one before",
        "penstock.cli.promotions:promote",
        (
            Option("model", metavar="NAME@VERSION", nargs="?"),
            Option("--to", choices=("staging", "production"), metavar="staging|production"),
            Option("--reason", metavar="TEXT", default="", help="kept in the ledger"),
            Option(
                "--mend",
                action="store_true",
                help="only make MLflow's aliases say what the ledger says",
            ),
        ),
        "Where production serves another version, it comes by a rollout.",
    ),
    Command(
        "models rollback",
        "Make the champion before the champion again",
        "penstock.cli.promotions:rollback",
        (
            Option("release", metavar="NAME@VERSION", nargs="?", help="(default: the one before)"),
            REASON,
            ABORT,
        ),
        "Where production serves it, features and routing go back with it.",
    ),
)

RELEASE_COMMANDS: tuple[Command, ...] = (
    Command(
        "release list",
        "List the releases that were made",
        "penstock.cli.releases:listed",
        permission=Permission.READ,
    ),
    Command(
        "release show",
        "Show all that a release rests on, and what of it can still be had",
        "penstock.cli.releases:show",
        (RELEASE,),
        permission=Permission.READ,
    ),
    Command(
        "release diff",
        "Say what differs between two releases: data, features, code, settings, metrics",
        "penstock.cli.releases:diff",
        (
            Option("before", metavar="RELEASE"),
            Option("after", metavar="RELEASE"),
        ),
        permission=Permission.READ,
    ),
    Command(
        "release rollback",
        "Take production back: model, feature definitions and routing together",
        "penstock.cli.releases:rollback",
        (
            Option("release", metavar="RELEASE", nargs="?", help="(default: the champion before)"),
            REASON,
            ABORT,
        ),
        "Goes on where it was interrupted. The values in the online store stay as they are.",
    ),
    Command(
        "reproduce",
        "Train a version again from what its release names, and compare",
        "penstock.cli.reproduce:reproduce",
        (
            MODEL,
            Option("--into", metavar="DIR", help="a new folder that is kept (default: a scratch)"),
        ),
        "Exit status 1 means that something differs.",
    ),
)
