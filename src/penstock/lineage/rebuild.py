"""Lineage of what ran before it was kept: from the results that the cache of steps still holds."""

from __future__ import annotations

from pydantic import ValidationError
from sqlalchemy import Engine

from penstock.lineage.store import record_step
from penstock.records import from_json
from penstock.state.cache import StepCache


def rebuild(engine: Engine) -> tuple[int, int]:
    """Adds the lineage of every cached step; gives how many were read, and how many could not be.

    Nothing is taken out, and it may be repeated.
    """
    read = failed = 0
    for entry in StepCache(engine).all():
        try:
            record = from_json(entry.record)
        except (KeyError, ValidationError):  # of another version of Penstock
            failed += 1
            continue
        record_step(engine, entry.run_id, record, entry.inputs)
        read += 1
    return read, failed
