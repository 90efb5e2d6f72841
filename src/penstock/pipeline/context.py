"""What Penstock's own steps are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from penstock.authoring import Context
from penstock.pipeline.plan import Step
from penstock.project import Project

Progress = Callable[..., None]  # progress("tuning 3/12", 0.25)


@dataclass(frozen=True)
class StepContext:
    project: Project
    step: Step
    run_id: str
    as_of: datetime  # UTC
    key: str  # digest of the step's inputs: names what may be resumed
    scratch: Path
    progress: Progress
    database: Engine
    trigger: str = ""  # what started the run, as its row has it
    reason: str = ""

    @property
    def occasion(self) -> str:
        """What started the run, for people; empty: somebody did, and said no more."""
        return ": ".join(filter(None, (self.trigger, self.reason)))

    @property
    def tags(self) -> dict[str, str]:
        """What started the run, as MLflow has it."""
        told = {"penstock.trigger": self.trigger, "penstock.reason": self.reason}
        return {name: text for name, text in told.items() if text}

    def for_user(self, section: str) -> Context:
        """The context that the project's own functions see, with one section of params.yaml."""
        return Context(
            project=self.project.root,
            environment=self.project.environment,
            run_id=self.run_id,
            as_of=self.as_of,
            params=self.project.section(section),
            seed=self.project.seed,
            scratch=self.scratch,
            progress=self.progress,
            item=self.step.item,
        )

    def user_function(self, module: str, name: str) -> Callable[..., Any] | None:
        """A function of the project, None where it has none of that name."""
        if not (self.project.root / f"{module}.py").is_file():
            return None
        return getattr(self.project.module(module), name, None)
