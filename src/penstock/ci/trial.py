"""A change, tried: the plan up to the model's gates, and what differs from the champion.

The run is recorded as any other is. Nothing is registered, deployed or promoted.
"""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from penstock.orchestrators.local import run_plan
from penstock.orchestrators.outcomes import RunOutcome, Watcher
from penstock.pipeline.plan import plan_of
from penstock.project import Project
from penstock.records import (
    DataReport,
    DatasetVersion,
    FeatureSet,
    GateReport,
    ModelReport,
    TrainedModel,
)
from penstock.registry.champions import champion_label
from penstock.releases.code_changes import commits_between, files_changed
from penstock.releases.differences import Difference, differences
from penstock.releases.history import Made, releases
from penstock.releases.making import Run, described
from penstock.releases.manifest import Manifest

LAST = "evaluate_model"
CHANGE = "this change"


@dataclass(frozen=True)
class Cost:
    """What a trial took."""

    seconds: float  # from its beginning to its end
    cpu_seconds: float  # of all its processes
    memory_bytes: int  # of the largest of them, at most
    data_bytes: int  # dataset, training set and model


@dataclass(frozen=True)
class Trial:
    """What came of a change."""

    project: str
    share: float  # of the data, 1 is all
    outcome: RunOutcome
    cost: Cost
    change: Manifest | None  # None: a step before the end failed
    champion: Made | None  # None: there is none, or what it rests on is not known
    champion_label: str
    differences: tuple[Difference, ...]
    commits: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.outcome.error is None

    @property
    def gates(self) -> tuple[tuple[str, GateReport], ...]:
        """Every gate that came to a verdict, a refused one too."""
        judged = ((step.step, step.record) for step in self.outcome.steps)
        return tuple((step, one) for step, one in judged if isinstance(one, GateReport))


def try_change(project: Project, engine: Engine, watcher: Watcher, until: str = LAST) -> Trial:
    """Runs the plan as it stands here, and compares."""
    before = _used()
    outcome = run_plan(plan_of(project), project, engine, watcher, until=until)
    label = champion_label(engine)
    champion = next((one for one in releases(engine) if one.label == label), None)
    change = _described(project, outcome)
    both = (champion.manifest, change) if champion and change else None
    return Trial(
        project=project.settings.project.name,
        share=project.settings.data.sample,
        outcome=outcome,
        cost=_cost(project, outcome, before),
        change=change,
        champion=champion,
        champion_label=label,
        differences=differences(*both) if both else (),
        commits=_commits(project, both),
        files=_files(project, both),
    )


def _described(project: Project, outcome: RunOutcome) -> Manifest | None:
    """What a release of the change would say; a model that a gate refused has one too."""
    kinds = (DatasetVersion, DataReport, FeatureSet, TrainedModel, ModelReport)
    found = [outcome.record(kind) for kind in kinds]
    if any(one is None for one in found):
        return None
    run = Run(outcome.run_id, datetime.now(UTC), *found)
    return described(project, CHANGE, run.trained.digest, run)


def _commits(project: Project, both: Sequence[Manifest] | None) -> tuple[str, ...]:
    codes = [one.code.commit for one in both or ()]
    return tuple(commits_between(project, *codes)) if codes else ()


def _files(project: Project, both: Sequence[Manifest] | None) -> tuple[str, ...]:
    bundles = [one.code.bundle for one in both or ()]
    return tuple(files_changed(project, *bundles)) if bundles else ()


def _used() -> float:
    """CPU seconds of this process and of those it has waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _cost(project: Project, outcome: RunOutcome, before: float) -> Cost:
    files = [
        project.absolute(getattr(step.record, field))
        for step in outcome.steps
        if step.record is not None
        for field in step.record.artifacts
    ]
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return Cost(outcome.seconds, _used() - before, largest, sum(map(_bytes, files)))


def _bytes(place: Path) -> int:
    files = place.rglob("*") if place.is_dir() else [place]
    return sum(file.stat().st_size for file in files if file.is_file())
