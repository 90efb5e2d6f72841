"""What a run looks like while it goes on: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
from typing import Any, Self, TextIO

from penstock.cli.output import MARKS, seconds
from penstock.cli.sentences import sentence
from penstock.orchestrators.outcomes import RunOutcome, StepOutcome
from penstock.pipeline.plan import Plan
from penstock.project import Project
from penstock.records import Notice, Release


def watcher_for(project: Project, plan: Plan, *, as_json: bool, terminal: bool) -> PlainWatcher:
    """Plain lines go to standard error, so that `--json` leaves standard output to the result."""
    if terminal and not as_json:
        return LiveWatcher(project, plan)
    return PlainWatcher(project, plan, sys.stderr if as_json else sys.stdout)


class PlainWatcher:
    """A line when a step starts to work, a line when it ends."""

    def __init__(self, project: Project, plan: Plan, stream: TextIO = sys.stdout) -> None:
        self.project = project
        self.width = max(len(step.name) for step in plan.steps)
        self.stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def run_started(self, run_id: str, steps: list[str]) -> None:
        name = self.project.settings.project.name
        self.say(f"{name}: run {run_id} in {self.project.environment}, {len(steps)} steps")

    def waiting_for_other_run(self) -> None:
        self.say("another run of this project is going on; waiting for it to end")

    def step_started(self, step: str, attempt: int) -> None:
        again = f" (attempt {attempt})" if attempt > 1 else ""
        self.say(f"… {step.ljust(self.width)}  started{again}")

    def step_progress(self, step: str, message: str, done: float | None) -> None:
        self.say(f"  {step.ljust(self.width)}  {message}")

    def step_ended(self, outcome: StepOutcome) -> None:
        self.say(line_of(outcome, self.width))

    def summarise(self, outcome: RunOutcome) -> None:
        """What came of it all, and where to look next."""
        for line in (*closing(outcome), *(f"  ! {remark}" for remark in outcome.remarks)):
            self.say(line)


class LiveWatcher(PlainWatcher):
    """Steps under way show a spinner, what they do and a bar; ended ones scroll up as lines."""

    def __init__(self, project: Project, plan: Plan) -> None:
        super().__init__(project, plan)
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self.console = Console(highlight=False)
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[step]}"),
            BarColumn(bar_width=18),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.description}"),
            console=self.console,
            transient=True,
        )
        self.tasks: dict[str, Any] = {}
        self.lock = threading.Lock()

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def step_started(self, step: str, attempt: int) -> None:
        description = f"attempt {attempt}" if attempt > 1 else ""
        with self.lock:
            if step not in self.tasks:
                self.tasks[step] = self.progress.add_task(
                    description, step=step.ljust(self.width), total=None
                )

    def step_progress(self, step: str, message: str, done: float | None) -> None:
        with self.lock:
            if step in self.tasks:
                total = None if done is None else 1.0
                self.progress.update(
                    self.tasks[step], description=message, total=total, completed=done
                )

    def step_ended(self, outcome: StepOutcome) -> None:
        with self.lock:
            if outcome.step in self.tasks:
                self.progress.remove_task(self.tasks.pop(outcome.step))
        super().step_ended(outcome)


def line_of(outcome: StepOutcome, width: int) -> str:
    """✓ extract_data  4.2 s  602,113 rows"""
    mark, name = MARKS[outcome.status], outcome.step.ljust(width)
    took = seconds(outcome.seconds) if outcome.status != "skipped" else ""
    told = "cached" if outcome.status == "cached" else took
    if outcome.error:
        return f"{mark} {name}  {took}  {outcome.error.message}"
    said = sentence(outcome.record) if outcome.record else "not run"
    return f"{mark} {name}  {told.rjust(8)}  {said}".rstrip()


def closing(outcome: RunOutcome) -> list[str]:
    if outcome.error:
        failed = next(step for step in outcome.steps if step.error is not None)
        lines = ["", f"failed at {failed.step} after {seconds(outcome.seconds)}"]
        if outcome.error.hint:
            lines.append(f"  → {outcome.error.hint}")
        if failed.log and failed.log.is_file():
            lines.append(f"  log: {failed.log}")
        return [*lines, f"  more: penstock runs show {outcome.run_id}"]
    again = sum(step.status == "succeeded" for step in outcome.steps)
    cached = sum(step.status == "cached" for step in outcome.steps)
    lines = ["", f"done in {seconds(outcome.seconds)}: {again} steps run, {cached} cached"]
    release, notice = outcome.record(Release), outcome.record(Notice)
    if release:
        lines.append(
            f"  staging: {release.url} serves {release.model} (stop: penstock serve --stop)"
        )
    if notice:
        lines.append(f"  next:    {notice.next_command}")
    return lines
