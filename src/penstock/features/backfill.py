"""Fills the online store interval by interval, side by side; what is done stays done.

What the store has is known by the store itself, so one that was lost is filled from the beginning.
Feast's own stores know nothing: for them Feast's registry has to be trusted.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from penstock.errors import UsageError
from penstock.features.definition import FEEDS_TAG
from penstock.features.feast_views import definition_of, is_parquet, readable
from penstock.features.filled import Span, covered_spans, knows_itself, noting
from penstock.features.materialise import BEGINNING, first_event, first_needed
from penstock.features.spans import gaps
from penstock.features.store import open_store, repository
from penstock.project import Project

WORKERS = 2
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    again: bool = False,
    quiet: bool = False,
) -> list[Interval]:
    """Materialises what the online store has not got yet, and gives those intervals.

    Without a start it begins with the first row that is needed. Nothing beyond the present is
    materialised. With `again`, intervals that are there are brought once more: rows that came late,
    and corrected ones. An interruption costs no more than the intervals that were under way.

    Raises `UsageError` for an unknown view, and a start after the end.
    """
    store = open_store(project.root)
    chosen = {view.name: view for view in _views(store, views)}
    end = min(end, datetime.now(UTC))
    tasks: list[list[Interval]] = []
    for view in chosen.values():
        there = covered_spans(store, view)
        begin = start or _first_needed(view, end, there)
        if start is None and not knows_itself(store):
            begin = there[-1][1] if there and not again else BEGINNING
        if begin > end:
            raise UsageError(
                f"{view.name} would be materialised from {begin:%Y-%m-%d %H:%M} to "
                f"{end:%Y-%m-%d %H:%M}",
                hint="give an end after the start, and a start that is past",
            )
        first = _first_row(project, view) if every and begin == BEGINNING else None
        work = in_turn(view.name, (begin, end), there, every, first or end, again=again)
        if not knows_itself(store):  # and takes what is written last for the newest
            work = [sorted(interval for task in work for interval in task)]
        tasks += work
    _Fill(store, chosen, quiet).all_of(tasks)
    return sorted(interval for task in tasks for interval in task)


def in_turn(
    view: str,
    wanted: Span,
    there: Sequence[Span],
    every: timedelta | None,
    first: datetime,
    *,
    again: bool = False,
) -> list[list[Interval]]:
    """What is missing of a span, as tasks that may be done side by side, first things first.

    After what is there, intervals follow one another, so that what is served lags behind but lacks
    nothing in between. Before it the latest comes first: windows give no value until they are
    complete. `first` is when the first row happened, for a span from the beginning of time.
    """
    start, end = wanted
    until = there[-1][1] if there else start
    missing = [(start, until), (until, end)] if again and start < until < end else [wanted]
    if not again:
        missing = gaps(start, end, there)
    intervals = [i for low, high in missing for i in split(view, low, high, every, first)]
    later = [i for i in intervals if there and i.start >= until]
    earlier = [i for i in intervals if i not in later]
    return [*filter(None, [later]), *([interval] for interval in earlier[::-1])]


def split(
    view: str, start: datetime, end: datetime, every: timedelta | None, first: datetime
) -> Iterator[Interval]:
    """The span in pieces of equal length, the last as long as it is left.

    The beginning of time belongs to the piece of the first row.
    """
    step = every or max(end - start, timedelta(microseconds=1))
    edge = max(start, min(first, end)) if start == BEGINNING else start
    while start < end:
        edge = min(edge + step, end)
        yield Interval(view, start, edge)
        start = edge


class _Fill:
    """Carries out what is planned."""

    def __init__(self, store: Any, views: dict[str, Any], quiet: bool) -> None:
        self._store, self._views, self._quiet = store, views, quiet
        self._one_at_a_time = threading.Lock()

    def all_of(self, tasks: list[list[Interval]]) -> None:
        """Raises what the first task that fails does; no more are begun then."""
        from tqdm import tqdm  # Feast's own

        total = sum(map(len, tasks))
        with (
            tqdm(total=total, unit=" intervals", disable=self._quiet or None) as bar,
            ThreadPoolExecutor(WORKERS) as pool,
        ):
            for _ in pool.map(lambda task: self._one_after_another(task, bar), tasks):
                pass

    def _one_after_another(self, task: list[Interval], bar: Any) -> None:
        for interval in task:
            view = self._views[interval.view]
            self._fill(view, interval)
            with self._one_at_a_time:  # Feast's registry is a file that is read and written again
                self._store.registry.apply_materialization(
                    view, self._store.project, interval.start, interval.end
                )
                bar.set_postfix_str(f"{interval.view} until {interval.end:%Y-%m-%d %H:%M}")
                bar.update()

    def _fill(self, view: Any, interval: Interval) -> None:
        from feast.infra.common.materialization_job import MaterializationTask
        from tqdm import tqdm

        store, provider = self._store, self._store._get_provider()

        def unseen(total: int) -> Any:
            return tqdm(total=total, disable=True)

        if hasattr(provider.batch_engine, "fill"):
            task = MaterializationTask(
                project=store.project,
                feature_view=view,
                start_time=interval.start,
                end_time=interval.end,
                tqdm_builder=unseen,
            )
            provider.batch_engine.fill(store.registry, task)
            return
        with noting(store, view, interval.start, interval.end):
            provider.materialize_single_feature_view(
                config=store.config,
                feature_view=view,
                start_date=interval.start,
                end_date=interval.end,
                registry=store.registry,
                project=store.project,
                tqdm_builder=unseen,
            )


def _first_needed(view: Any, end: datetime, there: Sequence[Span]) -> datetime:
    """Since when the store needs rows of a view; all there are where it has none."""
    definition = definition_of(view)
    if definition is not None and definition.aggregates:
        return first_needed(definition, end)
    return end - view.ttl if view.ttl and there else BEGINNING


def _first_row(project: Project, view: Any) -> datetime | None:
    """When the first row of a view happened, as far as Penstock can read its rows."""
    if definition_of(view) is None and not is_parquet(view):
        return EPOCH
    definition, rows = readable(view, repository(project.root), project.root)
    return first_event(rows, definition.source.timestamp)


def _views(store: Any, names: list[str] | None) -> list[Any]:
    there = [v for v in store.list_feature_views() if v.online and FEEDS_TAG not in v.tags]
    known = {view.name: view for view in there}
    if unknown := [name for name in names or () if name not in known]:
        raise UsageError(
            f"there is no online feature view {', '.join(unknown)}",
            hint=f"the views are: {', '.join(known) or 'none'}",
        )
    return [view for name, view in known.items() if not names or name in names]
