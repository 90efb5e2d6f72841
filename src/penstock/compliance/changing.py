"""Brings together what a change dossier is made from: two versions, and what lies between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Engine

from penstock.compliance.facts import Facts
from penstock.compliance.issuing import fields_on_record, issue
from penstock.data.differences import FileDifference, diff
from penstock.errors import PenstockError
from penstock.project import Project
from penstock.records import DatasetVersion
from penstock.registry.versions import Found
from penstock.releases.code_changes import commits_between, files_changed
from penstock.releases.differences import Difference, differences
from penstock.releases.manifest import Manifest
from penstock.training.comparison import Row, compare
from penstock.training.experiments import directions, find_runs


@dataclass(frozen=True)
class Change:
    """From one version to another."""

    before: Facts
    after: Facts
    data: tuple[FileDifference, ...]
    no_data: str  # why the datasets could not be compared; empty: they were
    differences: tuple[Difference, ...]  # between the two releases
    commits: tuple[str, ...]
    files: tuple[str, ...]
    metrics: tuple[Row, ...]
    fields: Mapping[str, str]  # digests of the owned fields as first put on record with `before`


def change(project: Project, engine: Engine, before: Found, after: Found) -> Change:
    """Puts both versions on record, and compares them."""
    fields = fields_on_record(engine, before.label)
    old, new = (one.facts for one in issue(project, engine, before, after))
    data, no_data = _data(project, engine, old, new)
    releases = (old.release, new.release) if old.release and new.release else None
    return Change(
        before=old,
        after=new,
        data=data,
        no_data=no_data,
        differences=differences(*releases) if releases else (),
        commits=_commits(project, *releases) if releases else (),
        files=_files(project, *releases) if releases else (),
        metrics=_metrics(project, old, new),
        fields=fields or {name: known.answer.digest for name, known in old.owned.items()},
    )


def _data(
    project: Project, engine: Engine, old: Facts, new: Facts
) -> tuple[tuple[FileDifference, ...], str]:
    """Rows and columns, counted where both versions of the data are on this machine."""
    one, other = old.record(DatasetVersion), new.record(DatasetVersion)
    if one is None or other is None:
        return (), "no run says which data a version was made from"
    if one.digest == other.digest:
        return (), ""
    try:
        found = diff(project, engine, lambda *_: None, one.dvc_md5, other.dvc_md5)
    except PenstockError as error:
        return (), error.message
    return found.files, ""


def _commits(project: Project, old: Manifest, new: Manifest) -> tuple[str, ...]:
    return tuple(commits_between(project, old.code.commit, new.code.commit))


def _files(project: Project, old: Manifest, new: Manifest) -> tuple[str, ...]:
    return tuple(files_changed(project, old.code.bundle, new.code.bundle))


def _metrics(project: Project, old: Facts, new: Facts) -> tuple[Row, ...]:
    try:
        runs = find_runs(project, [old.label, new.label])
    except PenstockError:
        return ()  # another tool made one of them, and not in this experiment
    rows = compare(runs, directions(project)).rows
    return tuple(row for row in rows if row.kind == "metric")
