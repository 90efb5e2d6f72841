"""Nothing that happens to processes may cost a client its answer."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import ServingError
from penstock.gates.load_test import LoadResult, run_load
from penstock.serving import endpoint

pytestmark = pytest.mark.slow

ROW = {"visits": 3.5, "age": 41, "plan": "basic"}
GATEWAY = (sys.executable, "-m", "penstock.serving.main")
BODY = json.dumps({"rows": [ROW]}).encode()


@contextmanager
def load(url: str, seconds: float = 3.0) -> Iterator[list[LoadResult]]:
    """Four connections ask all the time that the block runs, and at least so long."""
    results: list[LoadResult] = []

    def ask() -> None:
        results.append(run_load(f"{url}/predict", [BODY], 4, timedelta(seconds=seconds)))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield results
    finally:
        thread.join()


def test_a_killed_replica_costs_no_request_and_comes_back(
    staging: Any, champion: Path, until: Callable[..., Any]
) -> None:
    url = staging.deploy(champion).url

    with load(url, 4.0) as results:
        for _ in range(3):
            victim = staging.pids()[0]
            os.kill(victim, signal.SIGKILL)
            until(lambda v=victim: v not in (now := staging.pids()) and len(now) == 2)

    assert results[0].failures == ()
    assert results[0].requests > 100


def test_a_replacement_costs_no_request(
    staging: Any, champion: Path, challenger: Path, until: Callable[..., Any]
) -> None:
    url = staging.deploy(champion, "r1").url
    old = staging.pids()

    with load(url, 5.0) as results:
        for number in range(2, 5):
            model = challenger if number % 2 == 0 else champion
            assert staging.deploy(model, f"r{number}").url == url

    assert results[0].failures == ()
    assert results[0].requests > 100
    assert staging.get("/release").body["id"] == "r4"
    until(lambda: not any(_alive(pid) for pid in old))


def test_sigterm_answers_what_was_asked(staging: Any, champion: Path) -> None:
    url = staging.deploy(champion).url
    pid = _gateway(staging)

    with load(url, 3.0) as results:
        time.sleep(1.0)  # of load, before the signal
        os.kill(pid, signal.SIGTERM)

    # Afterwards nobody listens: a refused connection was never asked anything.
    assert results[0].latencies.size > 50
    assert {failure.split(":")[0] for failure in results[0].failures} <= {"connection refused"}


def test_a_release_that_cannot_start_leaves_the_old_one_live(staging: Any, champion: Path) -> None:
    url = staging.deploy(champion, "r1").url
    with load(url, 2.0) as results, pytest.raises(ServingError, match="expected digest 0000"):
        staging.deploy(champion, "r2", digest="0" * 64)

    assert results[0].failures == ()
    assert staging.get("/release").body["id"] == "r1"
    said = endpoint.status(staging.folder)
    assert (said.state, said.release, said.live) == ("failed", "r2", "r1")
    assert staging.deploy(champion, "r3").id == "r3"


def test_features_that_cannot_be_read_fail_the_deployment(
    staging: Any, champion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with pytest.raises(ServingError, match="no route to the store") as caught:
        staging.deploy(champion, features={"module": "online_features:Unreachable"})
    assert "gateway.log" in caught.value.hint


def test_a_request_that_takes_too_long_gets_504_and_the_hung_replica_is_replaced(
    staging: Any, champion: Path, until: Callable[..., Any]
) -> None:
    staging.settings = staging.settings.model_copy(update={"request_timeout": timedelta(seconds=1)})
    staging.deploy(champion, replicas=1)
    hung = staging.pids()
    os.kill(hung[0], signal.SIGSTOP)

    answer = staging.predict({"rows": [ROW]})

    assert (answer.status, answer.body["error"]) == (504, "no replica answered in time")
    until(lambda: staging.pids() and staging.pids() != hung)
    assert staging.predict({"rows": [ROW]}).status == 200


def test_a_killed_gateway_leaves_no_replicas_and_serves_again(
    staging: Any, champion: Path, until: Callable[..., Any]
) -> None:
    staging.deploy(champion, "r1")
    replicas = staging.pids()

    os.kill(_gateway(staging), signal.SIGKILL)

    until(lambda: not any(_alive(pid) for pid in replicas))
    process = subprocess.Popen(GATEWAY, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(staging.config)
    process.stdin.close()
    # The new one: for an instant, what the killed one said last is still there.
    until(lambda: (s := endpoint.status(staging.folder)).pid == process.pid and s.live == "r1")
    assert staging.predict({"rows": [ROW]}).body["release"] == "r1"
    endpoint.stop(staging.folder)
    assert process.wait(timeout=30) == 0


def test_a_second_gateway_refuses(staging: Any, champion: Path) -> None:
    staging.deploy(champion)

    second = subprocess.run(
        GATEWAY, input=staging.config, capture_output=True, timeout=60, check=False
    )

    assert second.returncode == 1
    assert b"another gateway already serves" in second.stderr
    assert staging.predict({"rows": [ROW]}).status == 200


def test_a_port_in_use_is_named(staging: Any, champion: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        staging.settings = staging.settings.model_copy(update={"port": port})
        with pytest.raises(ServingError, match=f"port {port} is in use") as caught:
            staging.deploy(champion)
    assert "PENSTOCK_SERVING_PORT" in caught.value.hint


def test_stop_ends_every_process(staging: Any, champion: Path, until: Callable[..., Any]) -> None:
    staging.deploy(champion)
    processes = [*staging.pids(), _gateway(staging)]

    endpoint.stop(staging.folder)

    assert endpoint.status(staging.folder).state == "stopped"
    until(lambda: not any(_alive(pid) for pid in processes))


def _gateway(staging: Any) -> int:
    return endpoint.status(staging.folder).pid


def _alive(pid: int) -> bool:
    """A zombie is dead: only its parent's interest is left of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
