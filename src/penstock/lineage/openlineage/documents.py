"""Happenings as OpenLineage run events. Pure: the same happening is the same event.

Loaded by `sender` only, since it imports OpenLineage's classes. Each facet names the version of its
schema; the tests hold every kind of event against the published schemas.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from uuid import UUID, uuid5

from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    BaseFacet,
    JobFacet,
    RunFacet,
    error_message_run,
    job_type_job,
    nominal_time_run,
    ownership_job,
    parent_run,
    processing_engine_run,
    source_code_location_job,
    tags_run,
    test_run,
)

from penstock import __version__
from penstock.lineage.openlineage.datasets import namespace_of, read, written
from penstock.lineage.openlineage.happenings import Happening
from penstock.lineage.openlineage.source import CodeLocation
from penstock.records import DataReport, GateReport

RUNS = UUID("5f0f63b5-3a2c-5b6a-9a53-6d9c2f5f2f31")  # the namespace of the ids of runs
PRODUCER = f"urn:penstock:{__version__}"


def run_event(told: Happening, root: Path, owner: str, code: CodeLocation | None) -> RunEvent:
    """The event of a happening in the project at `root`."""
    event = RunEvent(
        eventType=RunState[told.state],
        eventTime=_time(told.at),
        run=Run(str(id_of(told)), _run_facets(told)),
        job=Job(namespace_of(told), job_name(told), _job_facets(told, owner, code)),
        inputs=read(told, root),
        outputs=written(told, root) if told.state == "COMPLETE" else [],
        producer=PRODUCER,
    )
    for facet in _facets_in(event):
        facet._producer = PRODUCER
    return event


def id_of(told: Happening, *, of_run: bool = False) -> UUID:
    """The same in every process that tells of a run: a run, and each attempt at a step, has one."""
    run = told.run
    parts = [run.project, run.environment, run.id]
    if told.step and not of_run:
        parts += [told.step, str(told.attempt)]
    return uuid5(RUNS, "\0".join(parts))


def job_name(told: Happening) -> str:
    return f"{told.run.project}.{told.step}" if told.step else told.run.project


def _run_facets(told: Happening) -> dict[str, RunFacet]:
    facets: dict[str, RunFacet] = {
        "nominalTime": nominal_time_run.NominalTimeRunFacet(_time(told.run.as_of)),
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            __version__, "Penstock", _library()
        ),
        "tags": tags_run.TagsRunFacet([_tag(*pair) for pair in _tags(told)]),
    }
    if told.step:
        facets["parent"] = _parent(told)
    if told.error is not None:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(_message(told), "PYTHON")
    # What validation found is said of the dataset itself; a model's gates are tests of the run.
    if isinstance(told.output, GateReport) and not isinstance(told.output, DataReport):
        facets["test"] = _tests(told.output)
    return facets


def _message(told: Happening) -> str:
    """Of a refused dataset, the names of its checks: what they observed may be values of rows."""
    if isinstance(told.output, DataReport):
        names = ", ".join(check.name for check in told.output.failures)
        return f"{len(told.output.failures)} of {len(told.output.checks)} checks failed: {names}"
    return "\n".join(filter(None, (told.error.message, told.error.hint))) if told.error else ""


def _parent(told: Happening) -> parent_run.ParentRunFacet:
    run, namespace, name = str(id_of(told, of_run=True)), namespace_of(told), told.run.project
    return parent_run.ParentRunFacet(
        parent_run.Run(run),
        parent_run.Job(namespace, name),
        parent_run.Root(parent_run.RootRun(run), parent_run.RootJob(namespace, name)),
    )


def _tests(report: GateReport) -> test_run.TestRunFacet:
    return test_run.TestRunFacet(
        [
            test_run.TestExecution(
                name=check.name,
                status="pass" if check.passed else "fail",
                severity="error",
                expected=check.expected,
                actual=check.observed,
            )
            for check in report.checks
        ]
    )


def _tags(told: Happening) -> list[tuple[str, str]]:
    """What Penstock itself calls the run, so that `penstock runs show` finds it."""
    tags = [("run", told.run.id), ("orchestrator", told.run.orchestrator)]
    if told.step:
        tags += [("attempt", str(told.attempt)), ("cached", str(told.cached).lower())]
    return tags


def _tag(key: str, value: str) -> tags_run.TagsRunFacetFields:
    return tags_run.TagsRunFacetFields(key, value, "PENSTOCK")


def _job_facets(told: Happening, owner: str, code: CodeLocation | None) -> dict[str, JobFacet]:
    facets: dict[str, JobFacet] = {
        "jobType": job_type_job.JobTypeJobFacet(
            "BATCH", "PENSTOCK", "STEP" if told.step else "PIPELINE"
        ),
        "ownership": ownership_job.OwnershipJobFacet([ownership_job.Owner(owner)]),
    }
    if code is not None:
        facets["sourceCodeLocation"] = source_code_location_job.SourceCodeLocationJobFacet(
            type="git",
            url=code.url,
            repoUrl=code.url,
            path=code.path or None,
            version=code.version,
            branch=code.branch or None,
        )
    return facets


def _facets_in(event: RunEvent) -> list[BaseFacet]:
    """All facets of an event; OpenLineage 1.54 gives them a producer of its own."""
    found: list[BaseFacet] = [
        *(event.run.facets or {}).values(),
        *(event.job.facets or {}).values(),
    ]
    for dataset in (*(event.inputs or ()), *(event.outputs or ())):
        own = getattr(dataset, "inputFacets", None) or getattr(dataset, "outputFacets", None)
        found += [*(dataset.facets or {}).values(), *(own or {}).values()]
    return found


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


@cache
def _library() -> str:
    return version("openlineage-python")
