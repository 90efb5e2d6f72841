"""The plan up to the model's evaluation as stages of a `dvc.yaml`: prepare, featurize, train,
evaluate, and each step of the project's own that follows none but these.

Every stage runs `penstock data stage NAME`. It leaves its records in `stages/NAME.json`, on which
later stages depend, and beside it what the records name: training set, model, metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.errors import ProjectError
from penstock.pipeline.inputs import matching
from penstock.pipeline.plan import Plan, Step
from penstock.pipeline.source import code_digests
from penstock.project import SETTINGS_FILE, Project

FOLDER = "stages"
LAST_STEPS = {
    "prepare": "validate_data",
    "featurize": "feature_engineering",
    "train": "train_model",
    "evaluate": "evaluate_model",
}
# What of a step's record is laid out as the stage's output, by kind of record.
LAID_OUT = {"FeatureSet": "training_set.parquet", "TrainedModel": "model"}
METRICS = {"TrainedModel": "train_metrics.json", "ModelReport": "metrics.json"}
GLOBS = set("*?[")


@dataclass(frozen=True)
class Stage:
    name: str
    steps: tuple[Step, ...]  # in the plan's order

    @property
    def records(self) -> str:
        """The file that holds its records, relative to the project."""
        return f"{FOLDER}/{self.name}.json"


def stages_of(plan: Plan) -> tuple[Stage, ...]:
    """The stages in an order in which each stands behind all that it needs.

    Raises `ProjectError` where a step of the project's own has the name of a stage.
    """
    placed: dict[str, str] = {}  # step -> stage
    found = []
    for name, last in LAST_STEPS.items():
        step = plan.step(last)
        names = {last, *(up.name for up in plan.upstream(step))} - set(placed)
        found.append(Stage(name, tuple(s for s in plan.steps if s.name in names)))
        placed |= dict.fromkeys(names, name)
    for step in plan.steps:
        beyond = {up.name for up in plan.upstream(step)} - set(placed)
        if step.custom and step.name not in placed and not beyond:
            family = tuple(one for one in plan.steps if one.family == step.family)
            found.append(Stage(step.family, family))
            placed |= {one.name: step.family for one in family}
    for step in plan.steps:
        if step.custom and step.name in LAST_STEPS:
            raise ProjectError(
                f"the step {step.name!r} has the name of a stage of dvc.yaml",
                hint="rename the function in pipeline.py",
            )
    return tuple(found)


def rendered(plan: Plan, project: Project) -> dict[str, dict[str, Any]]:
    """The stages as `dvc.yaml` has them, by name."""
    stages = stages_of(plan)
    makers = {step.name: stage for stage in stages for step in stage.steps}
    return {stage.name: _rendered(stage, plan, project, makers) for stage in stages}


def needed(stage: Stage, plan: Plan) -> tuple[str, ...]:
    """The steps of other stages whose records this one reads."""
    own = {step.name for step in stage.steps}
    found = {name: None for step in stage.steps for name in plan.sources(step).values()}
    found |= {name: None for step in stage.steps for name in step.after}
    return tuple(name for name in found if name not in own)


def laid_out(record_kind: str) -> str | None:
    """Where the file or folder that a record names lies among the stages' outputs."""
    return f"{FOLDER}/{LAID_OUT[record_kind]}" if record_kind in LAID_OUT else None


def metrics_file(record_kind: str) -> str | None:
    return f"{FOLDER}/{METRICS[record_kind]}" if record_kind in METRICS else None


def dataset_file(project: Project) -> str:
    return f"data/{project.settings.data.name}.parquet"


def _rendered(
    stage: Stage, plan: Plan, project: Project, makers: Mapping[str, Stage]
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "cmd": f"penstock data stage {stage.name} --environment {project.environment}",
        "deps": sorted(_dependencies(stage, plan, project, makers)),
        "params": _parameters(stage, project),
        "outs": [
            {stage.records: {"cache": False}},
            *(_output(step, project) for step in stage.steps if _output(step, project)),
        ],
        "metrics": [
            {file: {"cache": False}}
            for step in stage.steps
            if (file := metrics_file(step.gives)) is not None
        ],
        "meta": {"penstock": True},  # says that this stage may be written anew
    }
    return {key: value for key, value in described.items() if value}


def _output(step: Step, project: Project) -> Any:
    if step.name == "extract_data":
        # It stays until the step replaces it: DVC would delete it, and a cached step would not
        # be cached any more.
        return {dataset_file(project): {"persist": True}}
    return laid_out(step.gives)


def _dependencies(
    stage: Stage, plan: Plan, project: Project, makers: Mapping[str, Stage]
) -> set[str]:
    """Files and folders: code, what the steps read beside it, and what other stages made."""
    found: set[str] = set()
    for step in stage.steps:
        found |= set(_code(step, project))
        for pattern in step.files:
            found |= set(_matched(pattern, project))
    for name in needed(stage, plan):
        found.add(makers[name].records)
        maker = plan.step(name)
        made = dataset_file(project) if name == "extract_data" else laid_out(maker.gives)
        found |= {made} if made else set()
    return found


def _code(step: Step, project: Project) -> Iterator[str]:
    """The files of a step's code: the one named, though it lacks the function yet, and imports."""
    for code in step.code:
        name = code.partition(":")[0]
        if (project.root / name).is_file():
            yield name
        for digest in code_digests(project.root, code):
            yield digest.removeprefix("code ").partition(":")[0]


def _matched(pattern: str, project: Project) -> list[str]:
    """A pattern's files; the folder they lie in, where it is for them alone, so that new ones
    are seen too."""
    folder, _, rest = pattern.rpartition("/")
    plain = not GLOBS & set(folder)
    if GLOBS & set(rest) and plain and folder not in ("", "data") and not pattern.startswith("/"):
        return [folder] if (project.root / folder).is_dir() else []
    if not GLOBS & set(pattern):
        return [pattern.rstrip("/")] if project.absolute(pattern).exists() else []
    files = matching(project, pattern)
    return [str(f) if pattern.startswith("/") else project.relative(f) for f in files]


def _parameters(stage: Stage, project: Project) -> list[Any]:
    """Sections of params.yaml, and the settings.

    DVC refuses a section that is not there, and would not see one that is added: such a stage
    depends on the whole file. So does every stage on all settings: what is not written has a
    default, and is no less read. Penstock's own cache knows better which of them a step reads.
    """
    wanted: Sequence[str] = sorted({name for step in stage.steps for name in step.params})
    found: list[Any] = []
    if wanted and (project.root / "params.yaml").is_file():
        whole = any(name not in project.params for name in wanted)
        found += [{"params.yaml": None}] if whole else list(wanted)
    return [*found, {SETTINGS_FILE: None}]
