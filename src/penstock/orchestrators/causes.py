"""What speaks for a run now: requests, reports, and data that was not extracted yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from sqlalchemy import Engine

from penstock.errors import IntegrityError
from penstock.monitoring.history import latest
from penstock.monitoring.report import Report
from penstock.monitoring.trigger_book import Book
from penstock.monitoring.triggers import Cause, Kind, causes_of
from penstock.pipeline.execution import cached, prepare
from penstock.pipeline.inputs import changes
from penstock.pipeline.plan import plan_of
from penstock.project import Project
from penstock.state import routes
from penstock.state.cache import StepCache

SOURCES = ("file ", "data ")  # inputs of the extract that are data, and not code or settings
SHOWN = 3  # of what changed


def causes_now(
    project: Project, engine: Engine, book: Book, reports: Iterable[Report]
) -> Iterator[Cause]:
    """All of them, those that counted already too."""
    yield from book.requests
    for report in (*reports, *of_served(engine)):
        yield from causes_of(report)
    if "data" in project.settings.triggers.on:
        yield from new_data(project, engine)


def of_served(engine: Engine) -> list[Report]:
    """The newest report of each kind at each endpoint, where it is about what is served there."""
    serving = {
        name: {str(release["model"]) for release in published.document["releases"].values()}
        for name, published in routes.endpoints(engine)
    }
    newest = {(one.kind, one.endpoint): one for one in latest(engine)}  # the newest last
    return [one for one in newest.values() if one.model in serving.get(one.endpoint, ())]


def new_data(project: Project, engine: Engine) -> Iterator[Cause]:
    """A cause where the files that the extract reads are others than those of the last dataset.

    None before the first run, which people start; nor where the sources are no files.
    """
    plan = plan_of(project)
    step = plan.step("extract_data")
    latest = StepCache(engine).latest(step.name)
    if latest is None or project.settings.data.refresh == "always":
        return
    prepared = prepare(plan, step, project, {}, engine)
    try:
        if cached(prepared, project, engine) is not None:
            return
    except IntegrityError:  # the dataset was changed by hand: a run says so, and mends nothing
        return
    finally:
        project.digests.save()
    then, now = (
        {name: value for name, value in inputs.items() if name.startswith(SOURCES)}
        for inputs in (latest.inputs, prepared.inputs)
    )
    if said := changes(then, now):
        more = f", and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
        yield Cause(
            kind=Kind.DATA,
            key=f"data/{prepared.key}",
            reason="; ".join(said[:SHOWN]) + more,
            at=datetime.now(UTC),
        )
