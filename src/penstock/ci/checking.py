"""What can be said of a change without running it: settings, code, declarations, its own tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from penstock.errors import PenstockError, UserCodeError
from penstock.pipeline.plan import plan_of
from penstock.pipeline.source import unwritten
from penstock.project import Project, open_project
from penstock.settings_source import ENVIRONMENTS

NO_TESTS = 5  # pytest's exit status where it finds none
SHOWN = 2_000  # characters of what another tool printed, the last ones


@dataclass(frozen=True)
class Checked:
    what: str
    ok: bool
    seen: str
    remedy: str = ""
    skipped: bool = False  # what it needs is not there


def check_project(project: Project) -> list[Checked]:
    """All checks, one after another; none of them changes anything."""
    looks: tuple[Callable[[Project], Checked], ...] = (_settings, _plan, _declarations, _suites)
    return [*(_guarded(look, project) for look in looks), _lint(project), _tests(project)]


def _guarded(look: Callable[[Project], Checked], project: Project) -> Checked:
    try:
        return look(project)
    except PenstockError as error:
        return Checked(look.__name__.strip("_"), False, error.message, error.hint)


def _settings(project: Project) -> Checked:
    """Those of every environment: production's are read first when it is too late."""
    for environment in ENVIRONMENTS:
        open_project(project.root, environment)
    return Checked("settings", True, f"valid in {', '.join(ENVIRONMENTS)}")


def _plan(project: Project) -> Checked:
    steps = plan_of(project).steps
    code = project.root / "pipeline.py"
    if missing := unwritten(code):
        raise UserCodeError(f"{code} has no {' and no '.join(missing)}()", hint="write it there")
    return Checked("plan", True, f"{len(steps)} steps: {steps[0].name} to {steps[-1].name}")


def _declarations(project: Project) -> Checked:
    if not (project.root / "features.py").is_file():
        return Checked("declarations", True, "no features.py", skipped=True)
    from penstock.features.declared import declared_in

    found = declared_in(project.module("features"))
    services = ", ".join(service.name for service in found.services) or "none"
    return Checked("declarations", True, f"feature services: {services}")


def _suites(project: Project) -> Checked:
    from penstock.validation.suites import read_suites

    names = [suite.name for suite in read_suites(project.root / "expectations")]
    if not names:
        return Checked("suites", False, "no suite in expectations/", "penstock validate --suggest")
    return Checked("suites", True, ", ".join(names))


def _lint(project: Project) -> Checked:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff is None:
        return Checked("lint", True, "ruff is not installed", "pip install ruff", skipped=True)
    return _ran("lint", project, [ruff, "check", "--quiet", "."], good=(0,))


def _tests(project: Project) -> Checked:
    if not any(_test_files(project.root)):
        return Checked("tests", True, "no test_*.py", skipped=True)
    if find_spec("pytest") is None:
        return Checked("tests", False, "pytest is not installed", "pip install pytest")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return _ran("tests", project, command, good=(0, NO_TESTS))


def _test_files(root: Path) -> Iterator[Path]:
    return (file for file in root.rglob("test_*.py") if not _hidden(file.relative_to(root)))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _ran(what: str, project: Project, command: list[str], good: tuple[int, ...]) -> Checked:
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True)
    said = f"{done.stdout}{done.stderr}".strip()
    if done.returncode not in good:
        return Checked(what, False, said[-SHOWN:], f"in {project.root}: {' '.join(command)}")
    return Checked(what, True, said.splitlines()[-1] if said else "nothing to complain about")
