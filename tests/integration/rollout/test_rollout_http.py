"""What people and Alertmanager may do to rollouts over HTTP, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest
from gateways import Answer, ask
from shops import BROKEN, PRODUCTION, Shop

from penstock.access import administration
from penstock.access.roles import Role
from penstock.audit.ledger import Actor, Ledger
from penstock.rollout.api import Api
from penstock.state.rollouts import Quarantined, put_into_quarantine

pytestmark = pytest.mark.slow

KEYS = "ann:admin:for-ann bob:admin:for-bob monitor:alerts:for-alerts app:predict:for-app"
QUIET: dict[str, Any] = {
    "approvals": {"required": 0},
    "stages": [{"weight": 0.5, "bake": "1h"}],
    "guardrails": ["error_rate", "latency_p95"],
    "lease": "1h",
}


class Client:
    """Asks the controller's HTTP interface with somebody's key."""

    def __init__(self, shop: Shop, url: str) -> None:
        self.shop, self.url = shop, url

    def __call__(self, path: str, document: Any = None, token: str = "for-ann") -> Answer:
        return ask(self.url + path, document, Authorization=f"Bearer {token}")

    def start(self, **plan: Any) -> str:
        """A canary that bakes."""
        said = self("/rollouts", {"model": "shop@2", "plan": QUIET | plan})
        assert said.status == 201, said.body
        rollout = str(said.body["id"])
        self.look()
        return rollout

    def look(self) -> None:
        """Controller and gateway go on as far as they can."""
        for _ in range(4):
            self.shop.follow()
            self.shop.controller.tick()

    def alert(self, *alerts: dict[str, Any], token: str = "for-alerts") -> list[dict[str, str]]:
        said = self("/alerts", notification(*alerts), token)
        assert said.status == 200, said.body
        found: list[dict[str, str]] = said.body["alerts"]
        return found


@pytest.fixture
def client(new_shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("PENSTOCK_SERVING_KEYS", KEYS)
    shop = new_shop()
    shop.publish_baseline()
    with Api(shop.project, shop.engine, "127.0.0.1", 0) as api:
        yield Client(shop, api.url)


def notification(*alerts: dict[str, Any]) -> dict[str, Any]:
    """As Alertmanager sends it."""
    return {
        "version": "4",
        "groupKey": '{}:{alertname="Errors"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "penstock",
        "groupLabels": {"alertname": "Errors"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": list(alerts),
    }


def alert(metric: str = "error_rate", **changes: Any) -> dict[str, Any]:
    given = {
        "status": "firing",
        "labels": {
            "alertname": "Errors",
            "penstock_endpoint": PRODUCTION,
            "penstock_metric": metric,
        },
        "annotations": {"summary": "many errors"},
        "startsAt": "2026-11-25T13:00:00.123456789Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus:9090/graph",
        "fingerprint": "51f0c8ec8a0b3e4d",
    }
    return given | changes


# People.


def test_a_rollout_is_led_over_http_and_the_ledger_names_who_did_what(client: Client) -> None:
    rollout = client.start(approvals={"required": 1})
    listed = client("/rollouts").body
    assert [(one["id"], one["status"]) for one in listed] == [(rollout, "awaiting approval")]

    def done(operation: str, token: str = "for-ann", **given: Any) -> str:
        said = client(f"/rollouts/{rollout}/{operation}", given, token)
        assert said.status == 200, said.body
        return str(said.body["status"])

    assert done("approve", "for-bob", reason="tested by hand") == "awaiting approval"
    client.look()
    seen = client(f"/rollouts/{rollout[:-2]}").body
    assert (seen["status"], seen["candidate"], seen["baseline"]) == ("baking", "shop@2", "shop@1")
    assert [one["share"] for one in seen["arms"]] == [0.5, 0.5]
    assert seen["next"]["what"]
    assert seen["gateways"][0]["revision"] > 1
    assert done("pause", reason="lunch") == "paused"
    assert done("resume") == "baking"
    assert done("promote") == "baking"  # the evidence must suffice
    assert done("rollback", "for-bob", reason="complaints") == "rolling back"
    assert client.shop.table().arms == ()  # at once, before a controller looks
    client.look()
    assert client(f"/rollouts/{rollout}").body["status"] == "rolled back"
    told = [(type(e).__name__, e.actor) for e in client.shop.remembered(rollout).events]
    assert {(name, actor) for name, actor in told if actor != "controller"} == {
        ("Created", "ann"),
        ("Approved", "bob"),
        ("Paused", "ann"),
        ("Resumed", "ann"),
        ("PromoteRequested", "ann"),
        ("RollingBack", "bob"),
    }


def test_each_key_may_do_what_its_scopes_say(client: Client) -> None:
    rollout = client.start()
    asked = [
        ("/rollouts", None),
        (f"/rollouts/{rollout}", None),
        ("/rollouts", {"model": "shop@2"}),
        (f"/rollouts/{rollout}/abort", {}),
        ("/alerts", notification()),
    ]
    for token in ("", "wrong", "for-"):
        assert [client(*one, token).status for one in asked] == [401] * 5
    assert [client(*one, "for-app").status for one in asked] == [403] * 5
    assert [client(*one, "for-alerts").status for one in asked] == [403] * 4 + [200]
    assert client("/alerts", notification()).status == 200  # admin may all
    assert ask(client.url + "/health/live").status == 200
    assert client.shop.state(rollout).status == "baking"


FALLING = [{"weight": 0.5, "bake": "1h"}, {"weight": 0.2, "bake": "1h"}]
REFUSED: list[tuple[str, Any, int, str | None, str]] = [
    # path, body, status, field, what is said of it
    ("/rollouts", b"{", 400, None, "truncated"),
    ("/rollouts", b"\xff", 400, None, ""),
    ("/rollouts", b"[" * 100_000, 400, None, ""),
    ("/rollouts", b" " * 1_000_001, 413, None, "more than 1000000 bytes"),
    ("/rollouts", [], 400, None, "object"),
    ("/rollouts", {}, 400, "model", "missing"),
    ("/rollouts", {"model": 3}, 400, "model", "Expected `str`"),
    ("/rollouts", {"model": "shop@2", "colour": 1}, 400, "colour", "unknown"),
    ("/rollouts", {"model": "other@1"}, 400, None, "is no version of this project's model"),
    ("/rollouts", {"model": "shop@99"}, 409, None, "99"),
    ("/rollouts", {"model": "shop@7"}, 409, None, "was never deployed to staging"),
    ("/rollouts", {"model": "shop@1"}, 409, "candidate", "has the bytes of the baseline shop@1"),
    ("/rollouts", {"model": "shop@3"}, 409, "candidate", "shop@3 is in quarantine"),
    ("/rollouts", {"model": "shop@2", "plan": {"alpha": 2}}, 400, "alpha", "less than 1"),
    ("/rollouts", {"model": "shop@2", "plan": {"stages": FALLING}}, 400, None, "falls below"),
    (
        "/rollouts", {"model": "shop@2", "plan": {"stages": [{"weight": 1.5, "bake": "1h"}]}},
        400, "stages.0.weight", "less than or equal to 1",
    ),
    (
        "/rollouts", {"model": "shop@2", "plan": {"stages": [{"weight": 0.5}]}},
        400, "stages.0", "needs time or events",
    ),
    (
        "/rollouts", {"model": "shop@2", "plan": {"guardrails": ["cpu"]}},
        400, "guardrails.0", "'cpu' is unknown",
    ),
    ("/rollouts", {"model": "shop@2", "plan": {"strategy": "ab"}}, 409, "unit", "no unit is named"),
    ("/rollouts", {"model": "shop@2", "plan": QUIET}, 409, None, "of production goes on"),
    ("/rollouts/none/abort", {}, 404, None, "no single rollout"),
    ("/rollouts/ro-/../x", None, 404, None, ""),
    ("/rollouts/{}/dance", {}, 404, None, "none of approve, pause"),
    ("/rollouts/{}/abort", None, 405, None, "GET is not allowed"),
    ("/rollouts/{}", {}, 405, None, "POST is not allowed"),
    ("/rollouts/{}/abort", {"reason": 3}, 400, "reason", "Expected `str`"),
    ("/rollouts/{}/pause", {"full": True}, 400, None, "takes none of full"),
    ("/rollouts/{}/resume", {}, 409, None, "is baking, and cannot be resumed"),
    ("/rollouts/{}/promote", {"full": True}, 409, None, "no reason is given"),
    ("/rollouts/{}/approve", {}, 409, None, "waits for no approval"),
    ("/alerts", b"{", 400, None, ""),
    ("/alerts", [], 400, None, ""),
    ("/alerts", {"version": "4"}, 400, "alerts", "missing"),
    ("/alerts", {"version": "3", "alerts": []}, 400, "version", "3"),
    ("/alerts", notification(alert(startsAt="yesterday")), 400, "startsAt", "date"),
    ("/alerts", notification(alert(labels={"a": 1})), 400, "labels", "Expected `str`"),
    ("/alerts", notification(alert(fingerprint="f" * 1_000)), 400, "fingerprint", "64"),
    ("/alerts", notification(*[alert()] * 1_001), 413, "alerts", "1001 alerts in one notification"),
]  # fmt: skip


def test_what_makes_no_sense_is_refused_and_disturbs_nothing(client: Client) -> None:
    shop = client.shop
    rollout = client.start()
    digest = shop.found(BROKEN).digest
    at = shop.state(rollout).updated
    put_into_quarantine(shop.engine, Quarantined(digest, "shop@3", "errors", "ro-0", at))
    before, table = shop.remembered(rollout).events, shop.table()

    for path, body, status, field, said in REFUSED:
        answer = client(path.format(rollout), body)
        about = (path, body if len(str(body)) < 500 else "…", answer.raw)
        assert answer.status == status, about
        assert answer.body.get("field") == field, about
        assert said in answer.body["error"], about

    assert shop.remembered(rollout).events == before
    assert shop.table() == table
    client.look()
    assert shop.state(rollout).status == "baking"


# Alertmanager.


def test_an_alert_is_told_once_and_moves_nothing(client: Client) -> None:
    rollout = client.start()
    first = client.alert(alert())
    known = client.alert(alert(), alert(status="resolved"))
    again = client.alert(alert(startsAt="2026-11-25T14:00:00Z"))
    others = client.alert(alert(labels={"alertname": "Disk"}), alert(**elsewhere()))
    client.look()

    assert [one["result"] for one in (*first, *known, *again, *others)] == [
        "proposed", "known", "resolved", "proposed", "ignored", "ignored",
    ]  # fmt: skip
    happened = client.shop.happened(rollout)
    assert happened.count("Alerted") == 2
    assert client.shop.state(rollout).status == "baking"
    assert client.shop.notices().count("shop@2 is complained about") == 2


def elsewhere() -> dict[str, Any]:
    return {"labels": {"penstock_endpoint": "elsewhere", "penstock_metric": "error_rate"}}


@pytest.mark.parametrize(
    ("metric", "result"),
    [
        ("error_rate", "rolled back"),
        ("latency_p95", "rolled back"),
        ("prediction_drift", "proposed"),
        ("event:refund", "proposed"),
    ],
)
def test_where_the_plan_lets_it_an_alert_on_errors_and_latency_rolls_back(
    client: Client, metric: str, result: str
) -> None:
    rollout = client.start(on_alert="rollback")
    (told,) = client.alert(alert(metric))
    happened = client.shop.happened(rollout)
    (repeated,) = client.alert(alert(metric))
    client.look()
    (after,) = client.alert(alert(metric))

    assert (told["result"], repeated["result"]) == (result, "known")
    assert client.shop.happened(rollout)[: len(happened)] == happened
    if result == "rolled back":
        state = client.shop.state(rollout)
        assert happened[-2:] == ["Alerted", "RollingBack"]
        assert state.reason == f"rolled back by monitor: many errors ({metric})"
        assert (state.status, state.quarantine) == ("rolled back", True)
        assert after["reason"] == "no rollout of production goes on"
    else:
        assert client.shop.state(rollout).status == "baking"
        assert after["result"] == "known"


def test_a_candidate_that_serves_nobody_is_not_rolled_back_by_an_alert(client: Client) -> None:
    rollout = client.start(on_alert="rollback", approvals={"required": 1})
    (told,) = client.alert(alert())

    assert told["result"] == "proposed"
    assert client.shop.state(rollout).status == "awaiting approval"


def test_a_flood_of_alerts_neither_fills_the_ledger_nor_hides_the_one_that_acts(
    client: Client,
) -> None:
    rollout = client.start(on_alert="rollback")
    flood = [alert("prediction_drift", fingerprint=f"f{number}") for number in range(30)]
    results = Counter(one["result"] for one in client.alert(*flood))
    assert results == {"proposed": 20, "ignored": 10}
    assert client.alert(alert("error_rate"))[0]["result"] == "rolled back"
    assert client.shop.happened(rollout).count("Alerted") == 21


def test_a_flood_of_requests_is_answered_and_one_alert_counts_once(client: Client) -> None:
    rollout = client.start()
    body = json.dumps(notification(alert()))

    async def send(session: aiohttp.ClientSession) -> int:
        async with session.post(f"{client.url}/alerts", data=body) as answer:
            await answer.read()
            return answer.status

    async def flood() -> list[int]:
        headers = {"Authorization": "Bearer for-alerts"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
            return await asyncio.gather(*(send(session) for _ in range(300)))

    statuses = Counter(asyncio.run(flood()))
    assert set(statuses) == {200, 503}
    assert statuses[200] >= 100
    assert client.shop.happened(rollout).count("Alerted") == 1
    assert client(f"/rollouts/{rollout}").body["status"] == "baking"


def test_once_there_are_users_it_takes_a_token_whose_role_allows_it(client: Client) -> None:
    engine, rollout = client.shop.engine, client.start(approvals={"required": 1})
    machine, admin = Actor("root@here", authenticated="os"), Actor("uma", authenticated="token")
    tokens = {"uma": administration.add(engine, "uma", Role.ADMIN, by=machine).text}
    for user, role in (("vic", Role.VIEWER), ("oz", Role.OPERATOR), ("amy", Role.APPROVER)):
        tokens[user] = administration.add(engine, user, role, by=admin).text

    def status(who: str, operation: str = "", **given: Any) -> int:
        path = f"/rollouts/{rollout}{'/' if operation else ''}{operation}"
        return client(path, given if operation else None, tokens.get(who, who)).status

    assert [status(who) for who in ("vic", "oz", "for-ann")] == [200, 200, 200]
    assert [status(who) for who in ("", "nobody", "for-app")] == [401, 401, 403]
    assert [status(who, "pause") for who in ("vic", "for-app", "")] == [403, 403, 401]
    # People approve: an operator may not, and a key is nobody.
    assert [status(who, "approve") for who in ("oz", "for-ann")] == [403, 403]
    assert status("amy", "approve", reason="tested") == 200
    assert status("oz", "pause", reason="lunch") == 200
    assert status("for-ann", "resume") == 200
    entries = Ledger(engine).entries(stream=f"rollout/{rollout}")
    assert {(e.by.id, e.by.authenticated) for e in entries if e.by.id != "controller"} == {
        *(("ann", "key"), ("amy", "token"), ("oz", "token"))
    }
    assert client.alert(alert(), token=tokens["oz"])[0]["result"] == "proposed"
    assert client("/alerts", notification(alert()), tokens["vic"]).status == 403
