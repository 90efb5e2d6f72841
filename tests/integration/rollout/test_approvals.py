"""Who may let a model serve: at the command line, in a rollout, and at the gateway itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from gateways import Answer, ask
from shops import BASELINE, BROKEN, CODER, GOOD, OTHER, PRODUCTION, RUNNER, UNTESTED, Shop

from penstock.access import administration
from penstock.access.own_key import make_own_key
from penstock.access.roles import Role
from penstock.approval_settings import ApprovalPolicy
from penstock.approvals import giving
from penstock.approvals.admission import require_approval
from penstock.approvals.book import approvals, standing, standing_of
from penstock.approvals.statement import Statement, Verdict, signed
from penstock.audit.dsse import IN_TOTO, sign, to_document
from penstock.audit.ledger import Actor, Draft, Ledger, acting_as
from penstock.audit.notes import SigningKey
from penstock.cli.main import run
from penstock.errors import AccessError, IntegrityError, PenstockError, ServingError
from penstock.registry import versions
from penstock.rollout import service
from penstock.rollout.api import Api
from penstock.rollout_settings import RolloutSettings
from penstock.serving import endpoint as endpoints
from penstock.serving.routing.table import serving_only
from penstock.state import routes

pytestmark = pytest.mark.slow

PEOPLE = {"ann": Role.ADMIN, "bob": Role.APPROVER, CODER: Role.APPROVER, "olaf": Role.OPERATOR}
MACHINE = Actor("root@here", authenticated="os")
ONE_HOUR_BAKE: dict[str, Any] = {"stages": [{"weight": 0.5, "bake": "1h"}]}


class Team:
    """A shop whose production takes one approval, and its people, each with token and key."""

    def __init__(self, shop: Shop, patch: pytest.MonkeyPatch, capsys: Any) -> None:
        self.shop, self._patch, self._capsys = shop, patch, capsys
        self.tokens: dict[str, str] = {}
        for user, role in PEOPLE.items():
            by = Actor("ann", authenticated="token") if self.tokens else MACHINE
            key = str(make_own_key(user).verifying)
            fresh = administration.add(shop.engine, user, role, by=by, key=key)
            self.tokens[user] = fresh.text

    def types(self, person: str, *words: str) -> tuple[int, str]:
        """Exit status, and what was printed; without a person, without a token."""
        self._patch.setenv("PENSTOCK_TOKEN", self.tokens.get(person, ""))
        self._capsys.readouterr()
        status = run([*words, "--project", str(self.shop.root)])
        told = self._capsys.readouterr()
        self._patch.delenv("PENSTOCK_TOKEN")
        return status, told.out + told.err

    def says(self, person: str, verb: str, version: int, *words: str) -> tuple[int, str]:
        asked = ("--for", PRODUCTION, "--meaning", "tested", *words)
        return self.types(person, "models", verb, f"shop@{version}", *asked)

    def approves(self, person: str, version: int) -> None:
        status, told = self.says(person, "approve", version)
        assert status == 0, told

    def met(self, version: int) -> bool:
        digest = self.shop.found(version).digest
        now = datetime.now(UTC)
        return standing(self.shop.project, self.shop.engine, digest, PRODUCTION, now).met

    def look(self) -> None:
        """Controller and gateway go on as far as they can."""
        for _ in range(4):
            self.shop.follow()
            self.shop.controller.tick()

    def with_policy(self, **changes: Any) -> None:
        """The project's settings from now on."""
        policy = ApprovalPolicy.model_validate({"required": 1} | changes)
        settings = self.shop.project.settings.model_copy(update={"approvals": {PRODUCTION: policy}})
        object.__setattr__(self.shop.project, "settings", settings)


@pytest.fixture
def team(new_shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Team:
    shop = new_shop(required=1)
    shop.publish_baseline()
    return Team(shop, monkeypatch, capsys)


def forged(team: Team, by: str, version: int, key: SigningKey, **changes: Any) -> None:
    """An approval that somebody writes into the ledger by hand."""
    found = team.shop.found(version)
    told = {
        "verdict": Verdict.APPROVED,
        "model": found.label,
        "digest": found.digest,
        "target": PRODUCTION,
        "meaning": "fine",
        "person": by,
        "policy": "",
        "at": datetime.now(UTC),
        "digests": {},
    }
    write_approval(team, by, version, signed(Statement(**told | changes), key))


def write_approval(team: Team, person: str, version: int, envelope: Any) -> None:
    found = team.shop.found(version)
    Ledger(team.shop.engine).write(
        Draft(
            by=Actor(person, authenticated="token"),
            action="model.approved",
            subject=found.label,
            digest=found.digest,
            details={"target": PRODUCTION, "envelope": envelope},
        )
    )


def test_people_do_at_the_command_line_what_their_role_allows(team: Team) -> None:
    begin = ("rollout", "start", "shop@2")
    for person, words, told in (
        ("", begin, "this project has users, and no token says who you are"),
        (
            "olaf",
            ("models", "approve", "shop@2", "--for", PRODUCTION, "--meaning", "x"),
            "olaf, who is operator, may not approve",
        ),
        ("bob", ("users", "add", "eve", "--role", "admin"), "may not administer"),
        ("bob", ("users", "roles", "bob", "admin"), "may not administer"),
        ("olaf", ("audit", "erase", "ann", "--reason", "x"), "may not administer"),
        ("olaf", ("audit", "hold", "trial", "--reason", "x"), "may not administer"),
        ("bob", ("models", "key", "--new"), "may not administer"),
    ):
        status, printed = team.types(person, *words)
        assert status == 1
        assert told in printed
    for words in (("users", "list"), ("models", "key"), ("audit", "hold"), ("rollout", "list")):
        assert team.types("", *words)[0] == 0  # who looks is not asked
    team.approves("bob", GOOD)
    status, printed = team.types("olaf", *begin, "--json")
    assert status == 0, printed
    entry = Ledger(team.shop.engine).entries("rollout.created")[-1]
    assert (entry.by.id, entry.by.authenticated) == ("olaf", "token")


def test_an_approval_is_signed_and_says_what_it_is_about(team: Team) -> None:
    assert not team.met(GOOD)
    status, told = team.types("", "models", "approvals", "shop@2")
    assert status == 1
    assert "one more person must approve it, who is approver or admin" in told
    team.approves("bob", GOOD)
    assert team.met(GOOD)
    (one,) = approvals(team.shop.engine)
    found = team.shop.found(GOOD)
    assert (one.person, one.model, one.digest) == ("bob", "shop@2", found.digest)
    assert one.digests == {"model": found.digest, "code": "2" * 64}
    entry = Ledger(team.shop.engine).entries("model.approved")[-1]
    assert (entry.digests, entry.policy, entry.environment) == (one.digests, one.policy, PRODUCTION)
    status, told = team.types("", "models", "approvals", "shop@2", "--json")
    assert (status, json.loads(told)["decision"]["people"]) == (0, ["bob"])
    assert "bob" not in team.shop.label(GOOD)


def test_nobody_approves_their_own_work_and_one_no_is_enough(team: Team) -> None:
    status, told = team.says(CODER, "approve", GOOD)
    assert (status, "they made the code themselves" in told) == (1, True)
    assert team.types("", "models", "approvals", "shop@2")[0] == 1
    status, told = team.says("bob", "approve", UNTESTED)
    assert (status, "has not passed the integration tests" in told) == (1, True)
    status, told = team.types(
        "bob", "models", "approve", "shop@2", "--for", "moon", "--meaning", "x"
    )
    assert (status, "no endpoint of this project is called 'moon'" in told) == (2, True)
    team.approves("bob", GOOD)
    assert team.says("ann", "reject", GOOD)[0] == 0
    assert not team.met(GOOD)
    assert "ann rejected it: tested" in team.types("", "models", "approvals", "shop@2")[1]
    team.approves("bob", GOOD)
    assert not team.met(GOOD)
    team.approves("ann", GOOD)
    assert team.met(GOOD)


def test_who_has_no_key_that_is_known_signs_nothing(team: Team) -> None:
    make_own_key("bob", new=True)
    status, told = team.says("bob", "approve", GOOD)
    assert (status, "nobody has made the key of bob known" in told) == (1, True)
    key = json.loads(team.types("bob", "users", "key", "--json")[1])["key"]
    assert team.types("bob", "users", "key", "--add", key)[0] == 1
    assert team.types("ann", "users", "key", "bob", "--add", key)[0] == 0
    team.approves("bob", GOOD)


def test_forged_approvals_are_as_if_they_were_not_there(team: Team) -> None:
    shop, bobs = team.shop, make_own_key("bob")
    other = shop.found(OTHER)
    for key, changes in (
        (SigningKey.generate("bob"), {}),  # a key that nobody has made known
        (make_own_key("olaf"), {}),  # another's
        (bobs, {"person": "ann"}),
        (bobs, {"digest": other.digest}),
        (bobs, {"model": other.label}),
        (bobs, {"target": "staging"}),
        (bobs, {"verdict": Verdict.REJECTED}),
    ):
        forged(team, "bob", GOOD, key, **changes)
    forged(team, "ann", GOOD, bobs)
    team.approves("bob", OTHER)
    copied = Ledger(shop.engine).entries("model.approved")[-1].details["envelope"]
    write_approval(team, "bob", GOOD, copied)
    write_approval(team, "bob", GOOD, {"payload": "?"})
    write_approval(team, "bob", GOOD, None)
    assert not team.met(GOOD)
    forged(team, "bob", GOOD, bobs, at=datetime.now(UTC) + timedelta(days=300))
    assert not team.met(GOOD)  # that would never expire
    forged(team, "olaf", GOOD, make_own_key("olaf"))
    assert not team.met(GOOD)  # an operator
    administration.change_role(
        shop.engine, "olaf", Role.APPROVER, by=Actor("ann", authenticated="token")
    )
    mine = Ledger(shop.engine).entries("model.approved")[-1].details["envelope"]
    write_approval(team, "olaf", GOOD, mine)
    assert not team.met(GOOD)  # what was signed before the role is not made better by copying it


def handed_in(team: Team, url: str, who: str, key: SigningKey, **changes: Any) -> Answer:
    """What somebody with HTTP alone does: asks what to sign, signs it, and hands it in."""
    bearer = {"Authorization": f"Bearer {team.tokens[who]}"}
    document = ask(f"{url}/approvals/shop@{GOOD}/{PRODUCTION}", **bearer).body
    document["predicate"] |= {"meaning": "tested"} | changes
    envelope = to_document(sign(IN_TOTO, json.dumps(document).encode(), key.sign))
    return ask(f"{url}/approvals", envelope, **bearer)


def test_who_has_http_alone_approves_what_they_signed(team: Team) -> None:
    shop, bobs = team.shop, make_own_key("bob")
    hour = timedelta(hours=1)
    with Api(shop.project, shop.engine, "127.0.0.1", 0) as api:
        for person, key, changes, status in (
            ("bob", make_own_key("ann"), {}, 409),
            ("bob", bobs, {"person": "ann"}, 403),
            ("bob", bobs, {"meaning": " "}, 400),
            ("bob", bobs, {"policy": "f" * 64}, 409),
            ("bob", bobs, {"digests": {"model": "f" * 64}}, 409),
            ("bob", bobs, {"target": "nowhere"}, 400),
            ("bob", bobs, {"verdict": "broke glass"}, 400),
            ("bob", bobs, {"at": (datetime.now(UTC) - 2 * hour).isoformat()}, 409),
            ("bob", bobs, {"at": (datetime.now(UTC) + hour).isoformat()}, 409),
            (CODER, make_own_key(CODER), {}, 403),  # wrote its code
        ):
            said = handed_in(team, api.url, person, key, **changes)
            assert said.status == status, (person, changes, said.body)
        operator = {"Authorization": f"Bearer {team.tokens['olaf']}"}
        assert ask(f"{api.url}/approvals/shop@{GOOD}/{PRODUCTION}", **operator).status == 403
        assert not team.met(GOOD)
        said = handed_in(team, api.url, "bob", bobs)
        assert (said.status, said.body["verdict"], said.body["met"]) == (201, "approved", True)
        assert team.met(GOOD)
        entry = Ledger(shop.engine).entries("model.approved")[-1]
        assert (entry.actor, entry.sequence) == ("bob", said.body["entry"])
        assert (entry.by.authenticated, entry.environment) == ("token", PRODUCTION)

        envelope = entry.details["envelope"]
        handed_in(team, api.url, "bob", bobs, verdict="rejected")
        assert not team.met(GOOD)
        # Who stole the token alone cannot hand in again what was said before.
        bearer = f"Bearer {team.tokens['bob']}"
        again = ask(f"{api.url}/approvals", envelope, Authorization=bearer)
        assert again.status == 409
        assert "newer" in again.body["error"]
        assert ask(f"{api.url}/approvals", envelope).status == 401
        assert not team.met(GOOD)


def test_other_digests_make_approvals_void_and_hold_a_rollout(team: Team) -> None:
    shop = team.shop
    team.approves("bob", GOOD)
    rollout = shop.start(GOOD, **ONE_HOUR_BAKE)
    team.look()
    assert shop.state(rollout).status == "baking"
    versions.tag(shop.project, "shop", GOOD, {"penstock.digest.code": "e" * 64})
    shop.restart_controller()
    held = shop.until(rollout, "held")
    assert "bob's approval does not count: it is void: the digest of code is another" in held.reason
    with (
        acting_as(Actor("ann", authenticated="token")),
        pytest.raises(IntegrityError, match="another digest of code than was registered"),
    ):
        giving.approve(shop.project, shop.engine, shop.found(GOOD), PRODUCTION, meaning="x")
    versions.tag(shop.project, "shop", GOOD, {"penstock.digest.code": f"{GOOD}" * 64})


def test_an_approval_that_expires_holds_the_rollout_it_let_begin(team: Team) -> None:
    shop = team.shop
    team.with_policy(expires="2h")
    team.approves("bob", GOOD)
    rollout = shop.start(GOOD, **ONE_HOUR_BAKE)
    team.look()
    assert shop.state(rollout).status == "baking"
    shop.ahead = timedelta(hours=2)
    shop.controller.tick()
    state = shop.state(rollout)
    assert (state.status, "may not serve any more" in state.reason) == ("held", True)
    shop.act(rollout, "resume")
    shop.controller.tick()
    assert shop.state(rollout).status == "held"
    shop.ahead = timedelta(0)
    team.approves("ann", GOOD)
    shop.act(rollout, "resume")
    shop.follow()
    shop.controller.tick()
    assert shop.state(rollout).status == "baking"


def test_a_rollout_waits_for_the_policy_whatever_its_plan_says(team: Team) -> None:
    shop = team.shop
    rollout = shop.start(GOOD, approvals={"required": 0}, **ONE_HOUR_BAKE)
    shop.controller.tick()
    assert shop.state(rollout).status == "awaiting approval"
    assert "models approve shop@2 --for production" in shop.notices()
    for person, told in ((CODER, "they made the code"), ("olaf", "it takes approver or admin")):
        with pytest.raises(PenstockError, match=told):
            shop.act(rollout, "approve", person)
    team.approves("bob", GOOD)
    shop.controller.tick()
    assert shop.state(rollout).status == "preparing"


def test_broken_glass_lets_in_is_told_and_waits_for_somebody_else(team: Team) -> None:
    shop = team.shop
    assert team.says("bob", "reject", GOOD)[0] == 0
    glass = ("--break-glass", "--reason", "the champion is down")
    assert team.says(CODER, "approve", GOOD, "--break-glass")[0] == 2
    assert team.says("olaf", "approve", GOOD, *glass)[0] == 1
    status, told = team.says(CODER, "approve", GOOD, *glass)
    assert (status, "by the glass that carl broke, until" in told) == (0, True)
    assert team.met(GOOD)
    assert "the glass was broken for shop@2" in shop.notices()
    assert "waits for a review" in team.types("", "models", "approvals")[1]
    assert "penstock models review shop@2" in team.types("", "status")[1]
    look = ("models", "review", "shop@2", "--reason", "looked")
    status, told = team.types(CODER, *look)
    assert (status, "another person must look at it" in told) == (1, True)
    assert team.types("bob", *look)[0] == 0
    assert "reviewed by bob" in team.types("", "models", "approvals")[1]
    team.with_policy(break_glass="0s")
    with acting_as(Actor("ann")), pytest.raises(AccessError, match="no glass may be broken"):
        giving.break_glass(
            shop.project, shop.engine, shop.found(GOOD), PRODUCTION, meaning="", reason="x"
        )


def test_on_a_laptop_one_person_is_enough_and_the_first_user_changes_that(
    new_shop: Callable[..., Shop],
) -> None:
    shop = new_shop(required=1)
    shop.publish_baseline()
    found, now = shop.found(GOOD), datetime.now(UTC)
    shop.approve(GOOD)
    assert standing_of(shop.project, shop.engine, found, PRODUCTION, now).met
    administration.add(shop.engine, "ann", Role.ADMIN, by=MACHINE)
    assert standing_of(shop.project, shop.engine, found, PRODUCTION, now).met  # it was lawful then
    with pytest.raises(AccessError, match="they are no user"):
        shop.approve(OTHER)


# The gateway.


def test_a_gateway_loads_nothing_that_nobody_approved_whatever_the_table_says(
    team: Team,
) -> None:
    shop = team.shop
    with pytest.raises(ServingError, match=r"shop@1 .* is not approved for production: one more"):
        shop.serve_baseline()
    team.approves("bob", BASELINE)
    shop.serve_baseline()

    def refused(version: int, told: str) -> None:
        with pytest.raises(ServingError, match=told):
            shop.serve(serving_only(shop.spec(version)))
        assert ask(f"{shop.url}/routes").body["champion"] == f"shop-{BASELINE}-own"

    refused(GOOD, "is not approved for production")  # a table by hand
    forged(team, "bob", GOOD, SigningKey.generate("bob"))
    refused(GOOD, "is not approved for production")
    team.approves("bob", OTHER)  # other bytes, under this one's name
    lie = shop.spec(GOOD).model_copy(update={"model": "shop@6"})
    with pytest.raises(ServingError, match="is not approved for production"):
        shop.serve(serving_only(lie))
    assert team.says("ann", "reject", OTHER)[0] == 0
    refused(OTHER, "ann rejected it")
    team.approves("bob", GOOD)
    shop.serve(serving_only(shop.spec(GOOD)))
    assert ask(f"{shop.url}/routes").body["champion"] == f"shop-{GOOD}-own"

    # What serves goes on, also after a restart; and what had served before does not come back.
    assert team.says("ann", "reject", GOOD)[0] == 0
    assert team.says("ann", "reject", BASELINE)[0] == 0
    endpoints.stop(shop.folder)
    shop.serve(serving_only(shop.spec(GOOD)))
    with pytest.raises(ServingError, match=r"shop@1 .* ann rejected it"):
        shop.serve_baseline()


def test_a_gateway_believes_no_key_that_is_not_pinned_and_no_expired_word(
    team: Team, tmp_path: Path
) -> None:
    shop, pins = team.shop, tmp_path / "approvers.pub"
    team.approves("bob", GOOD)
    found = shop.found(GOOD)
    place = endpoints.place_of(shop.project, PRODUCTION)

    def ask_for(policy: ApprovalPolicy, digest: str = found.digest) -> None:
        require_approval(
            policy,
            endpoint=PRODUCTION,
            model=found.label,
            digest=digest,
            state=place.state,
            folder=place.folder,
            approver_keys=pins,
        )

    ask_for(ApprovalPolicy())
    with pytest.raises(AccessError, match="it expired at"):
        ask_for(ApprovalPolicy(expires=timedelta(microseconds=1)))
    with pytest.raises(AccessError, match="is not approved"):
        ask_for(ApprovalPolicy(), "0" * 64)
    pins.write_text(f"{make_own_key('ann').verifying}\n")
    with pytest.raises(AccessError, match="is not approved"):
        ask_for(ApprovalPolicy())
    pins.write_text(f"{pins.read_text()}{make_own_key('bob').verifying}\n")
    ask_for(ApprovalPolicy())
    pins.write_text("mine\n")
    with pytest.raises(PenstockError, match="does not hold the public keys of approvers"):
        ask_for(ApprovalPolicy())


def test_the_first_release_of_an_endpoint_is_approved_too(
    new_shop: Callable[..., Shop],
) -> None:
    shop = new_shop(required=1)
    plan = RolloutSettings.model_validate({"approvals": {"required": 0}})
    with pytest.raises(PenstockError, match="one more person must approve it"):
        service.start(shop.desk(), "shop@2", PRODUCTION, plan)
    assert routes.published(shop.engine, PRODUCTION) is None
    shop.approve(GOOD)
    service.start(shop.desk(), "shop@2", PRODUCTION, plan)
    entry = Ledger(shop.engine).entries("release.deployed")[-1]
    assert entry.approvals == tuple(one.entry for one in approvals(shop.engine))
    assert RUNNER not in entry.approvals
    assert shop.found(BROKEN).label not in shop.champion()
