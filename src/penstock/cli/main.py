"""Reads the command line, calls one command, and turns what went wrong into an exit status.

Exit status: 0 done, 1 a gate or step failed, 2 wrong use. Nothing heavy is imported here; each
command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from penstock.access.roles import Permission
from penstock.cli.table import COMMANDS, Command, Option
from penstock.errors import PenstockError, ResourceError


def run(arguments: Sequence[str]) -> int:
    """The whole of one invocation; returns the exit status."""
    parser = build_parser(arguments)
    options = parser.parse_args(arguments)
    if not hasattr(options, "handler"):
        parser.print_help()
        return 0
    from importlib import import_module

    module, _, name = options.handler.partition(":")
    try:
        with _acting(options):
            status = int(getattr(import_module(module), name)(options) or 0)
        sys.stdout.flush()  # here, where a reader that has gone is not yet an error
        return status
    except PenstockError as error:
        return _explain(error, as_json=options.json)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # no space, no permission
        return _explain(ResourceError(str(error)), as_json=options.json)
    except Exception as error:
        if (away := _database_away(error)) is None:
            raise
        return _explain(away, as_json=options.json)


def _database_away(error: Exception) -> ResourceError | None:
    """What is said where a database goes away amid a command; None of any other error."""
    loaded = sys.modules.get("sqlalchemy.exc")  # by whoever raised it: few commands need it
    if loaded is None or not isinstance(error, loaded.OperationalError | loaded.InterfaceError):
        return None
    said = str(error.orig).strip().splitlines()[0]
    away = ResourceError(
        f"the database went away amid this: {said}",
        hint="what was written stands, and nothing is half-written: the same command goes on",
    )
    away.__cause__ = error
    return away


def _acting(options: argparse.Namespace) -> AbstractContextManager[object]:
    """Whoever typed this, where it matters who it is. Raises `AccessError`."""
    permission = options.asks(options)
    if permission is Permission.READ:
        return nullcontext()
    from penstock.access.present import acting
    from penstock.cli.opening import project_of

    return acting(project_of(options), permission)


def build_parser(arguments: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Of all commands; for some `arguments`, only the one that they name knows its options.

    All options of all commands would take longer than many a command.
    """
    from penstock import __version__

    parser = argparse.ArgumentParser(
        prog="penstock",
        description="Carries a model from raw events to guarded production traffic.",
        formatter_class=formatter,
        epilog="Start with `penstock init churn`, then `penstock run --project churn`.",
    )
    parser.add_argument("--version", action="version", version=f"penstock {__version__}")
    groups = parser.add_subparsers(title="commands", metavar="COMMAND")
    nested: dict[str, argparse._SubParsersAction[argparse.ArgumentParser]] = {}
    for command in COMMANDS:
        group, _, leaf = command.name.partition(" ")
        if leaf and group not in nested:
            nested[group] = _group(groups, group)
        if arguments is None or group in arguments[:1]:
            whole = arguments is None or leaf in arguments[1:2] or not leaf
            _add(nested[group] if leaf else groups, leaf or group, command, whole)
        elif not leaf:
            _add(groups, group, command, False)
    return parser


def formatter(prog: str) -> argparse.HelpFormatter:
    """Given the width, argparse need not import shutil, which costs as much as all the rest."""
    try:
        width = os.get_terminal_size().columns
    except OSError:
        width = 80
    return argparse.HelpFormatter(prog, width=min(max(width - 2, 40), 110))


def _group(
    groups: argparse._SubParsersAction[argparse.ArgumentParser], name: str
) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    helps = [c for c in COMMANDS if c.name.startswith(f"{name} ")]
    leaves = ", ".join(c.name.partition(" ")[2] for c in helps)
    parser = groups.add_parser(name, help=leaves, formatter_class=formatter)
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _add(
    groups: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: Command,
    whole: bool,
) -> None:
    parser = groups.add_parser(
        name,
        help=command.help,
        description=f"{command.help}. {command.details}".strip(),
        formatter_class=formatter,
    )
    for option in (*command.options, *_common()) if whole else ():
        parser.add_argument(*option.names, **option.settings)
    parser.set_defaults(handler=command.handler, asks=command.asks)


def _common() -> tuple[Option, ...]:
    return (
        Option("--project", metavar="DIR", help="the project's folder (default: here or above)"),
        Option(
            "--environment",
            "-e",
            metavar="NAME",
            help="dev, staging or production (default: PENSTOCK_ENVIRONMENT, else dev)",
        ),
        Option("--json", action="store_true", help="print the result as JSON on standard output"),
    )


def _explain(error: PenstockError, *, as_json: bool) -> int:
    """The message and the remedy; the chain of causes too with PENSTOCK_TRACEBACK set."""
    if as_json:
        from penstock.cli.output import print_json

        print_json(error.as_dict())
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  → {error.hint}", file=sys.stderr)
    if os.environ.get("PENSTOCK_TRACEBACK"):
        import traceback

        traceback.print_exception(error)
    return error.exit_status
