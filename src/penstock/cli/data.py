"""`penstock data add|push|pull|checkout|gc`: the data's versions, kept by DVC."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from penstock.cli.opening import project_of
from penstock.cli.output import print_json, table
from penstock.cli.progress import progress_of
from penstock.cli.recording import recorded
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.data.workspace import Changes

Progress = Callable[..., None]


def add(options: argparse.Namespace) -> int:
    from penstock.data.workspace import add

    project = project_of(options)
    with progress_of(options) as progress:
        added = add(project, options.path, progress)
    for one in added:
        if one.changed:
            recorded(project, "data.added", one.path, md5=one.revision, files=one.files)
    if options.json:
        print_json([asdict(one) for one in added])
        return 0
    rows = [
        (one.path, one.revision[:8], size(one.bytes), one.files, "" if one.changed else "as before")
        for one in added
    ]
    print(table(("path", "revision", "size", "files", ""), rows))
    print("next: penstock data push; git add the .dvc files and .gitignore, and commit them")
    return 0


def push(options: argparse.Namespace) -> int:
    from penstock.data.transfers import push

    _require_jobs(options.jobs)
    project = project_of(options)
    with progress_of(options) as progress:
        done = push(project, options.path, progress, remote=options.remote, jobs=options.jobs)
    if done.pushed:
        recorded(project, "data.pushed", done.remote, objects=done.pushed, bytes=done.bytes)
    if options.json:
        print_json(asdict(done))
    else:
        sent = f"{done.pushed:,} objects pushed ({size(done.bytes)})"
        sent = sent if done.pushed else "nothing new"
        print(f"{sent}, {done.there:,} were there: {done.remote}")
    return 0


def pull(options: argparse.Namespace) -> int:
    from penstock.data.transfers import pull

    _require_jobs(options.jobs)
    with progress_of(options) as progress:
        done = pull(
            project_of(options),
            options.path,
            progress,
            remote=options.remote,
            jobs=options.jobs,
            force=options.force,
        )
    if options.json:
        print_json(asdict(done))
        return 0
    got = f"{done.fetched:,} objects fetched ({size(done.bytes)})"
    print(f"{got if done.fetched else 'nothing new'} from {done.remote}")
    for healed in done.healed:
        print(f"was damaged in the cache, and is sound again: {healed}")
    _print_changes(done.files)
    return 0


def checkout(options: argparse.Namespace) -> int:
    from penstock.data.checkout import checkout
    from penstock.state.database import open_database

    project = project_of(options)
    with progress_of(options) as progress:
        done = checkout(
            project,
            open_database(project),
            progress,
            options.revision,
            options.path,
            force=options.force,
        )
    for one in done.moved:
        recorded(project, "data.checked_out", one.path, before=one.before, after=one.after)
    if options.json:
        print_json(asdict(done))
        return 0
    _print_changes(done.files)
    for one in done.moved:
        print(f"{one.path}: {one.before[:8] or 'nothing'} → {one.after[:8]}")
        if not one.noted:
            print("  dvc.lock notes the version before still; `dvc checkout` brings it back")
    if not (done.moved or any(asdict(done.files).values())):
        print("everything is in place")
    return 0


def collect(options: argparse.Namespace) -> int:
    from penstock.data.collection import collect
    from penstock.state.database import open_database

    if options.runs < 0:
        raise UsageError(f"--runs is {options.runs}", hint="write 0 or more")
    project = project_of(options)
    with progress_of(options) as progress:
        done = collect(
            project,
            open_database(project),
            progress,
            runs=options.runs,
            cloud=options.cloud or options.remote is not None,
            remote=options.remote,
            delete=options.yes,
            shared=options.shared,
        )
    if options.json:
        print_json(asdict(done))
        return 0
    verb = "deleted" if done.deleted else "would be deleted"
    print(f"{done.objects:,} objects of the cache ({size(done.bytes)}) {verb}")
    if done.remote:
        print(f"{done.remote_objects:,} objects at {done.remote} {verb}")
    if not done.deleted and (done.objects or done.remote_objects):
        print("  → --yes deletes them")
    return 0


def size(count: int) -> str:
    """Bytes as people say them: 1.5 MB."""
    value, units = float(count), ("B", "kB", "MB", "GB")
    for unit in units:
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def _require_jobs(jobs: int | None) -> None:
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs is {jobs}", hint="write 1 or more")


def _print_changes(changes: Changes) -> None:
    for kind, mark in (("added", "+"), ("modified", "~"), ("deleted", "-")):
        for path in getattr(changes, kind):
            print(f"{mark} {path}")
