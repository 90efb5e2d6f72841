"""A gateway that is started before there is a release for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.serving import endpoint

pytestmark = pytest.mark.slow

RUNNER = """
import sys, time
from pathlib import Path
from penstock.serving.endpoint import Place, start_ahead, status
from penstock.settings import ServingSettings

start_ahead(Place("staging", Path(sys.argv[1])), ServingSettings(port=0), ("lightgbm",))
while not status(Path(sys.argv[1])).pid:
    time.sleep(0.05)
print("started", flush=True)
sys.stdin.read()
"""


def test_it_serves_the_release_that_comes(
    staging: Any, champion: Path, until: Callable[..., Any]
) -> None:
    endpoint.start_ahead(staging.place, staging.settings, ("lightgbm",))
    waiting = until(lambda: endpoint.status(staging.folder).pid)
    assert endpoint.status(staging.folder).live == ""

    staging.deploy(champion)

    assert endpoint.status(staging.folder).pid == waiting


def test_it_ends_with_the_run_that_never_deployed(
    tmp_path: Path, until: Callable[..., Any]
) -> None:
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert runner.stdout is not None
    assert runner.stdout.readline() == "started\n"

    runner.kill()
    runner.communicate()

    until(lambda: endpoint.status(tmp_path).state == "stopped")
