"""`penstock doctor`: looks at everything a run will lean on, and says what to mend."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from penstock.cli import doctor_by_itself as by_itself
from penstock.cli.findings import Finding, Look, guarded, taken
from penstock.cli.opening import project_of
from penstock.cli.output import print_json, table
from penstock.errors import PenstockError
from penstock.project import STAGING, Project

TOOLS = {
    "apache-airflow": False,  # False: an optional extra
    "dvc": True,
    "feast": True,
    "great-expectations": True,
    "lightgbm": True,
    "mlflow": True,
    "optuna": True,
    "scikit-learn": True,
    "torch": False,
}
NEEDED_BYTES = 1 << 30


def doctor(options: argparse.Namespace) -> int:
    findings = [_python(), *_tools()]
    try:
        project = project_of(options)
    except PenstockError as error:
        findings.append(Finding("project", False, error.message, error.hint))
    else:
        findings.append(Finding("project", True, f"{project.root} ({project.environment})"))
        looks: tuple[Look, ...] = (
            _plan,
            _expectations,
            _writable,
            _space,
            _git,
            _state,
            _port,
            _aliases,
            by_itself.schedule,
            by_itself.services,
            _monitoring,
            by_itself.alerts,
            by_itself.channels,
            by_itself.triggers,
        )
        findings += [guarded(look, project) for look in looks]
    healthy = all(finding.ok for finding in findings)
    if options.json:
        print_json({"healthy": healthy, "findings": [asdict(finding) for finding in findings]})
    else:
        rows = [("✓" if f.ok else "✗", f.what, f.seen, "" if f.ok else f.remedy) for f in findings]
        print(table(("", "what", "seen", "what to do"), rows))
    return 0 if healthy else 1


def _python() -> Finding:
    seen = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", sys.version_info >= (3, 11), seen, "use Python 3.11 or newer")


def _tools() -> list[Finding]:
    found = []
    for name, needed in TOOLS.items():
        try:
            found.append(Finding(name, True, version(name)))
        except PackageNotFoundError:
            seen = "not installed" if needed else "not installed (optional)"
            found.append(Finding(name, not needed, seen, "make install" if needed else ""))
    return found


def _plan(project: Project) -> Finding:
    from penstock.pipeline.plan import plan_of
    from penstock.pipeline.source import unwritten

    steps = plan_of(project).steps
    code = project.root / "pipeline.py"
    missing = unwritten(code)
    seen = f"{len(steps)} steps" + (f", without {' and '.join(missing)}()" if missing else "")
    return Finding("plan", not missing, seen, f"write them in {code}" if missing else "")


def _expectations(project: Project) -> Finding:
    files = list((project.root / "expectations").glob("*.json"))
    remedy = "" if files else "penstock validate --suggest"
    return Finding("expectations", bool(files), f"{len(files)} suites", remedy)


def _writable(project: Project) -> Finding:
    for folder in (project.root, project.folder):
        if folder.exists() and not os.access(folder, os.W_OK):
            return Finding("permission", False, f"{folder} is not writable", "chown or move it")
    return Finding("permission", True, "the folder is writable")


def _space(project: Project) -> Finding:
    free = shutil.disk_usage(project.root).free
    return Finding("space", free >= NEEDED_BYTES, f"{free / 2**30:.1f} GiB free", "free some")


def _git(_: Project) -> Finding:
    path = shutil.which("git")
    seen = path or "not installed: DVC works, but nothing ties data to commits"
    return Finding("git", True, seen)


def _state(project: Project) -> Finding:
    from penstock.state.database import open_database

    engine = open_database(project)
    return Finding("state", True, engine.url.render_as_string(hide_password=True))


def _port(project: Project) -> Finding:
    from penstock.serving.endpoint import status

    settings, running = project.settings.serving, status(project.endpoint(STAGING))
    if running.live:
        return Finding("staging", True, f"live at {running.url}")
    if seen := taken(settings.host, settings.port):
        return Finding("staging", False, seen, "set [serving] port or PENSTOCK_SERVING_PORT")
    return Finding("staging", True, f"port {settings.port} is free")


def _aliases(project: Project) -> Finding:
    """Whether somebody changed in MLflow what the ledger says."""
    from penstock.registry.aliases import strays
    from penstock.registry.champions import champion_label
    from penstock.state.database import open_database

    engine = open_database(project)
    wrong = strays(project, engine)
    seen = "; ".join(map(str, wrong)) or f"as the ledger says: champion {champion_label(engine)}"
    return Finding("aliases", not wrong, seen, "penstock models promote --mend")


def _monitoring(project: Project) -> Finding:
    """Whether somebody looks at what is served, and people can be told."""
    from penstock.monitoring.alerts.sources import watchdog
    from penstock.state import outbox
    from penstock.state.database import open_database

    engine = open_database(project)
    dog, waiting = watchdog(project, engine, datetime.now(UTC)), outbox.waiting(engine)
    queued = [f"undelivered: {one.messages} for {one.channel}" for one in waiting]
    looks = dog.reason if dog else "nothing is served"
    silent = dog is not None and dog.verdict == "found"
    remedy = "penstock monitor all" if silent else "penstock alerts check"
    return Finding("monitoring", not silent and not waiting, "; ".join([looks, *queued]), remedy)
