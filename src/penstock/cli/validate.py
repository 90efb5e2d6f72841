"""`penstock validate`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from penstock.cli.opening import project_of
from penstock.cli.output import print_json
from penstock.digests import file_digest, written_whole
from penstock.errors import UsageError
from penstock.project import Project


def validate(options: argparse.Namespace) -> int:
    project = project_of(options)
    parquet = _parquet(project, options.data)
    return (
        _suggest(project, parquet, options)
        if options.suggest
        else _check(project, parquet, options)
    )


def _suggest(project: Project, parquet: Path, options: argparse.Namespace) -> int:
    from penstock.validation.suggest import suggest

    suite = suggest(parquet, project.settings.data.name)
    if options.json:
        print_json(suite)
        return 0
    file = project.root / "expectations" / f"{project.settings.data.name}.json"
    if file.exists():
        file = file.with_name(f"{file.stem}.suggested.json")
    with written_whole(file) as part:
        part.write_text(json.dumps(suite, indent=2) + "\n", encoding="utf-8")
    print(f"drafted {len(suite['expectations'])} expectations into {file}")
    print("read them, keep those that should always hold, and delete the others")
    return 0


def _check(project: Project, parquet: Path, options: argparse.Namespace) -> int:
    import pyarrow.parquet as pq

    from penstock.frames.convert import columns_of
    from penstock.records import DatasetVersion, to_json
    from penstock.validation.suites import read_suites
    from penstock.validation.validate import render
    from penstock.validation.validate import validate as run_suites

    meta = pq.read_metadata(parquet)
    dataset = DatasetVersion(
        name=project.settings.data.name,
        path=str(parquet),
        digest=file_digest(parquet),
        dvc_md5="",
        remote="",
        rows=meta.num_rows,
        columns=columns_of(meta.schema.to_arrow_schema()),
        first_event=None,
        last_event=None,
    )
    suites = read_suites(project.root / "expectations")
    report = run_suites(dataset, parquet, suites, key=project.settings.data.key)
    if options.json:
        print_json(to_json(report) | {"passed": report.passed})
    else:
        print(render(report))
    return 0 if report.passed else 1


def _parquet(project: Project, named: str | None) -> Path:
    """The file to look at, as Parquet."""
    if named is None:
        path = project.root / "data" / f"{project.settings.data.name}.parquet"
        if not path.is_file():
            raise UsageError(
                "there is no dataset yet",
                hint="`penstock run --until extract_data` makes one, or name a file with --data",
            )
        return path
    path = Path(named)
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    if path.suffix == ".parquet":
        return path
    from penstock.frames.convert import as_table, write_parquet

    converted = project.folder / "validate" / f"{path.stem}.parquet"
    write_parquet(as_table(path, str(path)), converted)
    return converted
