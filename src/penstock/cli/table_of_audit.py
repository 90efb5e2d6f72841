"""The commands about the ledger."""

from __future__ import annotations

from penstock.access.roles import Permission
from penstock.cli.command import Command, Option

ENTRY = Option("entry", metavar="ENTRY", help="its number, or its id")
REASON = Option("--reason", metavar="TEXT", default="", help="kept in the ledger")
SELECTION = (
    Option("--action", metavar="ACTION", default="", help="or its beginning, such as rollout."),
    Option("--subject", metavar="SUBJECT", default="", help="churn@3, staging"),
    Option("--actor", metavar="ID", default="", help="who acted"),
    Option("--stream", metavar="STREAM", default="", help="the story of one thing"),
    Option("--digest", metavar="HEX", default="", help="of the artefact, or its beginning"),
    Option("--run", metavar="RUN", default="", help="id of a pipeline run"),
    Option("--since", metavar="TIME", help='"2h", "7d" or an ISO 8601 time'),
)

AUDIT_COMMANDS: tuple[Command, ...] = (
    Command(
        "audit log",
        "List entries of the ledger: who did what to what, when and why",
        "penstock.cli.audit:log",
        (
            *SELECTION,
            Option("--limit", type=int, default=30, metavar="N", help="newest (default: 30)"),
        ),
        permission=Permission.READ,
    ),
    Command(
        "audit show",
        "Show one entry whole, its hash, and what is kept beside it",
        "penstock.cli.audit:show",
        (ENTRY,),
        permission=Permission.READ,
    ),
    Command(
        "audit verify",
        "Verify every entry, the tree over them, and what was signed and anchored",
        "penstock.cli.audit_verify:verify_ledger",
        (
            Option(
                "--since-checkpoint",
                action="store_true",
                help="only what came after the last signed checkpoint",
            ),
            Option(
                "--note",
                metavar="FILE",
                action="append",
                default=[],
                help="a checkpoint that you kept; may be repeated",
            ),
            Option(
                "--bundle",
                metavar="DIR|FILE",
                help="an exported bundle, or a file of `compliance bundle`; needs no project",
            ),
            Option("--key", metavar="FILE", help="public keys (default: the project's)"),
        ),
        "Exit status 1 means that something is not as it was written; it says which entries.",
        permission=Permission.READ,
    ),
    Command(
        "audit proof",
        "Prove that an entry is in the ledger, or that the ledger goes on with a smaller one",
        "penstock.cli.audit_verify:proof",
        (
            Option("entry", metavar="ENTRY", nargs="?", help="its number, or its id"),
            Option("--from", dest="size1", type=int, metavar="N", help="that N entries go on"),
            Option("--to", dest="size2", type=int, metavar="N", help="to N (default: all)"),
        ),
        permission=Permission.READ,
    ),
    Command(
        "audit checkpoint",
        "Verify what is new, and sign the tree as it is now",
        "penstock.cli.audit_verify:checkpoint",
    ),
    Command(
        "audit anchor",
        "Sign the tree, and keep the note where the database's owner cannot change it",
        "penstock.cli.audit_verify:anchor",
        (
            Option(
                "--to",
                metavar="PLACE",
                action="append",
                help="git, git:REMOTE, a folder or s3://bucket/prefix (default: [audit] anchors)",
            ),
        ),
    ),
    Command(
        "audit export",
        "Write entries, proofs and the signed root to a folder, to be verified anywhere",
        "penstock.cli.audit_verify:export_bundle",
        (Option("folder", metavar="DIR", help="a new folder"), *SELECTION),
        "Without a selection, all entries under the latest checkpoint.",
        permission=Permission.READ,
    ),
    Command(
        "audit erase",
        "Destroy what is kept about a person, or what has expired beside the ledger",
        "penstock.cli.audit_payloads:erase",
        (
            Option(
                "person",
                metavar="PERSON",
                nargs="?",
                help="customer_id=42: everywhere; another id: only beside the ledger",
            ),
            Option(
                "--unit",
                action="append",
                default=[],
                metavar="UNIT",
                help="that their requests were routed by, where it is not the key; may be repeated",
            ),
            Option("--expired", action="store_true", help="by [audit] retention"),
            REASON,
        ),
        "Predictions, feedback, online features, and what is beside the ledger, whose entries stay "
        "and still verify. Versions of the data that hold rows of theirs are named. Done again, it "
        "finishes what was broken off.",
        permission=Permission.ADMINISTER,
    ),
    Command(
        "audit hold",
        "List legal holds, place one, or release one: what they cover is not erased",
        "penstock.cli.audit_payloads:hold",
        (
            Option(
                "name",
                metavar="NAME",
                nargs="?",
                asks=Permission.ADMINISTER,
                help="without one, all that stand",
            ),
            Option("--actions", metavar="BEGINNING", default="", help="only such entries"),
            Option("--person", metavar="PERSON", default="", help="only what is about them"),
            Option("--release", action="store_true", help="the hold is over"),
            REASON,
        ),
        permission=Permission.READ,
    ),
    Command(
        "audit key",
        "Show the public keys of the ledger, or make a new pair",
        "penstock.cli.audit_verify:key",
        (
            Option(
                "--new",
                action="store_true",
                asks=Permission.ADMINISTER,
                help="a pair that signs from now on",
            ),
        ),
        permission=Permission.READ,
    ),
)
