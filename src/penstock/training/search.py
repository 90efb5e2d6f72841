"""The search for parameters: an Optuna study that a killed run resumes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.errors import SettingsError
from penstock.gates.metrics import SMALLER_IS_BETTER

Objective = Callable[[dict[str, Any]], float]


@dataclass(frozen=True)
class Trial:
    number: int
    params: dict[str, Any]
    value: float


@dataclass(frozen=True)
class SearchResult:
    best: dict[str, Any]
    value: float
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Dimension:
    """One line of `search: space:` in params.yaml."""

    name: str
    kind: str  # int, float, categorical
    low: float = 0
    high: float = 0
    log: bool = False
    choices: tuple[Any, ...] = ()

    def suggest(self, trial: Any) -> Any:
        match self.kind:
            case "int":
                return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
            case "float":
                return trial.suggest_float(self.name, self.low, self.high, log=self.log)
            case _:
                return trial.suggest_categorical(self.name, self.choices)


def space_of(search: Mapping[str, Any]) -> tuple[Dimension, ...]:
    """The search space in the section `search` of params.yaml. Raises `SettingsError`."""
    space = search.get("space") or {}
    if not isinstance(space, Mapping):
        raise SettingsError(
            f"params.yaml: search.space is {space!r}", hint="write one 'name: {type: …}' a line"
        )
    return tuple(_dimension(name, spec) for name, spec in space.items())


def run_search(
    objective: Objective,
    space: tuple[Dimension, ...],
    *,
    trials: int,
    metric: str,
    seed: int,
    journal: Path,
    progress: Callable[..., None],
) -> SearchResult:
    """Runs what is missing of `trials`, recording each in `journal`; the best of all."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    direction = "minimize" if metric in SMALLER_IS_BETTER else "maximize"
    study = optuna.create_study(
        study_name="search", storage=storage, direction=direction, load_if_exists=True
    )
    complete = optuna.trial.TrialState.COMPLETE
    done = study.get_trials(deepcopy=False, states=(complete,))
    # A resumed study must not repeat the draws of its first trials.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(done))
    for number in range(len(done), trials):
        best = f", best {metric} {study.best_value:.4f}" if done or number else ""
        progress(f"trial {number + 1} of {trials}{best}", number / trials)
        study.optimize(lambda t: objective({d.name: d.suggest(t) for d in space}), n_trials=1)
    finished = tuple(
        Trial(t.number, dict(t.params), float(t.value)) for t in study.trials if t.value is not None
    )
    return SearchResult(dict(study.best_params), float(study.best_value), finished)


def _dimension(name: str, spec: Any) -> Dimension:
    where = f"params.yaml: search.space.{name}"
    if not isinstance(spec, Mapping) or spec.get("type") not in {"int", "float", "categorical"}:
        raise SettingsError(
            f"{where} is {spec!r}",
            hint="write {type: int, low: 8, high: 64, log: true}, {type: float, …} or "
            "{type: categorical, choices: […]}",
        )
    unknown = set(spec) - {"type", "low", "high", "log", "choices"}
    if unknown:
        raise SettingsError(f"{where} has the unknown key {', '.join(sorted(unknown))}")
    if spec["type"] == "categorical":
        if not spec.get("choices"):
            raise SettingsError(f"{where} has no choices")
        return Dimension(name, "categorical", choices=tuple(spec["choices"]))
    low, high = spec.get("low"), spec.get("high")
    if not isinstance(low, int | float) or not isinstance(high, int | float) or low > high:
        raise SettingsError(f"{where}: low is {low!r} and high is {high!r}; low ≤ high is needed")
    if spec.get("log") and low <= 0:
        raise SettingsError(f"{where}: low is {low!r}; a logarithmic scale begins above 0")
    return Dimension(name, str(spec["type"]), low, high, bool(spec.get("log", False)))
