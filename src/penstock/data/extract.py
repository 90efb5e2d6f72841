"""From what extract() gives to a dataset version: checked, written, tracked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from penstock.data.repository import remote_setting
from penstock.data.sampling import sampled
from penstock.data.versions import track
from penstock.frames.checks import event_bounds, require_rows, require_unique
from penstock.frames.convert import as_table, columns_of, write_parquet
from penstock.project import Project
from penstock.records import DatasetVersion


def version_dataset(
    value: Any, project: Project, as_of: datetime, source: str = "extract()"
) -> DatasetVersion:
    """Raises `DataError` before anything is written when the rows are not usable."""
    settings = project.settings.data
    table = as_table(value, source)
    require_rows(table, source)
    table = sampled(table, settings.sample, settings.sample_by)
    first, last = event_bounds(table, settings.event_time, as_of, settings.future_tolerance)
    require_unique(table, settings.key)
    path = project.root / "data" / f"{settings.name}.parquet"
    write_parquet(table, path)
    remote, explicit = remote_setting(project)
    version = track(project.root, path, remote, explicit=explicit)
    return DatasetVersion(
        name=settings.name,
        path=project.relative(path),
        digest=project.digests.of(path),
        dvc_md5=version.md5,
        remote=version.remote,
        rows=table.num_rows,
        columns=columns_of(table.schema),
        first_event=first,
        last_event=last,
    )
