"""`penstock ci check|trial|promote`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.cli.opening import project_of
from penstock.cli.output import print_json, table
from penstock.errors import UsageError
from penstock.setting_types import parse_duration

if TYPE_CHECKING:
    from penstock.ci.trial import Trial


def check(options: argparse.Namespace) -> int:
    from penstock.ci.checking import check_project

    found = check_project(project_of(options))
    good = all(one.ok for one in found)
    if options.json:
        print_json({"ok": good, "checks": [asdict(one) for one in found]})
        return 0 if good else 1
    marks = {True: "✓", False: "✗"}
    rows = [("–" if one.skipped else marks[one.ok], one.what, _first(one.seen)) for one in found]
    print(table(("", "what", "seen"), rows))
    for one in found:
        if not one.ok:
            print(f"\n{one.what}: {one.seen}" + (f"\n→ {one.remedy}" if one.remedy else ""))
    return 0 if good else 1


def trial(options: argparse.Namespace) -> int:
    from penstock.ci.report import report
    from penstock.ci.trial import try_change
    from penstock.cli.watch import watcher_for
    from penstock.compliance import markdown
    from penstock.digests import written_whole
    from penstock.pipeline.plan import plan_of
    from penstock.state.database import open_database

    project = project_of(options)
    plan = plan_of(project)
    with watcher_for(project, plan, as_json=options.json, terminal=sys.stderr.isatty()) as watcher:
        tried = try_change(project, open_database(project), watcher)
    text = markdown.text(report(tried, datetime.now(UTC)))
    if options.report:
        with written_whole(Path(options.report)) as part:
            part.write_text(text, encoding="utf-8")
    if options.json:
        print_json(_document(tried))
    else:
        print(f"the report is in {options.report}" if options.report else f"\n{text}", end="\n")
    return 0 if tried.passed else 1


def promote(options: argparse.Namespace) -> int:
    from penstock.ci.promotion import promote
    from penstock.rollout.service import Desk
    from penstock.state.database import open_database

    project = project_of(options)
    done = promote(Desk.of(project, open_database(project)), _wait(options.wait), _say)
    if options.json:
        print_json(asdict(done))
    elif done.started:
        print(f"{done.model} goes to production: {done.started}")
    else:
        print(f"{done.model} waits: {'; '.join(done.missing)}")
        print(f"→ penstock models approve {done.model} --for production --meaning '…'")
    return 0 if done.started else 1


def _document(tried: Trial) -> dict[str, Any]:
    from penstock.orchestrators.outcomes import summary

    return {
        "passed": tried.passed,
        "sample": tried.share,
        "champion": tried.champion_label,
        "run": summary(tried.outcome),
        "differences": [asdict(one) for one in tried.differences],
        "commits": list(tried.commits),
        "files": list(tried.files),
        "cost": asdict(tried.cost),
    }


def _wait(text: str) -> timedelta:
    try:
        patience = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--wait: {error}") from error
    if not isinstance(patience, timedelta):
        raise UsageError(f"--wait is {text!r}", hint="write a duration like 30m or 24h")
    return patience


def _first(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= 100 else f"{line[:99]}…"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
