"""The commands about alerts."""

from __future__ import annotations

from penstock.access.roles import Permission
from penstock.cli.command import Command, Option

REASON = Option("--reason", metavar="TEXT", default="", help="kept in the ledger")

ALERT_COMMANDS: tuple[Command, ...] = (
    Command(
        "alerts list",
        "List what fires or is about to, what is silent, and what could not be sent yet",
        "penstock.cli.alerts:list_alerts",
        (Option("--all", action="store_true", help="also what is over"),),
        permission=Permission.READ,
    ),
    Command(
        "alerts show",
        "Show an alert and its story",
        "penstock.cli.alerts:show",
        (Option("alert", metavar="ALERT", help="its id, or a beginning of it"),),
        permission=Permission.READ,
    ),
    Command(
        "alerts check",
        "Hold the rules against what was looked at; act, tell people, send what is queued",
        "penstock.cli.alerts:check",
        (
            Option(
                "--report",
                metavar="FILE",
                action="append",
                help="a report as JSON, beside those that are kept; may be repeated",
            ),
            Option("--watch", action="store_true", help="again and again, until it is told to end"),
            Option("--interval", metavar="SPAN", default="1m", help="of --watch (default: 1m)"),
            Option("--host", metavar="HOST", default="127.0.0.1", help="of /metrics, with --watch"),
            Option("--port", type=int, metavar="PORT", default=8620, help="0: any (default: 8620)"),
        ),
    ),
    Command(
        "alerts rules",
        "List the rules, or write them as a file for Prometheus and a file that tests it",
        "penstock.cli.alerts_rules:rules",
        (Option("--prometheus", metavar="FILE", help="such as rules.yml; tests: rules_test.yml"),),
        permission=Permission.READ,
    ),
    Command(
        "alerts silence",
        "Let some alerts be silent for a while: nobody is told, nothing is done about them",
        "penstock.cli.alerts:silence",
        (
            Option("alerts", metavar="RULE", help="a rule's name, with * and ?, or an alert's id"),
            Option("--subject", metavar="NAME", default="*", help="only of this feature or column"),
            Option("--endpoint", metavar="NAME", default="*", help="only of this endpoint"),
            Option("--for", dest="lasts", metavar="SPAN", default="4h", help="(default: 4h)"),
            REASON,
        ),
    ),
    Command(
        "alerts unsilence",
        "Let them be heard again",
        "penstock.cli.alerts:unsilence",
        (Option("silence", metavar="SILENCE", help="its id, or a beginning of it"), REASON),
    ),
    Command(
        "alerts test",
        "Send a message to every channel",
        "penstock.cli.alerts:test",
    ),
)
