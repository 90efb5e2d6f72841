"""What is imported before tasks are forked, and where it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PRELOAD = """
import sys
sys.argv[1:] = {command}
from penstock.orchestrators.preload import preload
preload()
print(*sys.modules)
"""
TOOLS = {"feast", "great_expectations", "lightgbm", "mlflow", "optuna"}


@pytest.mark.parametrize("command", [["api-server"], ["dag-processor"], []])
def test_what_forks_no_tasks_imports_nothing(command: list[str]) -> None:
    assert not loaded(command) & TOOLS


@pytest.mark.parametrize("command", [["scheduler"], ["celery", "worker"]])
def test_what_forks_tasks_has_all_that_steps_import(command: list[str]) -> None:
    assert loaded(command) >= TOOLS


def loaded(command: list[str]) -> set[str]:
    script = PRELOAD.format(command=command)
    return set(subprocess.check_output([sys.executable, "-c", script], text=True).split())
