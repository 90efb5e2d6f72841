"""`penstock models promote|rollback`: which version is in staging, and which one the champion."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from penstock.cli.opening import project_of
from penstock.cli.output import print_json
from penstock.cli.progress import progress_of
from penstock.cli.recording import recorded
from penstock.errors import UsageError
from penstock.project import PRODUCTION, Project

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from penstock.registry.versions import Found


def promote(options: argparse.Namespace) -> int:
    from penstock.rollout.candidate import version_of
    from penstock.state.database import open_database

    project = project_of(options)
    engine = open_database(project)
    if options.mend:
        return _mend(project, engine, options)
    if not options.model or not options.to:
        raise UsageError(
            "it is not said what is promoted, or where to",
            hint=f"penstock models promote {project.settings.model_name}@2 --to staging",
        )
    found = version_of(project, options.model)
    if options.to == "staging":
        return _to_staging(project, engine, found, options)
    if _served(engine) not in ("", found.digest):
        return _by_rollout(project, engine, found, options)
    return _to_production(project, engine, found, options)


def rollback(options: argparse.Namespace) -> int:
    from penstock.registry.champions import standing
    from penstock.registry.promotion import former_champion, take_back
    from penstock.rollout.candidate import version_of
    from penstock.state.database import open_database

    project = project_of(options)
    engine = open_database(project)
    if _served(engine):  # then features and routing must go back with it
        from penstock.cli.releases import roll_back

        return roll_back(options, project, engine)
    present = standing(engine)
    label = version_of(project, options.release).label if options.release else ""
    to = former_champion(present, label)
    entry = take_back(project, engine, to, expected=present.label, reason=options.reason)
    said = {"champion": to.label, "archived": present.label, "entry": entry and entry.sequence}
    if options.json:
        print_json(said)
    else:
        print(
            f"{to.label} is the champion again, {present.label} is archived: entry {said['entry']}"
        )
    return 0


def _to_production(
    project: Project, engine: Engine, found: Found, options: argparse.Namespace
) -> int:
    from penstock.approvals.book import required
    from penstock.registry.champions import standing
    from penstock.registry.promotion import promote as make_champion

    before = standing(engine).label
    agreed = partial(required, project, engine, found, PRODUCTION, datetime.now(UTC))
    entry = make_champion(
        project, engine, found, expected=before, agreed=agreed, reason=options.reason
    )
    said = {
        "champion": found.label,
        "archived": before if entry else "",
        "entry": entry.sequence if entry else None,
    }
    if options.json:
        print_json(said)
        return 0
    if entry is None:
        print(f"{found.label} is the champion already; MLflow's aliases are as the ledger says")
        return 0
    archived = f", {before} is archived" if before != "none" else ""
    print(f"{found.label} is the champion{archived}: entry {entry.sequence}")
    if not _served(engine):
        print(f"  next, to serve it: penstock rollout start {found.label}")
    return 0


def _by_rollout(project: Project, engine: Engine, found: Found, options: argparse.Namespace) -> int:
    """Production serves another version: this one has to show itself beside it first."""
    from penstock.rollout import service
    from penstock.rollout.memory import Remembered

    desk = service.Desk.of(project, engine)
    begun = service.start(desk, found.label, PRODUCTION, project.settings.rollout)
    assert isinstance(begun, Remembered)  # as something is served
    rollout = begun.state.id
    if options.json:
        print_json({"rollout": rollout, "champion": begun.state.spec.baseline.model})
    else:
        baseline = begun.state.spec.baseline.model
        print(f"production serves {baseline}: {found.label} comes by the rollout {rollout}")
        print(f"  watch it with `penstock rollout status {rollout} --watch`")
    return 0


def _to_staging(project: Project, engine: Engine, found: Found, options: argparse.Namespace) -> int:
    from penstock.registry.versions import TESTED_TAG
    from penstock.releases.adopting import release_for
    from penstock.releases.staging import stage

    made = release_for(project, engine, found)
    with progress_of(options) as progress:
        release = stage(
            project,
            engine,
            found.label,
            made.digest_of_model,
            made.features,
            progress,
            reason=options.reason,
        )
    if options.json:
        print_json(release.model_dump(mode="json") | {"manifest": made.digest})
    else:
        print(f"{release.url} serves {release.model} ({release.digest[:12]})")
        if TESTED_TAG not in found.tags:
            print("  it has not passed the integration tests, which `penstock run` makes")
    return 0


def _mend(project: Project, engine: Engine, options: argparse.Namespace) -> int:
    from penstock.registry.aliases import follow_the_ledger

    mended = follow_the_ledger(project, engine)
    for one in mended:
        recorded(project, "model.alias_mended", one.ledger, alias=one.alias, was=one.registry)
    if options.json:
        print_json([asdict(one) for one in mended])
    else:
        print("\n".join(f"{one.alias} is {one.ledger} again" for one in mended) or "all is right")
    return 0


def _served(engine: Engine) -> str:
    """The digest of production's champion; "" where nothing is served."""
    from penstock.rollout.service import baseline_of
    from penstock.state.routes import published

    return baseline_of(engine, PRODUCTION).digest if published(engine, PRODUCTION) else ""
