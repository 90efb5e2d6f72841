"""The same endpoint with its replicas on Ray Serve, of this machine alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import ServingError
from penstock.serving import endpoint
from penstock.state import observations

pytest.importorskip("ray", reason="Ray Serve is an optional extra: `make ray`")
pytestmark = pytest.mark.slow

ROW = {"visits": 3.5, "age": 41, "plan": "basic"}


def ray_workers(gateway: int) -> list[int]:
    """The processes that hold the model, which Ray names after their class."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                name = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if name.startswith(b"ray::ServeReplica"):
                found.append(int(folder.name))
    return found


def test_ray_serve_answers_as_replicas_of_this_machine_do(
    staging: Any, champion: Path, challenger: Path, until: Callable[..., Any]
) -> None:
    rows = {"rows": [ROW, {"visits": None, "age": None, "plan": None}]}
    expected = {}
    for name, model in (("r1", champion), ("r2", challenger)):
        staging.deploy(model, name)
        expected[name] = staging.predict(rows).body["predictions"]
    endpoint.stop(staging.folder)

    staging.settings = staging.settings.model_copy(update={"engine": "ray"})
    staging.deploy(champion, "r1")
    answer = staging.predict(rows)
    assert (answer.status, answer.body["predictions"]) == (200, expected["r1"])
    refused = staging.predict({"rows": [{**ROW, "age": "old"}]})
    assert (refused.status, refused.body["field"]) == (400, "age")

    with pytest.raises(ServingError, match="expected digest 0000"):
        staging.deploy(champion, "bad", digest="0" * 64)
    staging.deploy(challenger, "r2")
    assert staging.predict(rows).body["predictions"] == expected["r2"]

    for worker in ray_workers(endpoint.status(staging.folder).pid):
        os.kill(worker, signal.SIGKILL)
    until(lambda: staging.predict(rows).status == 200)
    assert staging.predict(rows).body["predictions"] == expected["r2"]

    engine = staging.place.engine()
    until(lambda: {o.release for o in observations.read(engine, "staging", 0, 2**31 - 1)} >= {"r2"})
