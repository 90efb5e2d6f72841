"""`penstock release rollback`: what production served before, it serves again."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from gateways import ask
from shops import BASELINE, ENTITIES, GOOD, Shop

from penstock.audit.ledger import Ledger
from penstock.cli.main import run
from penstock.errors import IntegrityError, RolloutError
from penstock.registry.champions import ROLLED_BACK
from penstock.releases.rollback import roll_back
from penstock.serving.routing.table import serving_only
from penstock.state.rollouts import Quarantined, put_into_quarantine

pytestmark = pytest.mark.slow


def quietly(*_: object) -> None:
    """Progress that nobody watches."""


def test_production_serves_what_it_served_before(
    new_shop: Callable[..., Shop], capsys: pytest.CaptureFixture[str]
) -> None:
    shop = new_shop()
    shop.crown(BASELINE, GOOD)
    shop.serve(serving_only(shop.spec(GOOD)))
    assert ask(f"{shop.url}/predict", ENTITIES).body["model"] == "shop@2"

    # Not while a rollout goes on, unless that is ended first.
    rollout = shop.start(BASELINE)
    shop.until(rollout, "baking")
    with pytest.raises(RolloutError, match=f"the rollout {rollout} of production goes on"):
        roll_back(shop.project, shop.engine, reason="a doubt", progress=quietly)
    told = ["release", "rollback", "--reason", "a doubt", "--abort-rollout", "--json"]
    capsys.readouterr()
    assert run([*told, "--project", str(shop.root)]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["model"], done["archived"]) == ("shop@1", "shop@2")
    assert "1 gateways follow" in done["routing"]
    assert ask(f"{shop.url}/predict", ENTITIES).body["model"] == "shop@1"
    shop.until(rollout)  # the controller leaves it so
    assert shop.state(rollout).outcome == "aborted"
    assert shop.table().releases[shop.table().champion].model == "shop@1"
    assert ask(f"{shop.url}/predict", ENTITIES).body["model"] == "shop@1"
    assert shop.aliases() | {"champion": BASELINE, "archived": GOOD} == shop.aliases()

    # There is nothing before it.
    assert run([*told, "--project", str(shop.root)]) == 1
    assert "there is no champion before shop@1" in capsys.readouterr().err


def test_bytes_in_quarantine_do_not_come_back(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop()
    shop.crown(BASELINE, GOOD)
    one, at = shop.found(BASELINE), Ledger(shop.engine).entries()[-1].at
    put_into_quarantine(shop.engine, Quarantined(one.digest, one.label, "errors", "ro-0", at))
    with pytest.raises(IntegrityError, match="shop@1 is in quarantine since"):
        roll_back(shop.project, shop.engine, reason="a doubt", progress=quietly)
    assert Ledger(shop.engine).entries(ROLLED_BACK) == []
    assert shop.champion() == "shop@2"
