"""The commands for who must show what a model is, and that it may be used."""

from __future__ import annotations

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
)
