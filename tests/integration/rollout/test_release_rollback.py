"""`penstock release rollback`: one act, one entry; whoever dies in the middle, the next goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import crashes
import pytest
from crashes import Nursery
from gateways import ask
from shops import BASELINE, ENTITIES, GOOD, Shop

from penstock.audit.ledger import Ledger
from penstock.cli.main import run
from penstock.errors import IntegrityError, RolloutError
from penstock.registry.champions import ROLLED_BACK, standing
from penstock.registry.promotion import make_champion
from penstock.releases.rollback import RESTORED, roll_back, unfinished
from penstock.serving import endpoint as endpoints
from penstock.serving.routing.table import serving_only
from penstock.state.rollouts import Quarantined, put_into_quarantine

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(crashes.Path(crashes.__file__).parent), prepend=":")
        made = Nursery()
        yield made
        made.close()


def crowned(shop: Shop, *numbers: int) -> None:
    for number in numbers:
        one = shop.found(number)
        make_champion(
            shop.project, shop.engine, one.label, one.digest, reason="a rollout", actor="ro-1"
        )


def aliases(shop: Shop) -> dict[str, int]:
    found = shop.found(BASELINE), shop.found(GOOD)
    return {alias: one.version for one in found for alias in one.aliases}


def quietly(*_: object) -> None:
    """Progress that nobody watches."""


def test_production_serves_what_it_served_before(
    new_shop: Callable[..., Shop], capsys: pytest.CaptureFixture[str]
) -> None:
    shop = new_shop()
    crowned(shop, BASELINE, GOOD)
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
    assert (aliases(shop)["champion"], aliases(shop)["archived"]) == (BASELINE, GOOD)

    # There is nothing before it.
    assert run([*told, "--project", str(shop.root)]) == 1
    assert "there is no champion before shop@1" in capsys.readouterr().err


def test_whoever_dies_in_the_middle_the_next_goes_on_from_the_entry(
    new_shop: Callable[..., Shop], nursery: Nursery
) -> None:
    shop = new_shop()
    crowned(shop, BASELINE, GOOD)
    endpoints.publish(endpoints.place_of(shop.project, "production"), serving_only(shop.spec(GOOD)))

    assert nursery.run(crashes.rolling_back, shop.root) > 3

    (entry,) = Ledger(shop.engine).entries(ROLLED_BACK)
    (end,) = Ledger(shop.engine).entries(RESTORED)
    assert (entry.subject, entry.details["archived"]) == ("shop@1", "shop@2")
    assert end.details["of"] == entry.sequence
    assert unfinished(shop.engine) is None
    assert standing(shop.engine).label == "shop@1"
    assert shop.table().releases[shop.table().champion].digest == shop.found(BASELINE).digest
    assert (aliases(shop)["champion"], aliases(shop)["archived"]) == (BASELINE, GOOD)


def test_bytes_in_quarantine_do_not_come_back(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop()
    crowned(shop, BASELINE, GOOD)
    one, at = shop.found(BASELINE), Ledger(shop.engine).entries()[-1].at
    put_into_quarantine(shop.engine, Quarantined(one.digest, one.label, "errors", "ro-0", at))
    with pytest.raises(IntegrityError, match="shop@1 is in quarantine since"):
        roll_back(shop.project, shop.engine, reason="a doubt", progress=quietly)
    assert Ledger(shop.engine).entries(ROLLED_BACK) == []
    assert shop.champion() == "shop@2"
