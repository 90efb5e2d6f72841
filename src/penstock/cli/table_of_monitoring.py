"""The commands about looking at what is served."""

from __future__ import annotations

from penstock.access.roles import Permission
from penstock.cli.command import Command, Option

WINDOW: tuple[Option, ...] = (
    Option("--endpoint", metavar="NAME", help="(default: staging)"),
    Option("--model", metavar="NAME@VERSION", help="(default: the one that answered last)"),
    Option("--since", metavar="TIME", help='ISO 8601, or a span before now, such as "7d"'),
    Option("--until", metavar="TIME", help="(default: now)"),
    Option(
        "--at",
        metavar="TIME",
        help="look as a round of the monitor at that time would have: at the window that ends "
        "there; the report is kept, and drift counts in k of n windows",
    ),
    Option("--rows", metavar="FILE", help="look at a Parquet file instead of the prediction log"),
    Option(
        "--live",
        action="store_true",
        help="look at what the gateways counted instead: at once, without ranges",
    ),
    Option("--html", metavar="FILE", help="also write a page with plots"),
)
_DETAILS = "Exit status 3 means that something was found."

MONITORING_COMMANDS: tuple[Command, ...] = (
    Command(
        "monitor data",
        "Check what a model is asked: nulls, categories and values never seen before",
        "penstock.cli.monitor:data",
        WINDOW,
        _DETAILS,
        permission=Permission.READ,
    ),
    Command(
        "monitor features",
        "Compare the features that a model is asked with those it learned from",
        "penstock.cli.monitor:features",
        WINDOW,
        _DETAILS,
        permission=Permission.READ,
    ),
    Command(
        "monitor predictions",
        "Compare what a model answers with its held-out answers",
        "penstock.cli.monitor:predictions",
        WINDOW,
        _DETAILS,
        permission=Permission.READ,
    ),
    Command(
        "monitor performance",
        "How good a model is: estimated without labels, and realised once they come",
        "penstock.cli.monitor:performance",
        (
            *WINDOW,
            Option("--by", metavar="COLUMN", help="a feature, a key, arm or release to slice by"),
        ),
        _DETAILS,
        permission=Permission.READ,
    ),
    Command(
        "monitor skew",
        "Compute served features again offline, and compare",
        "penstock.cli.monitor:skew",
        WINDOW,
        _DETAILS,
        permission=Permission.READ,
    ),
    Command(
        "monitor freshness",
        "Compare the newest events with what is expected; find clocks that are wrong",
        "penstock.cli.monitor:freshness",
        WINDOW,
        _DETAILS,
        permission=Permission.READ,
    ),
    Command(
        "monitor all",
        "All of these at once",
        "penstock.cli.monitor:all_kinds",
        WINDOW,
        _DETAILS,
        permission=Permission.READ,
    ),
    Command(
        "monitor loop",
        "Look, hold alerts and triggers against what was seen, and again, until told to end",
        "penstock.cli.monitor_loop:loop",
        (
            Option("--once", action="store_true", help="one round, and end"),
            Option("--host", metavar="HOST", default="127.0.0.1", help="of /metrics, with --port"),
            Option("--port", type=int, metavar="PORT", help="serve /metrics for Prometheus there"),
        ),
        "Every [monitoring] every. Any number may run: one works, the others stand by.",
    ),
)
