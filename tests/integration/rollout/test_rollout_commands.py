"""The commands about rollouts: what they refuse, with field and reason, and what they do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shops import BROKEN, GOOD, PRODUCTION, Shop

from penstock.cli.main import run
from penstock.rollout.states import Status
from penstock.state import routes
from penstock.state.rollouts import Quarantined, put_into_quarantine

pytestmark = pytest.mark.slow

QUICK = """\
stages = [{ weight = 0.5, bake = "1h" }]
guardrails = ["error_rate"]
"""


class Person:
    """Types commands in a shop."""

    def __init__(self, shop: Shop, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self.shop, self._capsys, self._folder = shop, capsys, folder

    def types(self, *words: str) -> tuple[int, str]:
        """Exit status, and what was printed."""
        self._capsys.readouterr()
        status = run([*words, "--project", str(self.shop.root)])
        told = self._capsys.readouterr()
        return status, told.out + told.err

    def reads(self, *words: str) -> Any:
        status, told = self.types(*words, "--json")
        assert status == 0, told
        return json.loads(told)

    def plan(self, text: str) -> str:
        file = self._folder / "plan.toml"
        file.write_text(text)
        return str(file)

    def refused(self, *words: str) -> str:
        status, told = self.types(*words)
        assert status in (1, 2), told
        assert told.startswith("error: "), told
        return told


@pytest.fixture
def person(
    new_shop: Callable[..., Shop], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Person:
    """In a shop whose gateways are elsewhere."""
    shop = new_shop()
    shop.publish_baseline()
    return Person(shop, capsys, tmp_path)


PLANS = [
    (
        'stages = [{weight = 0.5, bake = "1h"}, {weight = 0.2, bake = "1h"}]',
        "plan.toml:1: stages.1.weight 0.2 falls below the 0.5 of the stage before",
    ),
    ('\nstages = [{weight = 1.1, bake = "1h"}]', "plan.toml:2: stages.0.weight: "),
    ('stages = [{weight = -0.1, bake = "1h"}]', "plan.toml:1: stages.0.weight: "),
    ("stages = [{weight = 0.5}]", "plan.toml:1: stages.0: a stage needs time or events"),
    (
        'stages = [{weight = 0.5, bake = "2h", max = "1h"}]',
        "plan.toml:1: stages.0: max is shorter than bake",
    ),
    (
        '[blue_green]\nwatch = "1h"\nmax = "1m"',
        "plan.toml:1: blue_green: max is shorter than watch",
    ),
    ('guardrails = ["cpu"]', "plan.toml:1: guardrails.0: metric 'cpu' is unknown; there are"),
    ("alpha = nan", "plan.toml:1: alpha: "),
    ('on_inconclusive = "pass"', "plan.toml:1: on_inconclusive: "),
    ('lease = "-1s"', "plan.toml:1: lease: "),
    ('strategy = "ab"', "unit: an A/B test compares users, and no unit is named"),
]


def test_nonsense_is_refused_with_its_field_and_a_rollout_in_flight_goes_on(
    person: Person,
) -> None:
    shop = person.shop
    good = person.plan(QUICK)
    begun = person.reads("rollout", "start", "shop@2", "--file", good)
    shop.approve(GOOD)
    for _ in range(4):
        shop.follow()
        shop.controller.tick()
    digest, at = shop.found(BROKEN).digest, shop.state(begun["id"]).updated
    put_into_quarantine(shop.engine, Quarantined(digest, "shop@3", "errors", "ro-0", at))
    before, table = shop.remembered(begun["id"]).events, shop.table()

    for text, said in PLANS:
        told = person.refused("rollout", "start", "shop@6", "--file", person.plan(text))
        assert said in told, told
    good = person.plan(QUICK)
    for version, said in (
        ("shop@1", "candidate: shop@1 has the bytes of the baseline shop@1"),
        ("shop@3", "candidate: shop@3 is in quarantine: a rollout of the same bytes was rolled"),
        ("shop@7", "shop@7 was never deployed to staging"),
        ("shop@99", "99"),
        ("other@1", "'other@1' is no version of this project's model"),
        ("shop@6", f"{begun['id']} of production goes on"),
    ):
        told = person.refused("rollout", "start", version, "--file", good)
        assert said in told, told
    for words, said in (
        (("resume", begun["id"]), "is baking, and cannot be resumed"),
        (("approve", begun["id"], "--point", "lunch"), "waits for no approval of lunch"),
        (("promote", begun["id"], "--full"), "no reason is given"),
        (("abort", "ro-none"), "no single rollout is called 'ro-none'"),
        (("start", "shop@6", "--file", "none.toml"), "none.toml: there is no such file"),
        (("check", "--file", good, "--rate", "-1"), "--rate -1: requests a minute are above 0"),
        (("check", "--file", good, "--rate", "nan"), "--rate nan: requests a minute"),
        (("check", "--file", good, "--error-rate", "1"), "--error-rate 1: a share is from 0"),
        (("simulate", "--file", good, "--rate", "inf"), "--rate inf: requests a minute"),
        (("simulate", "--file", good, "--rollouts", "0"), "--rollouts 0: 1 to 20,000"),
    ):
        told = person.refused("rollout", *words)
        assert said in told, told

    assert shop.remembered(begun["id"]).events == before
    assert shop.table() == table
    shop.follow()
    shop.controller.tick()
    assert shop.state(begun["id"]).status == "baking"
    assert [one["id"] for one in person.reads("rollout", "list")] == [begun["id"]]


def test_an_unapproved_version_waits_and_nothing_is_routed(person: Person) -> None:
    shop = person.shop
    good = person.plan(QUICK)
    begun = person.reads("rollout", "start", "shop@2", "--file", good)
    table = shop.table()
    shop.until(begun["id"], "awaiting approval")
    shop.controller.tick()

    seen = person.reads("rollout", "status")
    assert "one more person must approve shop@2 before start" in seen["waits_for"]
    assert shop.table() == table
    person.reads("rollout", "approve", begun["id"], "--reason", "tested")
    assert "approved" in person.refused("rollout", "approve", begun["id"])
    shop.follow()
    assert shop.until(begun["id"], "preparing").approvals[0].point == "start"


def test_an_unapproved_version_is_not_an_endpoints_first(
    new_shop: Callable[..., Shop], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    person = Person(new_shop(), capsys, tmp_path)
    assert "candidate: shop@2 has 0 of 1 approvals" in person.refused("rollout", "start", "shop@2")
    assert routes.published(person.shop.engine, PRODUCTION) is None


def test_what_people_type_is_done_and_shown(person: Person) -> None:
    shop = person.shop
    begun = person.reads("rollout", "start", "shop@2", "--file", person.plan(QUICK))
    shop.approve(GOOD)
    for _ in range(4):
        shop.follow()
        shop.controller.tick()
    short = begun["id"][:-1]
    status, told = person.types("rollout", "status")
    assert (status, "shop@2" in told, "baking" in told) == (0, True, True)
    assert person.reads("rollout", "pause", short)["status"] == Status.PAUSED
    assert person.reads("rollout", "resume", short)["status"] == Status.BAKING
    assert person.reads("rollout", "abort", short, "--reason", "why not")["status"] == "returning"
    shop.follow()
    shop.until(begun["id"])
    status, told = person.types("rollout", "show", short)
    assert status == 0
    assert told.startswith(f"# {begun['id']}: shop@2 on production")
    assert "why not" in told
    (listed,) = person.reads("rollout", "list")
    assert (listed["status"], listed["outcome"]) == ("aborted", "aborted")
