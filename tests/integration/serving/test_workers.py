"""Several gateway processes of one endpoint share its port, its routing table and its log."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateways import HALF, Gateway, alive, load, table, until

from penstock.serving.release import EndpointFolder
from penstock.settings import ServingSettings
from penstock.state import routes

pytestmark = pytest.mark.slow

USERS = [f"user-{number}" for number in range(40)]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Gateway]:
    settings = ServingSettings(port=0, workers=2, replicas=1)
    gateway = Gateway(tmp_path / "endpoint", settings)
    yield gateway
    gateway.stop()


def worker_of(gateway: Gateway) -> int:
    return EndpointFolder(gateway.folder, 1).read_status().pid


def test_all_workers_follow_the_table_and_one_answer_of_metrics_counts_all(
    shared: Gateway, champion: Path, challenger: Path
) -> None:
    first, second = shared.spec("r1", champion), shared.spec("r2", challenger)
    shared.serve(table(first))
    with load(shared.url, USERS, connections=16) as seen:
        shared.serve(table(first, second, weights=HALF))
        seen.wait_for(400)

    assert seen.failures == []
    releases = {unit: {one.release for one in seen.of([unit])[-5:]} for unit in USERS}
    assert all(len(found) == 1 for found in releases.values())  # the same arm in every process
    assert {"r1", "r2"} == set().union(*releases.values())
    gateways = {one.gateway for one in routes.gateways_of(shared.place.engine(), "staging")}
    assert len(gateways) == 2
    logged = len(shared.rows_of([one.prediction_id for one in seen.seen]))
    told = [of_requests(shared)]
    while told[-1] < logged:
        told.append(of_requests(shared))
    assert told == sorted(told)  # whichever process is asked, a counter never goes down
    assert told[-1] == logged


def of_requests(gateway: Gateway) -> float:
    return sum(n for key, n in gateway.samples().items() if key[0] == "penstock_requests_total")


def test_a_killed_worker_comes_back_and_a_stopped_endpoint_leaves_nothing(
    shared: Gateway, champion: Path
) -> None:
    shared.serve(table(shared.spec("r1", champion)))
    victim, lead = worker_of(shared), shared.pid

    os.kill(victim, signal.SIGKILL)
    until(lambda: worker_of(shared) not in (0, victim))
    worker = worker_of(shared)
    with load(shared.url, USERS, connections=16) as seen:
        seen.wait_for(200)
        shared.stop()

    assert {one.status for one in seen.seen if one.status} == {200}
    until(lambda: not alive(lead) and not alive(worker))


def test_workers_end_with_a_killed_lead(shared: Gateway, champion: Path) -> None:
    shared.serve(table(shared.spec("r1", champion)))
    worker = worker_of(shared)

    os.kill(shared.pid, signal.SIGKILL)

    until(lambda: not alive(worker))
