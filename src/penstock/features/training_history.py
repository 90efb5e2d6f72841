"""Training sets for whoever asks: rows with keys and times, and the features as they stood then."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa

from penstock.digests import file_digest
from penstock.errors import DataError
from penstock.features.facts import connect
from penstock.features.origins import Origin, meaning_digest, source_origins
from penstock.features.store import feature_names, open_store, service_for
from penstock.features.training_set import TIME, point_in_time_join
from penstock.frames.checks import require_distinct_names
from penstock.frames.convert import write_parquet
from penstock.project import Project
from penstock.records import Record


class History(Record):
    """A training set in a file: its own digest, and those of what it was made of."""

    path: str
    digest: str  # of the file
    rows: int
    features: tuple[str, ...]
    service: str
    definitions: str  # what the features mean: views, on-demand code and their choice together
    sources: tuple[Origin, ...]  # each by its content, or with the reason why not


def write_history(
    project: Project, rows: pa.Table | str, output: str, service: str | None = None
) -> History:
    """Writes one row for each row asked, in its order; `rows` is a table or a query.

    What it was made of is written beside it, as `OUTPUT.json`. Raises `DataError` when the rows
    have no keys or times, or when a source cannot be read.
    """
    store = open_store(project.root)
    chosen = service_for(store, project.settings, service)
    asked = rows if isinstance(rows, pa.Table) else _queried(project, rows)
    require_distinct_names(asked, "the rows asked about")
    found = point_in_time_join(store, chosen, asked, TIME)
    definitions = meaning_digest(store, chosen)
    sources = source_origins(project.root, store, chosen)
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(found, path)
    written = History(
        path=str(path),
        digest=file_digest(path),
        rows=found.num_rows,
        features=tuple(feature_names(chosen)),
        service=chosen.name,
        definitions=definitions,
        sources=sources,
    )
    path.with_suffix(path.suffix + ".json").write_text(
        written.model_dump_json(indent=2) + "\n", encoding="utf-8"
    )
    return written


def _queried(project: Project, query: str) -> pa.Table:
    hint = f"it must give the entities' keys and a column {TIME}"
    try:
        relation = connect(project.root).sql(query)
        if relation is None:  # DuckDB has no result of an empty text, or of what asks nothing
            raise DataError(f"the query {query!r} asks for no rows", hint=f"write a SELECT: {hint}")
        return relation.to_arrow_table()
    except duckdb.Error as error:
        raise DataError(
            f"DuckDB cannot answer the query for the rows: {str(error).splitlines()[0]}", hint=hint
        ) from error
