"""The commands about users."""

from __future__ import annotations

from penstock.access.roles import Permission, Role
from penstock.cli.command import Command, Option

USER = Option("user", metavar="ID", help="as entries of the ledger name them: no name of a person")
REASON = Option("--reason", metavar="TEXT", default="", help="kept in the ledger")
EXPIRES = Option("--expires", metavar="SPAN", help="such as 90d (default: when it is revoked)")
ROLES = tuple(str(role) for role in Role)

ACCESS_COMMANDS: tuple[Command, ...] = (
    Command(
        "users add",
        "Add a user, and print their token, once",
        "penstock.cli.users:add",
        (
            USER,
            Option("--role", choices=ROLES, required=True),
            Option("--name", metavar="NAME", default="", help="kept beside the ledger, erasable"),
            Option("--email", metavar="ADDRESS", default="", help="as git knows them; erasable"),
            Option("--key", metavar="KEY", default="", help="what `penstock users key` prints"),
            EXPIRES,
        ),
        "The first user must be an admin; from then on whatever changes something takes a token.",
        Permission.ADMINISTER,
    ),
    Command(
        "users list", "List the users", "penstock.cli.users:list_users", permission=Permission.READ
    ),
    Command(
        "users show",
        "Show a user: role, tokens and key",
        "penstock.cli.users:show",
        (USER,),
        permission=Permission.READ,
    ),
    Command(
        "users remove",
        "Remove a user with their tokens; what they signed stands",
        "penstock.cli.users:remove",
        (USER, REASON),
        permission=Permission.ADMINISTER,
    ),
    Command(
        "users roles",
        "Show what each role may do, or give a user another one",
        "penstock.cli.users:roles",
        (
            Option("user", metavar="ID", nargs="?", asks=Permission.ADMINISTER),
            Option("role", choices=ROLES, nargs="?"),
            REASON,
        ),
        permission=Permission.READ,
    ),
    Command(
        "users token",
        "Give a user a further token, and print it, once",
        "penstock.cli.users:token",
        (
            USER,
            Option(
                "--scope",
                choices=tuple(str(one) for one in Permission),
                action="append",
                help="only this of what the role lets them do; may be repeated",
            ),
            EXPIRES,
        ),
        permission=Permission.ADMINISTER,
    ),
    Command(
        "users revoke",
        "End a token",
        "penstock.cli.users:revoke",
        (Option("token", metavar="TOKEN", help="its id, or a beginning of it"), REASON),
        permission=Permission.ADMINISTER,
    ),
    Command(
        "users key",
        "Show the key that you sign approvals with, made where there is none",
        "penstock.cli.users:key",
        (
            Option("user", metavar="ID", nargs="?", help="whose (default: yours)"),
            Option(
                "--add",
                metavar="KEY",
                asks=Permission.ADMINISTER,
                help="what they printed is that user's key from now on",
            ),
            Option("--new", action="store_true", help="another pair for you"),
        ),
        "The private half is a file of yours; PENSTOCK_KEY_FILE names another place.",
        Permission.READ,
    ),
)
