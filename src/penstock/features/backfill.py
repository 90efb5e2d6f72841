"""Fills the online store interval by interval, side by side; what is done stays done."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from penstock.errors import UsageError
from penstock.features.definition import FEEDS_TAG
from penstock.features.store import open_store
from penstock.project import Project

WORKERS = 2
EPOCH = datetime(1970, 1, 2, tzinfo=UTC)


class Interval(NamedTuple):
    """A view's span of event time, closed at both ends; UTC."""

    view: str
    start: datetime
    end: datetime


def backfill(
    project: Project,
    start: datetime | None,
    end: datetime,
    every: timedelta | None,
    views: list[str] | None,
    *,
    quiet: bool = False,
) -> list[Interval]:
    """Materialises what was not materialised yet, and gives those intervals.

    Without a start it goes on where each view's last interval ended, or begins with its first row.
    Feast's registry remembers every interval when it is done, so an interruption costs no more than
    those that were under way.
    """
    store = open_store(project.root)
    chosen = {view.name: view for view in _views(store, views)}
    pending = [
        interval
        for view in chosen.values()
        for interval in split(view.name, start or view.most_recent_end_time or EPOCH, end, every)
        if not _covered(view.materialization_intervals, interval)
    ]
    with _progress(len(pending), quiet) as bar, ThreadPoolExecutor(WORKERS) as pool:
        for done in pool.map(lambda i: _fill(store, chosen[i.view], i), pending):
            # By one thread only: Feast's registry is a file that is read, changed and written.
            store.registry.apply_materialization(
                chosen[done.view], store.project, done.start, done.end
            )
            bar.set_postfix_str(f"{done.view} until {done.end:%Y-%m-%d %H:%M}")
            bar.update()
    return pending


def _progress(total: int, quiet: bool) -> Any:
    from tqdm import tqdm  # Feast's own

    return tqdm(total=total, unit=" intervals", disable=quiet or None)


def split(view: str, start: datetime, end: datetime, every: timedelta | None) -> Iterator[Interval]:
    """The span in pieces of equal length, the last as long as it is left."""
    if start > end:
        raise UsageError(
            f"{view} would be materialised from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}",
            hint="give an end after the start",
        )
    step = every or (end - start) or timedelta(seconds=1)
    while start < end:
        yield Interval(view, start, min(start + step, end))
        start += step


def _covered(done: list[tuple[datetime, datetime]], interval: Interval) -> bool:
    return any(low <= interval.start and interval.end <= high for low, high in done)


def _fill(store: Any, view: Any, interval: Interval) -> Interval:
    from tqdm import tqdm

    store._get_provider().materialize_single_feature_view(
        config=store.config,
        feature_view=view,
        start_date=interval.start,
        end_date=interval.end,
        registry=store.registry,
        project=store.project,
        tqdm_builder=lambda total: tqdm(total=total, disable=True),
    )
    return interval


def _views(store: Any, names: list[str] | None) -> list[Any]:
    there = [v for v in store.list_feature_views() if v.online and FEEDS_TAG not in v.tags]
    known = {view.name: view for view in there}
    if unknown := [name for name in names or () if name not in known]:
        raise UsageError(
            f"there is no online feature view {', '.join(unknown)}",
            hint=f"the views are: {', '.join(known) or 'none'}",
        )
    return [view for name, view in known.items() if not names or name in names]
