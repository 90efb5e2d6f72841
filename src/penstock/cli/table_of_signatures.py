"""The commands about signatures of models."""

from __future__ import annotations

from penstock.access.roles import Permission
from penstock.cli.command import Command, Option

MODEL = Option("model", metavar="NAME@VERSION")

SIGNATURE_COMMANDS: tuple[Command, ...] = (
    Command(
        "models sign",
        "Sign a version that was registered without a signature, or with a new key",
        "penstock.cli.model_signatures:sign",
        (MODEL, Option("--reason", required=True, help="why you vouch for it; for the ledger")),
        "Nothing unsigned is loaded. `penstock run` signs what it registers by itself.",
        permission=Permission.APPROVE,
    ),
    Command(
        "models verify",
        "Verify a version's files, signature, format, provenance and bill of materials",
        "penstock.cli.model_signatures:verify",
        (MODEL,),
        "Exit status 1 means that something does not hold.",
        permission=Permission.READ,
    ),
    Command(
        "models waive",
        "Let a signed version be loaded though it brings code of its own",
        "penstock.cli.model_signatures:waive",
        (
            MODEL,
            Option("--flavour", choices=("pyfunc",), required=True),
            Option("--reason", required=True, help="who read the code, and why it is needed"),
            Option("--withdraw", action="store_true", help="from the next release on not any more"),
        ),
        "Only where [registry] admit names the flavour.",
        permission=Permission.APPROVE,
    ),
    Command(
        "models key",
        "Show the keys that sign models, or make a new pair",
        "penstock.cli.model_signatures:key",
        (
            Option(
                "--new",
                action="store_true",
                asks=Permission.ADMINISTER,
                help="sign with a new pair from now on; what older keys signed stays trusted",
            ),
        ),
        permission=Permission.READ,
    ),
)
