"""Training sets for whoever asks: rows with keys and times, and the features as they stood then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from penstock.digests import file_digest
from penstock.errors import DataError
from penstock.features.facts import connect
from penstock.features.feast_views import definition_of
from penstock.features.store import feature_names, open_store, service_for, views_behind
from penstock.features.training_set import TIME, point_in_time_join
from penstock.frames.convert import write_parquet
from penstock.project import Project
from penstock.records import Record, digest_of


class History(Record):
    """A training set in a file: its own digest, and those of what it was made of."""

    path: str
    digest: str  # of the file
    rows: int
    features: tuple[str, ...]
    service: str
    definitions: str  # of all views together
    sources: dict[str, str]  # of each file read; a query by its text


def write_history(
    project: Project, rows: pa.Table | str, output: str, service: str | None = None
) -> History:
    """Writes one row for each row asked, in its order; `rows` is a table or a query.

    What it was made of is written beside it, as `OUTPUT.json`. Raises `DataError` when the rows
    have no keys or times.
    """
    store = open_store(project.root)
    chosen = service_for(store, project.settings, service)
    asked = rows if isinstance(rows, pa.Table) else _queried(project, rows)
    found = point_in_time_join(store, chosen, asked, TIME)
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(found, path)
    written = History(
        path=str(path),
        digest=file_digest(path),
        rows=found.num_rows,
        features=tuple(feature_names(chosen)),
        service=chosen.name,
        **origins(project, store, chosen),
    )
    path.with_suffix(path.suffix + ".json").write_text(
        written.model_dump_json(indent=2) + "\n", encoding="utf-8"
    )
    return written


def origins(project: Project, store: Any, service: Any) -> dict[str, Any]:
    """The digests of a service's definitions and of the sources behind them."""
    found = {view.name: definition_of(view) for view in views_behind(store, service)}
    definitions = {name: view for name, view in found.items() if view}
    sources = {
        view.source.name: _source_digest(project, view.source.kind, view.source.location)
        for view in definitions.values()
    }
    digests = {name: view.digest for name, view in definitions.items()}
    return {"definitions": digest_of(digests), "sources": sources}


def _source_digest(project: Project, kind: str, location: str) -> str:
    path = project.root / location
    if kind == "query" or "://" in location:
        return digest_of(location)
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    return digest_of([file_digest(file) for file in files])


def _queried(project: Project, query: str) -> pa.Table:
    try:
        return connect(project.root).sql(query).to_arrow_table()
    except duckdb.Error as error:
        raise DataError(
            f"DuckDB cannot answer the query for the rows: {str(error).splitlines()[0]}",
            hint=f"it must give the entities' keys and a column {TIME}",
        ) from error
