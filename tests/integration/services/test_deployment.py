"""What `penstock init --deploy` writes is what systemd, Compose and Prometheus take."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.cli.main import run

pytestmark = pytest.mark.slow

SETTINGS = '[project]\nname = "shop"\n[serving]\nport = 8700\n'


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    root = tmp_path / "50% of the shop's"  # a folder that each of them could misread
    root.mkdir()
    (root / "penstock.toml").write_text(SETTINGS)
    assert run(["init", "--deploy", "--project", str(root), "-e", "production"]) == 0
    return root / "deploy"


def test_units_are_verified_by_systemd(deploy: Path) -> None:
    units = sorted(path.name for path in (deploy / "systemd").iterdir())
    services = ("controller", "gateway-production", "gateway-staging", "mlflow", "scheduler")
    assert set(units) >= {f"penstock-shop-{name}.service" for name in services}
    assert "penstock-shop.target" in units
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(
        ["systemd-analyze", "verify", *units],
        cwd=deploy / "systemd",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_compose_starts_each_service_after_what_it_leans_on(deploy: Path) -> None:
    compose: dict[str, Any] = yaml.safe_load((deploy / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"penstock", "state", "features", "prometheus", "alertmanager"}
    for service in services.values():
        assert service["healthcheck"]["test"][0] == "CMD"
        assert set(service.get("depends_on", ())) <= set(services)
        named = [mount.partition(":")[0] for mount in service["volumes"]]
        assert {name for name in named if not name.startswith(".")} <= set(compose["volumes"])
        # An image is a name and a version; none is fetched from a host named here.
        assert "." not in service["image"].partition("/")[0].partition(":")[0]
    assert services["penstock"]["ports"] == ["127.0.0.1:8700:8700", "127.0.0.1:8601:8601"]
    assert "${STATE_PASSWORD:?" in services["penstock"]["environment"]["PENSTOCK_STATE_URL"]


def test_prometheus_reads_whatever_has_metrics(deploy: Path) -> None:
    config: dict[str, Any] = yaml.safe_load((deploy / "prometheus/prometheus.yml").read_text())
    jobs = [one["static_configs"] for one in config["scrape_configs"]]
    targets = {target for job in jobs for group in job for target in group["targets"]}
    assert targets == {"penstock:8700", "penstock:8601", "penstock:8620"}
    assert (deploy / "prometheus" / config["rule_files"][0]).is_file()


def test_prometheus_and_alertmanager_take_their_files(deploy: Path) -> None:
    for tool, words in (
        ("promtool", ["check", "config", "prometheus/prometheus.yml"]),
        ("promtool", ["check", "rules", "prometheus/rules.yml"]),
        ("promtool", ["test", "rules", "prometheus/rules_test.yml"]),
        ("amtool", ["check-config", "alertmanager.yml"]),
    ):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
        done = subprocess.run([tool, *words], cwd=deploy, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_somebody_changed_is_not_overwritten(
    deploy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ["init", "--deploy", "--project", str(deploy.parent), "-e", "production"]
    assert run(again) == 0
    (deploy / "Dockerfile").write_text("FROM elsewhere\n")
    assert run(again) == 2
    assert "Dockerfile exists and is another" in capsys.readouterr().err
    assert (deploy / "Dockerfile").read_text() == "FROM elsewhere\n"
