"""Which runs used which versions of the data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, select

from penstock.state.tables import steps


@dataclass(frozen=True)
class DatasetUse:
    """One version of a dataset, as the records of the runs tell of it."""

    path: str
    md5: str  # DVC's name for its bytes
    rows: int
    first_used: datetime  # UTC
    runs: tuple[str, ...]  # newest first


def dataset_uses(database: Engine) -> list[DatasetUse]:
    """All versions that a step of any run gave, the one used last first."""
    kind = steps.c.record["kind"].as_string()
    query = (
        select(steps.c.run_id, steps.c.started_at, steps.c.record)
        .where(kind == "DatasetVersion")
        .order_by(steps.c.started_at.desc())
    )
    found: dict[tuple[str, str], DatasetUse] = {}
    with database.connect() as connection:
        for run, at, record in connection.execute(query):
            key = (record["path"], record["dvc_md5"])
            runs = found[key].runs if key in found else ()
            again = () if run in runs else (run,)
            found[key] = DatasetUse(*key, int(record["rows"]), at, (*runs, *again))
    return list(found.values())
