"""The rows of the table of commands that are about data versions and experiments."""

from __future__ import annotations

from penstock.access.roles import Permission
from penstock.cli.command import Command, Option

_PATHS = Option("path", nargs="*", metavar="PATH", help="tracked files or folders (default: all)")
_REMOTE = Option("--remote", "-r", metavar="NAME", help="of DVC (default: [data] remote)")
_JOBS = Option("--jobs", "-j", type=int, metavar="N", help="transfers at once (default: DVC's)")
_FORCE = Option(
    "--force", action="store_true", help="give up what is in the workspace and in no version"
)
_ONLY = Option(
    "--path", action="append", default=[], metavar="PATH", help="only this; may be repeated"
)

DATA_COMMANDS: tuple[Command, ...] = (
    Command(
        "data add",
        "Put files and folders under DVC, or keep their present content as a version",
        "penstock.cli.data:add",
        (Option("path", nargs="+", metavar="PATH"),),
        "Makes a DVC repository where there is none, and uses the one that is there.",
    ),
    Command(
        "data push",
        "Send what the remote lacks, after reading that it is sound",
        "penstock.cli.data:push",
        (_PATHS, _REMOTE, _JOBS),
        "Goes on after an interruption.",
    ),
    Command(
        "data pull",
        "Fetch data from the remote, and put it in place",
        "penstock.cli.data:pull",
        (_PATHS, _REMOTE, _JOBS, _FORCE),
        "What is damaged in the cache is fetched anew; damaged bytes never reach the workspace.",
    ),
    Command(
        "data checkout",
        "Put the data in place as DVC's notes say, or as it was at a revision",
        "penstock.cli.data:checkout",
        (
            Option(
                "revision",
                nargs="?",
                metavar="REVISION",
                help="a dataset revision of `penstock data list`, or git's commit, branch or tag",
            ),
            _ONLY,
            _FORCE,
        ),
    ),
    Command(
        "data diff",
        "Show which files, rows and columns differ between two revisions",
        "penstock.cli.data_versions:diff",
        (
            Option("before", nargs="?", metavar="REVISION", help="(default: git's last commit)"),
            Option("after", nargs="?", metavar="REVISION", help="(default: the workspace)"),
            _ONLY,
        ),
        "A revision is git's, or a dataset's of `penstock data list`, or the word workspace. Rows "
        "are told apart by [data] key.",
        permission=Permission.READ,
    ),
    Command(
        "data list",
        "List the versions of the data: rows, size, since when, used by which runs",
        "penstock.cli.data_versions:list_versions",
        (_PATHS,),
        "The one that DVC's notes name at present is marked with *.",
        permission=Permission.READ,
    ),
    Command(
        "data gc",
        "Count, and delete, the objects that no commit, model or late run rests on",
        "penstock.cli.data:collect",
        (
            Option("--yes", action="store_true", help="delete them; otherwise they are counted"),
            Option(
                "--runs",
                type=int,
                default=20,
                metavar="N",
                help="keep the datasets of the latest N runs (default: 20)",
            ),
            Option("--cloud", action="store_true", help="those of the remote too"),
            Option("--remote", "-r", metavar="NAME", help="those of this remote of DVC too"),
            Option("--shared", action="store_true", help="though the cache is no project's own"),
        ),
        "Fetch all branches first: what only an unknown commit names is nobody's.",
    ),
    Command(
        "data export",
        "Write the plan up to the evaluation as a dvc.yaml, for `dvc repro`",
        "penstock.cli.data_pipeline:export",
        (),
        "Stages that others wrote into it stay as they are.",
        permission=Permission.READ,
    ),
    Command(
        "data stage",
        "Run one stage of the exported dvc.yaml; `dvc repro` types this",
        "penstock.cli.data_pipeline:stage",
        (Option("stage", metavar="STAGE"),),
    ),
)
