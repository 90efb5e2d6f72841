"""The rows of the table of commands that are about experiments."""

from __future__ import annotations

from penstock.access.roles import Permission
from penstock.cli.command import Command, Option

_EXPERIMENT = Option("--experiment", metavar="NAME", help="in MLflow (default: the project's own)")
_NAMES = "MLflow's id or a beginning of it, the id of Penstock's run, NAME@VERSION, or last"

EXPERIMENT_COMMANDS: tuple[Command, ...] = (
    Command(
        "experiments list",
        "List the runs that MLflow has tracked: what they were told, and how they fared",
        "penstock.cli.experiments:list_experiments",
        (
            Option("--limit", type=int, default=20, metavar="N", help="how many (default: 20)"),
            Option("--sort", metavar="METRIC", help="the best by this first (default: the latest)"),
            Option(
                "--where",
                default="",
                metavar="FILTER",
                help="in MLflow's language, such as \"params.C = '1.0'\"",
            ),
            _EXPERIMENT,
        ),
        permission=Permission.READ,
    ),
    Command(
        "experiments compare",
        "Show runs side by side: what differs is marked, and the best by each metric",
        "penstock.cli.experiments:compare_runs",
        (
            Option("run", nargs="+", metavar="RUN", help=_NAMES),
            Option(
                "--format",
                choices=("markdown", "csv", "json"),
                default="markdown",
                help="(default: markdown)",
            ),
            Option("--differing", action="store_true", help="only what differs"),
            Option("--output", metavar="FILE", help="write it there"),
            _EXPERIMENT,
        ),
        permission=Permission.READ,
    ),
    Command(
        "experiments plot",
        "Draw runs: parallel coordinates of their parameters, curves of their metrics",
        "penstock.cli.experiments:plot",
        (
            Option("run", nargs="*", metavar="RUN", help=f"{_NAMES} (default: the latest)"),
            Option(
                "--output",
                metavar="FILE",
                default="experiments.html",
                help="one .html page with all of it, or one .svg or .png (default: "
                "experiments.html)",
            ),
            Option("--kind", choices=("parallel", "curves"), help="(default: both on a page)"),
            Option("--metric", metavar="METRIC", help="(default: the one that is searched by)"),
            Option("--limit", type=int, default=20, metavar="N", help="how many (default: 20)"),
            _EXPERIMENT,
        ),
        "Of one run alone, the trials of its search are drawn. The page needs no network.",
        permission=Permission.READ,
    ),
)
