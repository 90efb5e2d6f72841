"""The commands about approvals of models."""

from __future__ import annotations

from penstock.access.roles import Permission
from penstock.cli.command import Command, Option

MODEL = Option("model", metavar="NAME@VERSION")
TARGET = Option(
    "--for", dest="target", metavar="ENDPOINT", required=True, help="such as production"
)

APPROVAL_COMMANDS: tuple[Command, ...] = (
    Command(
        "models approve",
        "Approve a version for an endpoint, with your signature",
        "penstock.cli.model_approvals:approve",
        (
            MODEL,
            TARGET,
            Option("--meaning", required=True, help="what the approval says, in your words"),
            Option(
                "--break-glass",
                action="store_true",
                help="let it in for a while without the others; people are alarmed",
            ),
            Option("--reason", metavar="TEXT", default="", help="of breaking the glass"),
        ),
        "It is about exactly these bytes. [approvals.ENDPOINT] says how many must agree, and who.",
        Permission.APPROVE,
    ),
    Command(
        "models reject",
        "Say no to a version, with your signature, until you approve it",
        "penstock.cli.model_approvals:reject",
        (MODEL, TARGET, Option("--meaning", required=True, help="why, in your words")),
        permission=Permission.APPROVE,
    ),
    Command(
        "models review",
        "Say that you looked at why somebody else broke the glass",
        "penstock.cli.model_approvals:review",
        (MODEL, Option("--reason", metavar="TEXT", required=True, help="what you found")),
        permission=Permission.APPROVE,
    ),
    Command(
        "models approvals",
        "Show who approved, who rejected, what is missing, and which glasses are broken",
        "penstock.cli.model_approvals:list_approvals",
        (
            Option("model", metavar="NAME@VERSION", nargs="?", help="(default: all)"),
            Option("--for", dest="target", metavar="ENDPOINT", default="production"),
        ),
        "Exit status 1 means that the version named may not serve the endpoint.",
        Permission.READ,
    ),
)
