"""The plan: the steps, their order, what each takes, gives and reads. Data, not code that runs.

Every orchestrator renders this. The standard plan is the seed of every project; steps marked with
`@step` in the project's pipeline.py are woven in where they say they belong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter

from penstock.errors import ProjectError
from penstock.pipeline.mapped import spread
from penstock.pipeline.source import CustomStep, custom_steps, imported_modules
from penstock.project import Project
from penstock.records import kind_named

STEPS = "penstock.pipeline.steps"


@dataclass(frozen=True)
class Step:
    name: str
    function: str  # module:name; called with a StepContext and the records it takes
    after: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()  # kinds of records, each the nearest one upstream
    gives: str = ""  # the kind of record it returns
    reads: tuple[str, ...] = ()  # settings, dotted
    code: tuple[str, ...] = ()  # functions of the project it runs, file:name, or whole files
    files: tuple[str, ...] = ()  # other files of the project it reads, as globs
    params: tuple[str, ...] = ()  # sections of params.yaml
    world: tuple[str, ...] = ()  # what it reads that no record holds: champion, as_of
    warm: tuple[str, ...] = ()  # heavy modules it will import
    ahead: str = ""  # module:function(project) that may be called before the step's turn
    custom: bool = False
    over: str = ""  # the list, in its section of params.yaml, that it runs once an item of
    item: str | int | None = None  # of NAME.ITEM: the one that this step is for

    @property
    def family(self) -> str:
        """NAME of NAME.ITEM."""
        return family_of(self.name)


def family_of(step: str) -> str:
    """What the steps of one mapped step have in common: their function, settings and task."""
    return step.partition(".")[0]


STANDARD_PLAN: tuple[Step, ...] = (
    Step(
        name="extract_data",
        function=f"{STEPS}.extract_data:extract_data",
        gives="DatasetVersion",
        reads=("data",),
        code=("pipeline.py:extract",),
        params=("seed", "extract"),
        world=("as_of",),
        warm=("pyarrow.parquet", "pandas", "dvc.repo"),
    ),
    Step(
        name="validate_data",
        function=f"{STEPS}.validate_data:validate_data",
        after=("extract_data",),
        takes=("DatasetVersion",),
        gives="DataReport",
        files=("expectations/*.json",),
        warm=("sqlalchemy", "scipy.stats", "altair", "great_expectations"),
    ),
    Step(
        name="feature_engineering",
        function=f"{STEPS}.feature_engineering:feature_engineering",
        after=("validate_data",),
        takes=("DatasetVersion",),
        gives="FeatureSet",
        reads=("features", "data.event_time"),
        code=("features.py",),
        files=("feature_store.yaml",),
        params=("features",),
        warm=("duckdb", "fastapi", "dask.dataframe", "penstock.features.quick_feast"),
    ),
    Step(
        name="train_model",
        function=f"{STEPS}.train_model:train_model",
        after=("feature_engineering",),
        takes=("FeatureSet", "DatasetVersion"),
        gives="TrainedModel",
        reads=("training", "registry.tracking_uri", "registry.model"),
        code=("pipeline.py:train",),
        params=("seed", "train", "search"),
        warm=("optuna", "sklearn.metrics", "lightgbm", "mlflow", "matplotlib.figure"),
    ),
    Step(
        name="evaluate_model",
        function=f"{STEPS}.evaluate_model:evaluate_model",
        after=("train_model",),
        takes=("FeatureSet", "TrainedModel"),
        gives="ModelReport",
        reads=("gates.model", "gates.champion", "training.threshold", "training.trusted_types"),
        code=("pipeline.py:evaluate",),
        world=("champion",),
    ),
    Step(
        name="register_model",
        function=f"{STEPS}.register_model:register_model",
        after=("evaluate_model",),
        takes=("DatasetVersion", "DataReport", "FeatureSet", "TrainedModel", "ModelReport"),
        gives="ModelVersion",
        reads=("registry.tracking_uri", "registry.model", "project.name"),
    ),
    Step(
        name="deploy_to_staging",
        function=f"{STEPS}.deploy_to_staging:deploy_to_staging",
        after=("register_model",),
        takes=("FeatureSet", "ModelVersion"),
        gives="Release",
        reads=("serving", "training.trusted_types"),
        ahead=f"{STEPS}.deploy_to_staging:start_endpoint",
    ),
    Step(
        name="run_integration_tests",
        function=f"{STEPS}.run_integration_tests:run_integration_tests",
        after=("deploy_to_staging",),
        takes=("FeatureSet", "TrainedModel", "Release"),
        gives="IntegrationReport",
        reads=("gates.integration", "load_test", "training.trusted_types"),
    ),
    Step(
        name="notify_team",
        function=f"{STEPS}.notify_team:notify_team",
        after=("run_integration_tests",),
        takes=("DatasetVersion", "ModelReport", "ModelVersion", "Release", "IntegrationReport"),
        gives="Notice",
        reads=("notify", "project"),
        warm=("apprise",),
    ),
)


@dataclass(frozen=True)
class Plan:
    """Steps in an order in which each stands behind all that it needs."""

    steps: tuple[Step, ...]

    def step(self, name: str) -> Step:
        for step in self.steps:
            if step.name == name:
                return step
        known = ", ".join(step.name for step in self.steps)
        raise ProjectError(f"no step is called {name!r}", hint=f"the steps are: {known}")

    def upstream(self, step: Step) -> tuple[Step, ...]:
        """All steps before this one, nearest first; of equally near ones the later first."""
        found: dict[str, Step] = {}
        ring = [step]
        while ring:
            names = {name for member in ring for name in member.after} - set(found)
            ring = [member for member in reversed(self.steps) if member.name in names]
            found |= {member.name: member for member in ring}
        return tuple(found.values())

    def downstream(self, name: str) -> set[str]:
        """The names of all steps that rest on this one."""
        return {s.name for s in self.steps if name in {u.name for u in self.upstream(s)}}

    def until(self, name: str | None) -> tuple[Step, ...]:
        """The steps that a run up to this one takes; all of them without a name."""
        if not name:
            return self.steps
        last = self.step(name)
        names = {last.name} | {step.name for step in self.upstream(last)}
        return tuple(step for step in self.steps if step.name in names)

    def sources(self, step: Step) -> dict[str, str]:
        """For each kind of record the step takes, the step that makes it."""
        makers: dict[str, str] = {}
        for kind in step.takes:
            maker = next((up.name for up in self.upstream(step) if up.gives == kind), None)
            if maker is None:
                made = ", ".join(sorted({up.gives for up in self.upstream(step) if up.gives}))
                raise ProjectError(
                    f"step {step.name} takes a {kind}, and nothing before it makes one",
                    hint=f"upstream there is: {made or 'nothing'}; move it with @step(after=…)",
                )
            makers[kind] = maker
        return makers

    def needs(self, step: Step) -> list[str]:
        """The steps whose records it is given, by name: those that it takes, and stands behind."""
        return sorted({*self.sources(step).values(), *step.after})


def plan_of(project: Project) -> Plan:
    """The standard plan with the project's own steps in it. Runs none of the project's code."""
    woven = weave(STANDARD_PLAN, custom_steps(project.root / "pipeline.py"))
    imported = imported_modules(project.root / "pipeline.py")
    fitted = [_fitted(step, project, imported) for step in woven.steps]
    plan = Plan(spread(fitted, project))
    for step in plan.steps:  # an impossible plan is refused before anything runs
        plan.sources(step)
        _require_known(step)
    return plan


def weave(standard: Iterable[Step], own: Sequence[CustomStep]) -> Plan:
    """Places custom steps: after what they name, and before what they name."""
    steps = {step.name: step for step in standard}
    for custom in own:
        if custom.name in steps:
            raise ProjectError(
                f"pipeline.py:{custom.line}: a step called {custom.name!r} exists already",
                hint="rename the function",
            )
        steps[custom.name] = Step(
            name=custom.name,
            function=f"{STEPS}.custom_step:custom_step",
            after=(custom.after,) if custom.after else (),
            takes=custom.takes,
            gives=custom.gives,
            code=(f"pipeline.py:{custom.name}",),
            params=("seed", custom.name),
            custom=True,
            over=custom.over,
        )
    for custom in own:
        for name in filter(None, (custom.after, custom.before)):
            if name not in steps:
                raise ProjectError(
                    f"pipeline.py:{custom.line}: @step of {custom.name!r} names {name!r}, "
                    "which is no step",
                    hint=f"the steps are: {', '.join(steps)}",
                )
        if custom.before:
            target = steps[custom.before]
            steps[custom.before] = replace(target, after=(*target.after, custom.name))
    return Plan(_sorted(steps))


def _require_known(step: Step) -> None:
    try:
        kind_named(step.gives or "StepDone")
    except KeyError:
        raise ProjectError(
            f"step {step.name} gives a {step.gives}, which is no record that Penstock knows",
            hint="return one of the records of penstock.records, or nothing",
        ) from None


def _sorted(steps: Mapping[str, Step]) -> tuple[Step, ...]:
    sorter = TopologicalSorter({name: step.after for name, step in steps.items()})
    try:
        return tuple(steps[name] for name in sorter.static_order())
    except CycleError as error:
        raise ProjectError(
            f"the steps wait for each other in a circle: {' → '.join(error.args[1])}",
            hint="correct the after= or before= of one of them",
        ) from None


def _fitted(step: Step, project: Project, imported: tuple[str, ...]) -> Step:
    """What of a step depends on the project: its sources, and what its code imports."""
    if step.name == "extract_data":
        step = replace(step, files=project.settings.data.sources)
    if step.name == "feature_engineering" and not (project.root / "features.py").is_file():
        step = replace(step, warm=())
    if any(code.startswith("pipeline.py:") for code in step.code):
        step = replace(step, warm=step.warm + imported)
    return step
