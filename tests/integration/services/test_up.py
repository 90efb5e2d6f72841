"""`penstock up`: services come back when they are killed, and `down` leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gateways import alive, until
from shops import trained

from penstock.project import Project, bare_project, open_project
from penstock.registry.loading import model_digest
from penstock.services.standing import Office, ServiceStanding, Standing
from penstock.serving import endpoint
from penstock.serving.release import ReleaseSpec
from penstock.serving.routing.table import serving_only

SETTINGS = """\
[project]
name = "shop"

[registry]
require_signatures = false

[serving]
port = 0
replicas = 1
"""
GATEWAY = "gateway-staging"
pytestmark = pytest.mark.slow


@dataclass
class Shop:
    """A project with one endpoint that has something to serve, at the command line."""

    root: Path

    def configure(self, more: str) -> None:
        (self.root / "penstock.toml").write_text(f"{SETTINGS}\n{more}\n")

    def penstock(self, *words: str, status: int = 0) -> str:
        command = [sys.executable, "-m", "penstock", *words, "--project", str(self.root)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        return done.stdout or done.stderr

    @property
    def project(self) -> Project:
        return open_project(self.root, "dev")

    def standing(self) -> Standing:
        return Office(bare_project(self.root)).standing()

    def service(self, name: str) -> ServiceStanding:
        """Once it is kept."""

        def found() -> ServiceStanding | None:
            return next((one for one in self.standing().services if one.name == name), None)

        kept: ServiceStanding = until(found)
        return kept

    def gateway(self, besides: int = 0) -> ServiceStanding:
        """Once it answers, in another process than that."""

        def found() -> ServiceStanding | None:
            one = self.service(GATEWAY)
            return one if one.url and one.pid not in (0, besides) else None

        answering: ServiceStanding = until(found)
        return answering


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    root = tmp_path / "shop"
    root.mkdir()
    one = Shop(root)
    one.configure('[services]\nrun = ["scheduler", "gateway"]')
    model = trained(tmp_path / "model", seed=1)
    release = ReleaseSpec(
        id="shop-1-a",
        endpoint="staging",
        model="shop@1",
        digest=model_digest(model),
        path=str(model),
        replicas=1,
    )
    endpoint.publish(endpoint.place_of(one.project, "staging"), serving_only(release))
    yield one
    one.penstock("down")


def test_services_are_kept_alive_until_they_are_ended(shop: Shop) -> None:
    place = endpoint.place_of(shop.project, "staging")
    table = endpoint.table_of(place)
    assert table is not None
    deployed = endpoint.serve_table(place, table, shop.project.settings.serving)
    shop.penstock("up", "--detach")
    seen = shop.service(GATEWAY)
    assert (seen.state, seen.pid) == ("elsewhere", deployed.pid)
    assert "already, kept by process" in shop.penstock("up", status=1)

    os.kill(deployed.pid, signal.SIGKILL)
    first = shop.gateway(besides=deployed.pid)
    os.kill(first.pid, signal.SIGKILL)
    second = shop.gateway(besides=first.pid)
    assert (second.state, second.restarts) == ("running", 1)
    assert "killed by signal 9; started again in 1 s" in shop.penstock("logs", "up")
    assert "running: scheduler, gateway-staging; next run" in shop.penstock("status")

    standing = shop.standing()
    assert str(standing.pid) in shop.penstock("down")
    pids = [standing.pid, *(one.pid for one in standing.services)]
    until(lambda: not any(map(alive, pids)))
    assert shop.standing().pid == 0
    assert endpoint.status(place.folder).state == "stopped"


def test_nothing_outlives_an_up_that_is_killed(shop: Shop) -> None:
    shop.configure('[services]\nrun = ["scheduler"]')
    shop.penstock("up", "--detach")
    kept = shop.service("scheduler").pid
    os.kill(shop.standing().pid, signal.SIGKILL)
    until(lambda: not alive(kept))
    assert "no services were up" in shop.penstock("down")


def test_broken_settings_start_nothing_and_end_nothing_until_they_are_mended(shop: Shop) -> None:
    good = '[services]\nrun = ["scheduler"]'
    shop.configure(good)
    shop.penstock("up", "--detach")
    first = shop.service("scheduler").pid
    shop.configure("[pipeline")
    until(lambda: "not valid TOML" in shop.standing().trouble)
    os.kill(first, signal.SIGKILL)
    until(lambda: "not valid TOML" in shop.service("scheduler").said)
    shop.configure(good)
    until(lambda: shop.service("scheduler").pid not in (0, first))
    shop.configure("[pipeline")
    assert '"service": "up"' in shop.penstock("logs", "up", "--json")
    assert "ended what process" in shop.penstock("down")


def test_a_schedule_that_cannot_be_is_said_before_anything_starts(shop: Shop) -> None:
    shop.configure('[pipeline]\nschedule = "soon"')
    assert "cannot be used" in shop.penstock("up", status=2)
    assert shop.standing().pid == 0
