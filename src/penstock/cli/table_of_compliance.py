"""The commands for who must show what a model is, and that it may be used."""

from __future__ import annotations

from penstock.access.roles import Permission
from penstock.cli.command import Command, Option

MODEL = Option("model", metavar="NAME@VERSION")
OUT = Option(
    "--out",
    metavar="FILE",
    action="append",
    default=[],
    help="ends with .html, .pdf, .md or .json; may be repeated",
)

COMPLIANCE_COMMANDS: tuple[Command, ...] = (
    Command(
        "compliance annex-iv",
        "Write the technical file of the EU AI Act, Annex IV, about a version",
        "penstock.cli.compliance:annex_iv",
        (
            Option("model", metavar="NAME@VERSION", nargs="?"),
            OUT,
            Option(
                "--template",
                action="store_true",
                help="write compliance.yaml, with what persons must answer",
            ),
        ),
        "What is not known is printed as MISSING, with what to do.",
    ),
    Command(
        "compliance card",
        "Print or write the model card of a version",
        "penstock.cli.compliance:card",
        (MODEL, OUT),
    ),
    Command(
        "compliance bundle",
        "Write all evidence about a version to one signed archive, to be verified anywhere",
        "penstock.cli.compliance:bundle",
        (MODEL, Option("--out", metavar="FILE", help="(default: NAME-VERSION-evidence.zip)")),
        "Technical file, model card, reports, provenance, ledger entries with proofs, a verifier.",
    ),
    Command(
        "compliance change",
        "Print or write what changed between two versions, and who decided on it",
        "penstock.cli.compliance:change",
        (
            Option("before", metavar="NAME@VERSION"),
            Option("after", metavar="NAME@VERSION"),
            OUT,
        ),
    ),
    Command(
        "compliance access",
        "Print or write who has access, who approved what, and which exceptions were made",
        "penstock.cli.compliance:access",
        (Option("--since", metavar="TIME", help='"2h", "7d" or an ISO 8601 time'), OUT),
        permission=Permission.READ,
    ),
    Command(
        "compliance inventory",
        "List all versions: where they serve, risk class, owner, last validation, next review",
        "penstock.cli.compliance:inventory",
        (Option("--csv", action="store_true", help="as CSV on standard output"),),
        permission=Permission.READ,
    ),
)
