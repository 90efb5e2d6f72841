"""MLflow is gone: an endpoint serves on, and starts again, from the folder that it fetched."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gateways import HALF, ROWS, Gateway, in_foreground, load, table, until
from mlflow_servers import MlflowServer

from penstock.digests import folder_digest
from penstock.errors import ResourceError
from penstock.project import Project, open_project
from penstock.registry import versions
from penstock.registry.attestations import attest
from penstock.registry.client import open_client
from penstock.registry.provenance import Build
from penstock.serving import endpoint
from penstock.serving.release import ReleaseSpec

pytestmark = pytest.mark.slow

UNITS = [f"user-{number}" for number in range(100)]


@dataclass(frozen=True)
class Shop:
    project: Project
    server: MlflowServer
    gateway: Gateway

    def spec(self, version: int, digest: str) -> ReleaseSpec:
        """A registered version, fetched."""
        folder = versions.fetch(self.project, version, digest)
        return self.gateway.spec(f"r{version}", folder, replicas=2)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    (tmp_path / "mlflow").mkdir()
    server = MlflowServer(tmp_path / "mlflow")
    root = tmp_path / "shop"
    root.mkdir()
    (root / "penstock.toml").write_text(
        f'[project]\nname = "shop"\n[registry]\ntracking_uri = "{server.url}"\n'
    )
    project = open_project(root)
    gateway = Gateway(project.endpoint("staging"))
    yield Shop(project, server, gateway)
    gateway.stop()
    server.kill()


def registered(project: Project, model: Path) -> tuple[int, str]:
    """A new version that holds a model's files, and their digest."""
    client = open_client(project)
    experiment = client.get_experiment_by_name("shop")
    number = experiment.experiment_id if experiment else client.create_experiment("shop")
    run = client.create_run(number)
    client.log_artifacts(run.info.run_id, str(model), "model")
    digest = folder_digest(model)
    attest(project, model, Build("shop", digest, "lightgbm", mlflow_run_id=run.info.run_id))
    made = versions.register(project, run.info.run_id, {"model": digest}, {})
    return made.version, digest


def test_it_is_not_missed_while_serving_nor_when_everything_starts_again(
    shop: Shop,
    champion: Path,
    challenger: Path,
    train: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = (shop.spec(*registered(shop.project, one)) for one in (champion, challenger))
    later = registered(shop.project, train(3))
    gateway = shop.gateway
    gateway.serve(table(first, second, weights=HALF))
    with load(gateway.url, UNITS) as running:
        shop.server.kill()
        running.wait_for(100)
        for release in ("r1", "r2"):
            victim, *_ = gateway.pids(release)
            os.kill(victim, signal.SIGKILL)
            until(lambda r=release, v=victim: v not in (p := gateway.pids(r)) and len(p) == 2)
        # What is here already can also be routed to anew.
        gateway.serve(table(second, first, weights=HALF))
        running.wait_for(100)
    assert running.failures == []
    assert {one.release for one in running.seen} == {"r1", "r2"}
    before = [gateway.ask("/predict", ROWS, X_User=u).body["release"] for u in UNITS[:20]]

    # A version that was not fetched cannot be; that says so, and changes nothing.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ResourceError, match="MLflow"):
        shop.spec(*later)

    gateway.stop()
    with in_foreground(gateway):
        until(lambda: endpoint.status(gateway.folder).state == "live")
        after = [gateway.ask("/predict", ROWS, X_User=u).body["release"] for u in UNITS[:20]]
    assert after == before


def test_a_replica_starts_from_no_other_files_than_were_registered(
    tmp_path: Path, champion: Path, challenger: Path
) -> None:
    """The registry is not asked: what is loaded has the digest that the release names."""
    model = tmp_path / "model"
    shutil.copytree(champion, model)
    gateway = Gateway(tmp_path / "endpoint")
    gateway.serve(table(gateway.spec("r1", model, replicas=2)))
    try:
        (model / "model.lgb").write_bytes((challenger / "model.lgb").read_bytes())
        victim, sibling = gateway.pids("r1")
        os.kill(victim, signal.SIGKILL)
        until(lambda: "digest" in (gateway.folder / "gateway.log").read_text())
        assert gateway.pids("r1") == [sibling]
        assert gateway.ask("/predict", ROWS).status == 200
    finally:
        gateway.stop()
