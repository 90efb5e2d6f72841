"""`penstock data list|diff`: which versions the data has had, and what differs between two."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from penstock.cli.data import size
from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, table
from penstock.cli.progress import progress_of

if TYPE_CHECKING:
    from penstock.data.differences import FileDifference
    from penstock.data.history import DataVersion
    from penstock.data.tables import TableDifference

MARKS = {"added": "+", "removed": "-", "modified": "~"}


def list_versions(options: argparse.Namespace) -> int:
    from penstock.data.history import versions
    from penstock.state.database import open_database

    project = project_of(options)
    found = versions(project, open_database(project), options.path)
    if options.json:
        print_json([asdict(one) for one in found])
    elif not found:
        print("DVC tracks nothing here yet; `penstock data add PATH` or `penstock run` begin")
    else:
        heads = ("", "path", "revision", "rows", "size", "since", "commits", "runs")
        print(table(heads, [_row(one) for one in found]))
    return 0


def diff(options: argparse.Namespace) -> int:
    from penstock.data.differences import diff
    from penstock.state.database import open_database

    project = project_of(options)
    with progress_of(options) as progress:
        found = diff(
            project,
            open_database(project),
            progress,
            options.before,
            options.after,
            options.path,
        )
    if options.json:
        print_json(asdict(found))
        return 0
    if not found.files:
        print(f"{found.before} and {found.after}: nothing differs")
        return 0
    print(f"from {found.before} to {found.after}:")
    for one in found.files:
        print(f"{MARKS[one.change]} {one.path}{_revisions(one)}")
        if one.table is not None:
            print("\n".join(f"    {line}" for line in _lines(one.table)))
        elif one.absent:
            print("    not all of its bytes are on this machine; `penstock data pull` or checkout")
    return 0


def _row(one: DataVersion) -> tuple[str, ...]:
    return (
        "*" if one.present else "",
        one.path,
        one.short,
        "" if one.rows is None else f"{one.rows:,}",
        "" if one.bytes is None else size(one.bytes) + ("" if one.cached else " (remote)"),
        moment(one.at),
        _first(tuple(commit[:7] for commit in one.commits)),
        _first(one.runs),
    )


def _first(names: tuple[str, ...]) -> str:
    if len(names) <= 2:
        return ", ".join(names)
    return f"{', '.join(names[:2])} and {len(names) - 2} more"


def _revisions(one: FileDifference) -> str:
    return f"  {one.before[:8]} → {one.after[:8]}" if one.before and one.after else ""


def _lines(found: TableDifference) -> list[str]:
    rows = f"{found.rows_before:,} → {found.rows_after:,} rows: "
    rows += f"{found.rows_added:,} added, {found.rows_removed:,} removed"
    if found.rows_changed is not None:
        rows += f", {found.rows_changed:,} changed"
    lines = [rows]
    if found.columns_added:
        lines.append(f"columns added: {', '.join(found.columns_added)}")
    if found.columns_removed:
        lines.append(f"columns removed: {', '.join(found.columns_removed)}")
    lines += [f"column {name}: {how}" for name, how in found.columns_retyped.items()]
    changed = [
        name if count is None else f"{name} in {count:,} rows"
        for name, count in found.columns_changed.items()
    ]
    if changed:
        lines.append(f"values differ: {', '.join(changed)}")
    return lines
