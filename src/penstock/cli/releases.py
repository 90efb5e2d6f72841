"""`penstock release list|show|diff|rollback`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, table
from penstock.cli.progress import progress_of
from penstock.project import Project

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from penstock.releases.history import Made

MARKS = {True: "✓", False: "✗", None: "–"}


def listed(options: argparse.Namespace) -> int:
    from penstock.releases.history import releases

    _, engine = _opened(options)
    found = releases(engine)
    stands = _stands(engine)
    if options.json:
        print_json([_brief(one) | {"stands": stands.get(one.label, "")} for one in found])
        return 0
    if not found:
        print("no release yet; `penstock run` makes one with each version that it registers")
        return 0
    rows = [
        (
            one.digest[:12],
            one.label,
            stands.get(one.label, ""),
            _commit(one),
            one.manifest.data.dvc[:8],
            moment(one.at),
        )
        for one in found
    ]
    print(table(("release", "model", "stands", "commit", "data", "made"), rows))
    return 0


def show(options: argparse.Namespace) -> int:
    from penstock.releases.history import release_named
    from penstock.releases.obtainable import parts_of

    project, engine = _opened(options)
    one = release_named(engine, options.release)
    parts = parts_of(project, one.manifest)
    if options.json:
        there = [asdict(part) for part in parts]
        print_json(_brief(one) | {"manifest": one.manifest.model_dump(), "parts": there})
        return 0
    print(f"release {one.digest}")
    print(f"{moment(one.at)}, by {one.actor}, entry {one.sequence}\n")
    print(table(("", ""), _facts(one)).lstrip("\n"))
    print("\nwhat of it can be had:")
    print(table(("", "", ""), [(MARKS[p.there], p.name, p.said) for p in parts]).lstrip("\n"))
    return 0


def diff(options: argparse.Namespace) -> int:
    from penstock.releases.code_changes import commits_between, files_changed
    from penstock.releases.differences import differences
    from penstock.releases.history import release_named

    project, engine = _opened(options)
    before, after = (release_named(engine, name) for name in (options.before, options.after))
    found = differences(before.manifest, after.manifest)
    commits = commits_between(project, before.manifest.code.commit, after.manifest.code.commit)
    files = files_changed(project, before.manifest.code.bundle, after.manifest.code.bundle)
    if options.json:
        said = [asdict(one) for one in found]
        print_json({"differences": said, "commits": commits, "files": files})
        return 0
    if not found:
        print("they are the same")
    for area, group in groupby(found, key=lambda one: one.area):
        print(area)
        for one in group:
            print(f"  {one}")
        lines = {"code": [*commits, *files]}.get(area, [])
        print("".join(f"    {line}\n" for line in lines), end="")
    old, new = before.manifest.data, after.manifest.data
    if old.dvc != new.dvc and old.dvc and new.dvc:
        print(f"the rows that differ: penstock data diff {old.dvc[:8]} {new.dvc[:8]}")
    return 0


def rollback(options: argparse.Namespace) -> int:
    return roll_back(options, *_opened(options))


def roll_back(options: argparse.Namespace, project: Project, engine: Engine) -> int:
    """What production served before is served again, with the features that it was asked with."""
    from penstock.releases.rollback import roll_back as carried_out

    with progress_of(options) as progress:
        done = carried_out(
            project,
            engine,
            options.release or "",
            reason=options.reason,
            abort_rollout=options.abort_rollout,
            progress=progress,
        )
    if options.json:
        print_json(asdict(done))
        return 0
    print(f"{done.model} is the champion again, {done.archived} is archived: entry {done.entry}")
    for part in (done.features, done.routing):
        print(f"  {part}")
    return 0


def _facts(one: Made) -> list[tuple[str, str]]:
    manifest = one.manifest
    code, data, features, made = (
        manifest.code,
        manifest.data,
        manifest.features,
        manifest.training,
    )
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in sorted(made.metrics.items()))
    params = ", ".join(f"{name}={value}" for name, value in sorted(made.params.items()))
    facts = {
        "model": f"{manifest.model} {manifest.digest_of_model[:12]} {manifest.flavor}",
        "commit": _commit(one),
        "code": f"train() {code.train[:12]}, files {code.bundle[:12]}" if code.bundle else "",
        "dataset": f"{data.path} {data.digest[:12]}, DVC {data.dvc[:8]}, {data.rows:,} rows",
        "training set": f"{data.training_set[:12]}, {data.training_rows:,} rows",
        "features": f"{features.service or 'of the request'}, {len(features.columns)} columns"
        + (f", definitions {features.definitions[:12]}" if features.definitions else ""),
        "expectations": f"{', '.join(manifest.expectations.suites)} "
        f"{manifest.expectations.digest[:12]}",
        "environment": made.environment[:12],
        "settings": manifest.digests.get("settings", "")[:12],
        "run": f"{made.run or '–'}, MLflow {made.mlflow_run[:8]}",
        "as of": made.as_of,
        "params": params,
        "metrics": metrics,
    }
    return [(name, value) for name, value in facts.items() if value.strip(" ,")]


def _commit(one: Made) -> str:
    code = one.manifest.code
    if not code.commit:
        return "not committed" if code.dirty else ""
    return code.commit[:12] + ("+" if code.dirty else "")


def _stands(engine: Engine) -> dict[str, str]:
    from penstock.project import STAGING
    from penstock.registry.champions import staged_label, standing

    present = standing(engine)
    stands = dict.fromkeys(present.archived, "archived") | {present.label: "champion"}
    if staged := staged_label(engine, STAGING):
        stands[staged] = ", ".join(filter(None, (stands.get(staged, ""), "staging")))
    return stands


def _brief(one: Made) -> dict[str, Any]:
    return {
        "digest": one.digest,
        "model": one.label,
        "made": one.at,
        "actor": one.actor,
        "entry": one.sequence,
        "digests": one.manifest.digests,
    }


def _opened(options: argparse.Namespace) -> tuple[Project, Engine]:
    from penstock.state.database import open_database

    project = project_of(options)
    return project, open_database(project)
