"""What rules do to a rollout: by themselves, and by Prometheus and Alertmanager."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import yaml
from gateways import ask, until
from prometheus import alertmanager, prometheus, require
from shops import BASELINE, BROKEN, GOOD, PRODUCTION, USERS, Shop

from penstock.audit.ledger import Ledger
from penstock.cli.main import run
from penstock.monitoring.alerts import memory
from penstock.monitoring.alerts.check import check
from penstock.monitoring.exposition import Exposition, served
from penstock.project import open_project
from penstock.rollout.api import Api
from penstock.state import observations
from penstock.state.observations import Observed

pytestmark = pytest.mark.slow

# A canary that bakes until somebody ends it.
QUIET: dict[str, Any] = {
    "stages": [{"weight": 0.5, "bake": "1h"}],
    "guardrails": [{"metric": "error_rate"}],
    "lease": "1h",
    "on_alert": "rollback",
}
RULES = """
[alerts.endpoint_errors]
lasts = "0s"
action = "{action}"
"""


def with_rules(shop: Shop, action: str) -> None:
    with (shop.root / "penstock.toml").open("a") as file:
        file.write(RULES.format(action=action))
    shop.project = open_project(shop.root, "dev")


@pytest.mark.parametrize(
    ("action", "plan", "status", "outcome"),
    [
        ("rollback", {}, "rolling back", "rolled back: "),
        ("rollback", {"on_alert": "propose"}, "baking", "proposed: "),
        ("hold", {}, "paused", " is held"),
    ],
)
def test_errors_of_an_endpoint_do_what_the_rule_says_once(
    new_shop: Callable[..., Shop], action: str, plan: dict[str, Any], status: str, outcome: str
) -> None:
    shop = new_shop()
    with_rules(shop, action)
    shop.publish_baseline()
    rollout = shop.start(GOOD, **(QUIET | plan))
    for _ in range(4):
        shop.follow()
        shop.controller.tick()
    assert shop.state(rollout).status == "baking"
    now = datetime.now(UTC)
    counts = {"requests": 1000, "errors": {"died": 400}}
    seen = Observed(PRODUCTION, "", "r", "champion", "g", int(now.timestamp()) - 20, counts)
    observations.write(shop.engine, [seen])

    found = check(shop.project, shop.engine, now)
    assert shop.state(rollout).status == status
    (alert,) = (one for one in memory.read(shop.engine).values() if one.rule == "endpoint_errors")
    assert outcome in alert.acted
    assert found.done == {alert.id: alert.acted}
    assert f"To do: penstock rollout rollback {rollout}" in shop.notices()
    happened = shop.happened(rollout)
    again = check(shop.project, shop.engine, now + timedelta(seconds=30))
    assert (again.done, shop.happened(rollout)) == ({}, happened)
    (entry,) = Ledger(shop.engine).entries(memory.ACTED)
    assert (entry.subject, entry.outcome) == (alert.id, alert.acted)


def test_prometheus_scrapes_a_gateway_and_alertmanager_has_its_candidate_rolled_back(
    shop: Shop, tmp_path: Path
) -> None:
    require("prometheus", "promtool", "prometheus-alertmanager")
    rules = tmp_path / "rules.yml"
    assert run(["alerts", "rules", "--prometheus", str(rules), "--project", str(shop.root)]) == 0
    impatient(rules)
    with (
        Api(shop.project, shop.engine, "127.0.0.1", 0) as controller,
        served(Exposition(shop.project, shop.engine), "127.0.0.1", 0) as monitoring,
        alertmanager(tmp_path, f"{controller.url}/alerts") as manager,
        prometheus(
            tmp_path,
            rules,
            [urlsplit(shop.url).netloc, urlsplit(monitoring).netloc],
            urlsplit(manager).netloc,
        ) as asked,
        shop.load(USERS),
    ):
        rollout = shop.start(BROKEN, **QUIET)
        shop.until(rollout, "baking")  # from here on the controller sleeps

        def answer(query: str) -> list[Any]:
            found = ask(f"{asked}/api/v1/query?query={quote(query)}").body
            return list(found["data"]["result"])

        until(lambda: shop.table().weights()["champion"] == 1.0)
        reason = shop.state(rollout).reason
        assert reason.startswith("rolled back by alertmanager: endpoint.error_rate of production")
        assert answer('ALERTS{alertname="PenstockEndpointErrors",alertstate="firing"}')
        assert answer('ALERTS{alertname="PenstockWatchdog",alertstate="firing"}')
        assert until(lambda: answer("penstock_rollout_since_timestamp_seconds"))
    assert shop.until(rollout).status == "rolled back"
    assert shop.table().champion == shop.spec(BASELINE).id


def impatient(rules: Path) -> None:
    """The same rules, without their patience."""
    document = yaml.safe_load(rules.read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            rule["for"] = "0s"
    rules.write_text(yaml.safe_dump(document))


def test_the_rules_for_prometheus_pass_its_own_checks(new_shop: Callable[..., Shop]) -> None:
    require("promtool")
    shop = new_shop()
    with (shop.root / "penstock.toml").open("a") as file:
        file.write(
            '[alerts.low]\nmetric = "estimated_*"\nwhen = "< 0.8"\nrunbook = "https://wiki/low"\n'
            '[alerts.odd]\nmetric = "drift"\nsubject = \'we"ird\\*?\'\nlooks = 3\n'
            '[alerts.only]\nmetric = "endpoint.error_rate"\nwhen = ">= 0.5"\nendpoint = "prod*"\n'
        )
    rules, tests = shop.root / "rules.yml", shop.root / "rules_test.yml"
    assert run(["alerts", "rules", "--prometheus", str(rules), "--project", str(shop.root)]) == 0
    for words in (("check", "rules", str(rules)), ("test", "rules", str(tests))):
        done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    # They would find a rule that never fires.
    rules.write_text(rules.read_text().replace("== 1", "== 2"))
    done = subprocess.run(["promtool", "test", "rules", str(tests)], check=False)
    assert done.returncode == 1
