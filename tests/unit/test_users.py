"""Users as a fold of the ledger: whose entries count, and who may do what when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from penstock.access import administration
from penstock.access.own_key import make_own_key, own_key, place_of
from penstock.access.present import permitted
from penstock.access.roles import MAY, Permission, Role, may, roles_for
from penstock.access.tokens import ALL, BYTES, digest_of, matching, new
from penstock.access.users import ADDED, KEY, Directory, directory, folded, users
from penstock.audit.ledger import Actor, Draft, Ledger, MemoryLedger
from penstock.audit.notes import SigningKey
from penstock.audit.payloads import erase
from penstock.errors import AccessError, SettingsError, UsageError
from penstock.project import Project
from penstock.state.database import open_database

MakeProject = Callable[..., Project]
OS = Actor("root@shop", name="root", authenticated="os")
ANN, BOB = Actor("ann", authenticated="token"), Actor("bob", authenticated="token")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def engine(make_project: MakeProject) -> Engine:
    return open_database(make_project())


@pytest.fixture
def ann(engine: Engine) -> str:
    """The first user's token."""
    return administration.add(engine, "ann", Role.ADMIN, by=OS).text


def may_do(engine: Engine, token: str, permission: Permission, now: datetime | None = None) -> str:
    """Who it is."""
    return permitted(directory(engine), token, permission, now or datetime.now(UTC)).id


def test_each_role_may_do_what_a_lesser_one_may() -> None:
    assert MAY[Role.VIEWER] < MAY[Role.OPERATOR] < MAY[Role.APPROVER] < MAY[Role.ADMIN] == ALL
    assert roles_for(Permission.APPROVE) == (Role.APPROVER, Role.ADMIN)
    assert not may(Role.ADMIN, Permission.APPROVE, frozenset({Permission.READ}))  # by its scopes
    assert not may(None, Permission.READ, ALL)


def test_without_users_the_machine_s_user_may_everything_and_the_first_one_is_an_admin(
    engine: Engine,
) -> None:
    assert all("@" in may_do(engine, "", permission) for permission in Permission)
    with pytest.raises(AccessError, match="the first user must be an admin"):
        administration.add(engine, "bob", Role.OPERATOR, by=OS)
    assert Ledger(engine).entries() == []


def test_from_the_first_user_on_it_takes_a_token_whose_role_allows_it(
    engine: Engine, ann: str
) -> None:
    bob = administration.add(engine, "bob", Role.OPERATOR, by=ANN).text
    assert may_do(engine, ann, Permission.ADMINISTER) == "ann"
    assert may_do(engine, bob, Permission.OPERATE) == "bob"
    for token, permission, told in (
        ("", Permission.OPERATE, "no token says who you are"),
        (bob[:-1], Permission.OPERATE, "the token is of no user"),
        (bob, Permission.APPROVE, "bob, who is operator, may not approve"),
    ):
        with pytest.raises(AccessError, match=told):
            may_do(engine, token, permission)
    administration.change_role(engine, "bob", Role.APPROVER, by=ANN)
    assert may_do(engine, bob, Permission.APPROVE) == "bob"
    administration.remove(engine, "bob", by=ANN)
    with pytest.raises(AccessError, match="of no user"):
        may_do(engine, bob, Permission.READ)
    administration.add(engine, "bob", Role.OPERATOR, by=ANN)
    with pytest.raises(AccessError, match="of no user"):  # the old token is not his any more
        may_do(engine, bob, Permission.READ)


def test_a_token_ends_by_its_time_by_its_scopes_and_by_being_revoked(
    engine: Engine, ann: str
) -> None:
    short = administration.issue(
        engine, "ann", by=ANN, scopes={Permission.READ}, expires=timedelta(days=1)
    )
    assert may_do(engine, short.text, Permission.READ) == "ann"
    with pytest.raises(AccessError, match=f"by the token {short.id}, may not operate"):
        may_do(engine, short.text, Permission.OPERATE)
    late = datetime.now(UTC) + timedelta(days=1, seconds=2)
    with pytest.raises(AccessError, match=f"the token {short.id} of ann expired"):
        may_do(engine, short.text, Permission.READ, late)
    assert administration.revoke(engine, short.id[:6], by=ANN) == "ann"
    with pytest.raises(AccessError, match="of no user"):
        may_do(engine, short.text, Permission.READ)
    with pytest.raises(UsageError, match="no single token"):
        administration.revoke(engine, "", by=ANN)
    assert may_do(engine, ann, Permission.ADMINISTER) == "ann"


def test_tokens_are_256_random_bits_and_only_their_digest_is_kept(engine: Engine, ann: str) -> None:
    assert BYTES * 8 == 256
    assert len({new().text for _ in range(100)}) == 100
    kept = "".join(str(entry.details) for entry in Ledger(engine).entries())
    assert digest_of(ann) in kept
    assert ann not in kept
    known = [token for user in users(engine) for token in user.tokens]
    assert matching(ann, known) is known[0]
    assert matching(ann.upper(), known) is None


def test_the_last_admin_stays(engine: Engine, ann: str) -> None:
    for act in (
        administration.remove,
        lambda e, u, by: administration.change_role(e, u, Role.APPROVER, by=by),
    ):
        with pytest.raises(AccessError, match="ann is the last admin"):
            act(engine, "ann", by=ANN)
    administration.add(engine, "bob", Role.ADMIN, by=ANN)
    administration.remove(engine, "ann", by=BOB)
    assert [user.id for user in users(engine)] == ["bob"]


def test_an_admin_whose_every_token_expired_gets_one_from_the_machine(engine: Engine) -> None:
    administration.add(engine, "ann", Role.ADMIN, by=OS, expires=timedelta(seconds=-1))
    assert "@" in may_do(engine, "", Permission.ADMINISTER)
    with pytest.raises(AccessError, match="no token says"):  # for nothing else
        may_do(engine, "", Permission.OPERATE)
    with pytest.raises(AccessError, match="is no admin"):
        administration.add(engine, "eve", Role.ADMIN, by=OS)
    fresh = administration.issue(engine, "ann", by=OS)
    assert may_do(engine, fresh.text, Permission.ADMINISTER) == "ann"
    with pytest.raises(AccessError, match="is no admin"):  # and only once
        administration.issue(engine, "ann", by=OS)


def test_entries_of_who_is_no_admin_are_passed_over() -> None:
    book = MemoryLedger()

    def wrote(by: Actor, action: str, subject: str, **details: str) -> None:
        book.write(Draft(by=by, action=action, subject=subject, details=details))

    wrote(OS, ADDED, "ann", role="admin")
    wrote(BOB, ADDED, "bob", role="admin")  # by hand: nobody let him in
    wrote(OS, "user.changed", "ann", role="viewer")
    wrote(OS, "token.issued", "ann", token="x")  # not whole
    wrote(ANN, ADDED, "eve", role="king")
    wrote(ANN, ADDED, "dan", role="viewer")
    found = folded(book.entries())
    assert {user.id: user.role for user in found.users} == {"ann": "admin", "dan": "viewer"}


ACTS = st.tuples(
    st.sampled_from(["ann", "bob", "eve", "root@shop"]),
    st.sampled_from([ADDED, "user.changed", "user.removed", KEY]),
    st.sampled_from(["ann", "bob", "eve"]),
    st.sampled_from(list(Role)),
)


@given(st.lists(ACTS, max_size=25))
def test_whatever_is_written_there_is_an_admin_from_the_first_user_on(
    acts: list[tuple[str, str, str, Role]],
) -> None:
    book, found = MemoryLedger(), Directory()
    for by, action, about, role in acts:
        actor = Actor(by, authenticated="os" if "@" in by else "token")
        key = str(SigningKey(about, bytes(32)).verifying)
        said = {"key": key} if action == KEY else {"role": role}
        before, entry = (
            found,
            book.write(Draft(by=actor, action=action, subject=about, details=said)),
        )
        found = found.after(entry)
        if found != before and before.began is not None:
            assert before.role_of(by) is Role.ADMIN
        assert found.admins or found.began is None
        for user in found.known:  # what somebody was then does not change later
            assert found.role_at(user, entry.sequence) is found.role_of(user)


def test_names_are_beside_the_ledger_and_can_be_erased(engine: Engine) -> None:
    administration.add(engine, "ann", Role.ADMIN, by=OS, name="Ann Smith", email="ann@shop.example")
    (user,) = users(engine)
    assert (user.name, user.email) == ("Ann Smith", "ann@shop.example")
    assert not [entry for entry in Ledger(engine).entries() if "Smith" in str(entry.details)]
    erase(Ledger(engine), "ann", reason="she left", by=ANN)
    (user,) = users(engine)
    assert (user.id, user.name, user.email) == ("ann", "", "")


def test_a_key_is_known_for_what_was_signed_while_it_was(engine: Engine, ann: str) -> None:
    first, second = (str(SigningKey("bob", bytes([n] * 32)).verifying) for n in (1, 2))
    administration.add(engine, "bob", Role.APPROVER, by=ANN, key=first)
    administration.add_key(engine, "bob", second, by=ANN)
    changed = Ledger(engine).entries(KEY)[-1].sequence
    known = directory(engine)
    assert (known.keys_at("bob", changed - 1), known.keys_at("bob", changed + 1)) == (
        [first],
        [second],
    )
    administration.remove(engine, "bob", by=ANN)
    last = Ledger(engine).entries()[-1].sequence
    assert directory(engine).keys_at("bob", last + 1) == []
    with pytest.raises(AccessError, match="there is no user bob"):
        administration.add_key(engine, "bob", first, by=ANN)
    with pytest.raises(UsageError, match="the key of bob, not of ann"):
        administration.add_key(engine, "ann", first, by=ANN)
    with pytest.raises(UsageError, match="'secret' is no public key"):
        administration.add_key(engine, "ann", "secret", by=ANN)


def test_keys_of_the_time_without_users_end_with_the_first_one(engine: Engine) -> None:
    own = str(SigningKey(OS.id, bytes(32)).verifying)
    administration.add_key(engine, OS.id, own, by=OS)
    with pytest.raises(AccessError, match="the key of their own"):
        administration.add_key(engine, "eve", str(SigningKey("eve", bytes(32)).verifying), by=OS)
    assert directory(engine).key_of(OS.id) == own
    administration.add(engine, "ann", Role.ADMIN, by=OS)
    assert directory(engine).key_of(OS.id) == ""


def test_a_person_s_own_key_is_theirs_alone() -> None:
    made = make_own_key("zoe")
    assert place_of("zoe").stat().st_mode & 0o777 == 0o600
    assert own_key("zoe") == make_own_key("zoe") == made
    assert make_own_key("zoe", new=True) != made
    with pytest.raises(SettingsError, match="nobody has no key to sign with"):
        own_key("nobody")
    place_of("max").write_text(place_of("zoe").read_text())
    with pytest.raises(SettingsError, match="is the key of zoe"):
        own_key("max")


@pytest.mark.parametrize("bad", ["", "a b", "../x", "é", "a" * 65])
def test_an_id_that_cannot_be_one_is_refused(engine: Engine, bad: str) -> None:
    with pytest.raises(UsageError, match="cannot be a user's id"):
        administration.add(engine, bad, Role.ADMIN, by=OS)
