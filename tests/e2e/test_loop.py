"""The loop, closed: a run that changes nothing, then new data, a better model, shadow, canary."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from gateways import load, until

from .conftest import User, new_user

# The first test waits for a whole run, on a machine that may be busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# A sensor that is out of order at first: what `usage` says is noise, until it is repaired.
EXTRACT = """
return pd.read_parquet(context.project / "source")
"""
SETTINGS = """
[triggers]
on = ["data"]
follow = ["shadow", "canary"]
cool_down = "0s"

[rollout]
negligible = 0.1
watch = "1s"
retain = "1s"
# How fast this machine is while other tests run on it is not what is tested.
guardrails = ["error_rate", { metric = "latency_p95", limit_ms = 5000 }]
stages = [{ weight = 0.5, bake = "1s", max = "10m" }, { weight = 1.0, bake = "1s", max = "10m" }]

[rollout.shadow]
duration = "10s" # it waits four times as long for evidence
max_disagreement = 1.0
max_latency_ratio = 1000
max_cpu_ratio = 1000
max_memory_ratio = 1000
"""
PATIENCE = 1200.0  # seconds; a busy machine is slow, not wrong
VISIT = {"rows": [{"usage": 0.5, "age": 50.0}]}


def write_events(project: Path, *, repaired: bool) -> None:
    random, count = np.random.default_rng(7), 800
    usage, age = random.gamma(2.0, 2.0, count), random.uniform(0, 60, count)
    chance = 1 / (1 + np.exp(2 * usage - 0.1 * age))
    events = pd.DataFrame(
        {
            "id": np.arange(count),
            "event_timestamp": pd.date_range("2026-01-01", periods=count, freq="2h", tz="UTC"),
            "usage": usage if repaired else random.gamma(2.0, 2.0, count),
            "age": age,
            "label": (random.random(count) < chance).astype("int8"),
        }
    )
    (project / "source").mkdir(exist_ok=True)
    events.to_parquet(project / "source" / "events.parquet")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A shop whose first model serves production."""
    user = new_user(tmp_path_factory.mktemp("loop"))
    user.edit("penstock.toml", 'name = "rows"', 'name = "rows"\nsources = ["source"]')
    user.write_extract(EXTRACT)
    settings = user.project / "penstock.toml"
    settings.write_text(settings.read_text() + SETTINGS)
    write_events(user.project, repaired=False)
    assert user.run()["exit"] == 0
    approve(user, "shop@1")
    assert user.penstock("rollout", "start", "shop@1").status == 0
    yield user
    for endpoint in ("staging", "production"):
        user.penstock("serve", "--stop", "--endpoint", endpoint)


def approve(user: User, version: str) -> None:
    done = user.penstock("models", "approve", version, "--for", "production", "--meaning", "good")
    assert done.status == 0, done.text


def check(user: User) -> dict[str, Any]:
    answer = user.penstock("triggers", "check", "--json")
    assert answer.status == 0, answer.text
    return dict(answer.json)


def followed(user: User) -> dict[str, str]:
    """What a check did for the version that was made."""
    (one,) = check(user)["followed"]
    return dict(one)


def entries(user: User, action: str) -> list[dict[str, Any]]:
    return list(user.penstock("audit", "log", "--action", action, "--json").json)


@contextmanager
def controller(user: User) -> Iterator[str]:
    """Carries rollouts out; the address that it listens at."""
    process = user.start("controller", "--port", "0", "--interval", "0.5")
    try:
        assert process.stdout
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        yield found[0]
    finally:
        process.terminate()
        process.communicate()


def test_a_model_that_is_no_better_ends_there_and_says_so(shop: User) -> None:
    fired = shop.penstock("triggers", "fire", "--reason", "prices changed", "--wait")
    assert fired.status == 1, fired.text
    said = "no better: the retrained model is no better than shop@1, which stays: auc_roc +0.0000"
    assert fired.out.splitlines()[-1] == said
    run = shop.penstock("runs", "list", "--json").json[0]
    assert (run["trigger"], run["reason"], run["status"]) == ("manual", "prices changed", "failed")
    why = shop.penstock("triggers", "why", run["id"]).out
    assert "manual: prices changed" in why
    assert said in why
    shown = shop.penstock("runs", "show", "last").out
    assert "because of manual: prices changed" in shown
    assert "no better than shop@1" in shown
    (ended,) = entries(shop, "trigger.ended")
    assert (ended["outcome"], ended["run_id"]) == ("no better", run["id"])
    notices = (shop.project / ".penstock" / "notices.log").read_text()
    assert "retrained, and no better than the champion" in notices
    assert "nothing new" in check(shop)["reason"]  # it is not tried again
    assert len(shop.penstock("models", "list", "--json").json) == 1


def test_new_data_starts_one_run_whose_model_goes_all_the_way(shop: User) -> None:
    write_events(shop.project, repaired=True)

    both = [shop.start("triggers", "check", "--json") for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    (fired,) = [one for one in said if '"fired": true' in one]
    run = next(iter(re.findall(r'"run": "([^"]+)"', fired)))

    ended = list[dict[str, Any]]()
    until(lambda: ended.extend(check(shop)["ended"]) or ended, PATIENCE, pause=1.0)
    assert (ended[0]["outcome"], ended[0]["version"]) == ("registered", "shop@2"), ended
    assert len(entries(shop, "trigger.fired")) == 2  # the first was by hand
    told_of(shop, run, "file source/events.parquet changed")
    assert "approvals" in followed(shop)["reason"]
    approve(shop, "shop@2")

    status = shop.project / ".penstock" / "endpoints" / "production" / "status.json"
    url, visitors = json.loads(status.read_text())["url"], [f"u{n}" for n in range(50)]
    with controller(shop), load(url, visitors, VISIT, connections=2, pause=0.01):
        shadow = followed(shop)
        assert shadow["reason"] == "shadow of shop@2, against shop@1"
        assert over(shop, shadow["rollout"]) == "reported"
        canary = followed(shop)
        assert canary["reason"].startswith("canary of shop@2 after")
        assert over(shop, canary["rollout"]) == "promoted"
    assert followed(shop)["reason"] == "it went through shadow, canary"
    aliases = {m["version"]: m["aliases"] for m in shop.penstock("models", "list", "--json").json}
    assert "champion" in aliases[2]
    why = shop.penstock("triggers", "why").out
    assert f"then shadow: {shadow['rollout']}" in why
    assert f"then canary: {canary['rollout']}" in why


def told_of(user: User, run: str, reason: str) -> None:
    """Whoever asks why there is this version finds the reason wherever they look."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{user.project / '.penstock' / 'mlflow' / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    version = client.get_model_version("shop", "2")
    for tags in (version.tags, client.get_run(version.run_id).data.tags):
        assert tags["penstock.trigger"] == "data"
        assert reason in tags["penstock.reason"]
    shown = user.penstock("runs", "show", run, "--json").json
    assert (shown["trigger"], shown["status"]) == ("data", "succeeded")
    assert reason in shown["reason"]
    registered = entries(user, "model.registered")
    made = next(one for one in registered if one["subject"] == "shop@2")
    assert made["details"]["trigger"] == "data"
    assert reason in made["reason"]
    card = user.penstock("compliance", "card", "shop@2").out
    assert f"data: {reason}" in " ".join(card.split())


def over(user: User, rollout: str) -> str:
    """How a rollout ended."""

    def outcome() -> str:
        listed = user.penstock("rollout", "list", "--json").json
        return str(next(one["outcome"] for one in listed if one["id"] == rollout) or "")

    return str(until(outcome, PATIENCE, pause=0.5))
