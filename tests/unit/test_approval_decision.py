"""What makes an approval count: the policy as a property of who said what, when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.access.roles import Role
from penstock.approval_settings import ApprovalPolicy
from penstock.approvals.decision import Approval, BrokenGlass, Decision, Rejection, decide
from penstock.approvals.statement import Statement, Verdict, signed, verified
from penstock.audit.dsse import from_document
from penstock.audit.notes import SigningKey
from penstock.errors import IntegrityError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DIGESTS = {"model": "m", "code": "c"}
HOUR = timedelta(hours=1)
KINDS = {
    Verdict.APPROVED: Approval,
    Verdict.REJECTED: Rejection,
    Verdict.BROKE_GLASS: BrokenGlass,
}


def said(
    person: str, verdict: Verdict = Verdict.APPROVED, hours: float = -1, **changes: Any
) -> Any:
    """A statement some hours before (or after) now."""
    at = NOW + hours * HOUR
    given = {
        "verdict": verdict,
        "model": "shop@2",
        "digest": "m",
        "target": "production",
        "meaning": "tested",
        "person": person,
        "at": at,
        "policy": "",
        "digests": DIGESTS,
        "entry": f"{person} {verdict} {hours}",
        "sequence": 1,
        "written": at,
        "role": Role.APPROVER,
        "had_users": True,
    }
    return KINDS[verdict](**given | changes)


def decided(
    *found: Any,
    policy: ApprovalPolicy | None = None,
    authors: Mapping[str, set[str]] | None = None,
    digests: Mapping[str, str] | None = DIGESTS,
    now: datetime = NOW,
) -> Decision:
    def of(kind: type) -> list[Any]:
        return [one for one in found if type(one) is kind]

    return decide(
        policy or ApprovalPolicy(),
        of(Approval),
        of(Rejection),
        authors or {},
        digests,
        now,
        of(BrokenGlass),
    )


def policy(**changes: Any) -> ApprovalPolicy:
    return ApprovalPolicy.model_validate(changes)


TWO, DAY = policy(required=2), policy(expires="24h")
BY_ANN = {"code": {"ann"}, "run": {"rita"}}
NO = Verdict.REJECTED
GLASS = Verdict.BROKE_GLASS
CASES: list[tuple[str, list[Any], dict[str, Any], bool, str]] = [
    ("one of one", [said("ann")], {}, True, ""),
    ("nobody", [], {}, False, "one more person must approve it, who is approver or admin"),
    ("one of two", [said("ann")], {"policy": TWO}, False, "one more person.*; ann did"),
    ("one person twice", [said("ann"), said("ann", hours=-2)], {"policy": TWO}, False, "one more"),
    ("two of two", [said("ann"), said("bob")], {"policy": TWO}, True, ""),
    ("an operator", [said("ann", role=Role.OPERATOR)], {}, False, "they are operator"),
    ("no user", [said("ann", role=None)], {}, False, "they are no user"),
    ("without users", [said("ann", role=Role.ADMIN, had_users=False)], {}, True, ""),
    ("the author", [said("ann")], {"authors": BY_ANN}, False, "they made the code themselves"),
    ("not the author", [said("bob")], {"authors": BY_ANN}, True, ""),
    (
        "the author, without users",
        [said("ann", had_users=False)],
        {"authors": BY_ANN},
        True,
        "",
    ),
    (
        "four eyes also without users",
        [said("ann", had_users=False)],
        {"authors": BY_ANN, "policy": policy(four_eyes=True)},
        False,
        "themselves",
    ),
    ("two eyes", [said("ann")], {"authors": BY_ANN, "policy": policy(four_eyes=False)}, True, ""),
    ("within its time", [said("ann", hours=-23.9)], {"policy": DAY}, True, ""),
    ("expired", [said("ann", hours=-24)], {"policy": DAY}, False, "it expired at 2026-03-01"),
    ("dated ahead", [said("ann", hours=2, written=NOW)], {"now": NOW + 3 * HOUR}, False, "to come"),
    ("other code", [said("ann")], {"digests": DIGESTS | {"code": "x"}}, False, "digest of code"),
    ("digests gone", [said("ann")], {"digests": {}}, False, "void: the digest of code, model"),
    ("digests unknown", [said("ann")], {"digests": None}, True, ""),
    ("a new digest", [said("ann")], {"digests": DIGESTS | {"bom": "b"}}, True, ""),
    ("rejected", [said("ann"), said("bob", NO)], {}, False, "bob rejected it: tested"),
    ("rejected first", [said("ann"), said("bob", NO, -5)], {}, False, "bob rejected it"),
    ("rejected by who may not", [said("ann"), said("eve", NO, role=Role.VIEWER)], {}, True, ""),
    ("changed their mind", [said("bob"), said("bob", NO, -2)], {}, True, ""),
    ("changed it back", [said("bob", hours=-2), said("bob", NO)], {}, False, "bob rejected"),
    ("nobody must, one rejects", [said("bob", NO)], {"policy": policy(required=0)}, False, "bob"),
    ("broken glass", [said("ann", GLASS)], {"authors": BY_ANN}, True, ""),
    ("glass, after a rejection", [said("ann", GLASS), said("bob", NO, -2)], {}, True, ""),
    ("glass, then a rejection", [said("ann", GLASS, -2), said("bob", NO)], {}, False, "bob"),
    ("glass, a day ago", [said("ann", GLASS, -24)], {}, False, "one more person"),
    ("glass, other bytes", [said("ann", GLASS)], {"digests": {"model": "x"}}, False, "one more"),
    ("no glass", [said("ann", GLASS)], {"policy": policy(break_glass="0s")}, False, "one more"),
]


@pytest.mark.parametrize(
    ("found", "given", "met", "told"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_model_may_serve_by_the_word_of_others(
    found: list[Any], given: dict[str, Any], met: bool, told: str
) -> None:
    decision = decided(*found, **given)
    assert decision.met == met
    assert bool(decision.missing) != met
    assert re.search(told, "; ".join(decision.missing))


PEOPLE = ["ann", "bob", "eve"]
WORDS = st.builds(
    said,
    st.sampled_from(PEOPLE),
    st.sampled_from(list(Verdict)),
    st.integers(-40, 0).map(float),
    role=st.sampled_from([None, *Role]),
    had_users=st.booleans(),
    digests=st.sampled_from([DIGESTS, {"model": "m", "code": "old"}]),
)
POLICIES = st.builds(
    ApprovalPolicy,
    required=st.integers(0, 3),
    four_eyes=st.sampled_from([None, True, False]),
    expires=st.sampled_from([None, 10 * HOUR]),
    break_glass=st.sampled_from([timedelta(0), 24 * HOUR]),
)
AUTHORS = st.dictionaries(
    st.sampled_from(["code", "data", "run"]), st.sets(st.sampled_from(PEOPLE), max_size=2)
)


@given(st.lists(WORDS, max_size=8), POLICIES, AUTHORS)
def test_who_counts_is_one_of_many_different_unblamed_people(
    found: list[Any], rule: ApprovalPolicy, authors: dict[str, set[str]]
) -> None:
    decision = decided(*found, policy=rule, authors=authors)
    people = [one.person for one in decision.approvals]
    assert len(set(people)) == len(people)
    for one in decision.approvals:
        assert not one.had_users or one.role in rule.roles
        assert one.digests == DIGESTS
        assert rule.expires is None or one.at + rule.expires > NOW
        if rule.four_eyes or (rule.four_eyes is None and one.had_users):
            assert not any(one.person in made for made in authors.values())
    if decision.met and decision.glass is None:
        assert len(people) >= rule.required
    if decision.glass is not None:
        assert rule.break_glass
        assert decision.glass.at + rule.break_glass > NOW
    # In whatever order the entries are, and however often one is repeated.
    again = decided(*reversed(found), *found, policy=rule, authors=authors)
    assert (again.met, again.missing) == (decision.met, decision.missing)
    # What was met ends when it says so, and not before.
    if decision.until is not None:
        late = decided(*found, policy=rule, authors=authors, now=decision.until)
        assert not late.met or late.glass != decision.glass
        just = decision.until - timedelta(microseconds=1)
        assert decided(*found, policy=rule, authors=authors, now=just).met


@given(st.lists(WORDS, max_size=6), POLICIES)
def test_a_rejection_is_lifted_by_its_own_author_alone(
    found: list[Any], rule: ApprovalPolicy
) -> None:
    no = said("bob", NO, 0)
    others = [one for one in found if one.person != "bob" and type(one) is not BrokenGlass]
    assert not decided(*others, no, policy=rule).met
    more = [said(f"p{number}") for number in range(4)]
    assert not decided(*others, *more, no, policy=rule).met
    mind = said("bob", hours=0.01)
    lifted = decided(*more, mind, no, policy=rule, now=NOW + HOUR)
    assert lifted.met


STATEMENT = Statement(
    Verdict.APPROVED, "shop@2", "m", "production", "tested", "ann", NOW, "p", DIGESTS
)
KEY = SigningKey("ann", bytes(range(32)))


def test_a_statement_comes_back_as_it_was_signed() -> None:
    envelope = from_document(signed(STATEMENT, KEY))
    assert verified(envelope, [str(KEY.verifying)]) == STATEMENT
    for keys in ([], [str(SigningKey("ann", bytes(32)).verifying)]):
        with pytest.raises(IntegrityError, match="no key that was known then"):
            verified(envelope, keys)


def test_every_changed_bit_of_what_was_signed_is_found() -> None:
    envelope = from_document(signed(STATEMENT, KEY))
    payload = bytearray(envelope.payload)
    for place in range(len(payload)):
        payload[place] ^= 1
        forged = type(envelope)(envelope.payload_type, bytes(payload), envelope.signatures)
        with pytest.raises(IntegrityError):
            verified(forged, [str(KEY.verifying)])
        payload[place] ^= 1
    other = type(envelope)("text/plain", envelope.payload, envelope.signatures)
    with pytest.raises(IntegrityError):
        verified(other, [str(KEY.verifying)])
