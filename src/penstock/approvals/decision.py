"""Whether a model may serve an endpoint: policy, statements and time in, a decision out. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from penstock.access.roles import Role
from penstock.approval_settings import ApprovalPolicy
from penstock.approvals.statement import Statement
from penstock.records import digest_of

S = TypeVar("S", bound="Signed")
AHEAD = timedelta(minutes=5)  # that a signer's clock may be before the one of the ledger


@dataclass(frozen=True, kw_only=True)
class Signed(Statement):
    """A statement whose signature was verified, and what the ledger knows of it."""

    entry: str  # the id of its entry
    sequence: int
    written: datetime  # when it came into the ledger
    role: Role | None  # of its person at that time; None: no user
    had_users: bool  # whether there were users at that time


@dataclass(frozen=True, kw_only=True)
class Approval(Signed):
    """Somebody agreed."""


@dataclass(frozen=True, kw_only=True)
class Rejection(Signed):
    """Somebody said no; it stands until they approve."""


@dataclass(frozen=True, kw_only=True)
class BrokenGlass(Signed):
    """Somebody let it in without the others; somebody else must look at that."""

    reviewed_by: str = ""  # empty: nobody yet


@dataclass(frozen=True)
class Decision:
    """Whether it may serve, by whose word, and what is missing."""

    met: bool
    approvals: tuple[Approval, ...] = ()  # those that count, one a person
    missing: tuple[str, ...] = ()  # one sentence each; empty where it is met
    glass: BrokenGlass | None = None  # by which alone it is met
    until: datetime | None = None  # when it will not be met any more, if nobody does anything

    @property
    def entries(self) -> tuple[str, ...]:
        """The ids of the entries that it rests on."""
        glass = (self.glass.entry,) if self.glass else ()
        return (*glass, *(one.entry for one in self.approvals))


def version_of(policy: ApprovalPolicy) -> str:
    """SHA-256 (hex) of what a policy says: entries and statements name it."""
    return digest_of(policy.model_dump(mode="json"))


def decide(
    policy: ApprovalPolicy,
    approvals: Sequence[Approval],
    rejections: Sequence[Rejection],
    authors: Mapping[str, Collection[str]],
    digests: Mapping[str, str] | None,
    now: datetime,
    glasses: Sequence[BrokenGlass] = (),
) -> Decision:
    """All statements are about one model's bytes and one target.

    `authors`: who made what, by what it is: data, code, run. `digests`: what the model is made from
    by present knowledge; None: nothing is known of it.
    """
    doubts = {one.entry: doubt(policy, one, authors, digests, now) for one in approvals}
    latest = _latest(approvals)
    counted = tuple(one for one in latest.values() if not doubts[one.entry])
    against = [
        one
        for one in _latest([one for one in rejections if _may(policy, one)]).values()
        if one.person not in latest or latest[one.person].at <= one.at
    ]
    said_no = {one.person for one in against}
    counted = tuple(one for one in counted if one.person not in said_no)
    if not against and len(counted) >= policy.required:
        return Decision(True, counted, until=_until(policy, counted))
    for glass in glasses:
        late = any(one.at > glass.at for one in against)
        if not late and not _glass_doubt(policy, glass, digests, now):
            return Decision(True, counted, glass=glass, until=glass.at + policy.break_glass)
    missing = [f"{one.person} rejected it: {one.meaning}" for one in against]
    if (lacking := policy.required - len(counted)) > 0:
        missing.append(_lacking(policy, lacking, counted))
    missing += [
        f"{one.person}'s approval does not count: {doubts[one.entry]}"
        for one in latest.values()
        if doubts[one.entry]
    ]
    return Decision(False, counted, tuple(missing))


def doubt(
    policy: ApprovalPolicy,
    one: Signed,
    authors: Mapping[str, Collection[str]],
    digests: Mapping[str, str] | None,
    now: datetime,
) -> str:
    """Why an approval does not count; empty: it does."""
    four_eyes = one.had_users if policy.four_eyes is None else policy.four_eyes
    made = [what for what, people in authors.items() if one.person in people]
    if why := _unfit(policy, one, digests):
        return why
    if four_eyes and made:
        return f"they made the {' and the '.join(made)} themselves"
    if policy.expires is not None and now >= one.at + policy.expires:
        return f"it expired at {one.at + policy.expires:%Y-%m-%d %H:%M} UTC"
    return ""


def _glass_doubt(
    policy: ApprovalPolicy, glass: BrokenGlass, digests: Mapping[str, str] | None, now: datetime
) -> str:
    over = "it is over" if now >= glass.at + policy.break_glass else ""
    return _unfit(policy, glass, digests) or over


def _unfit(policy: ApprovalPolicy, one: Signed, digests: Mapping[str, str] | None) -> str:
    if one.at > one.written + AHEAD:
        return f"it bears a time to come, {one.at:%Y-%m-%d %H:%M} UTC"
    if not _may(policy, one):
        needed = " or ".join(policy.roles)
        return f"it takes {needed}, and they are {one.role or 'no user'}"
    changed = [
        name
        for name, digest in one.digests.items()
        if digests is not None and digests.get(name) != digest
    ]
    if changed:
        return f"it is void: the digest of {', '.join(sorted(changed))} is another one now"
    return ""


def _may(policy: ApprovalPolicy, one: Signed) -> bool:
    """Where there were no users, whoever worked on the machine might do everything."""
    return not one.had_users or one.role in policy.roles


def _latest(found: Sequence[S]) -> dict[str, S]:
    """The last word of each person, by the time that they signed."""
    in_order = sorted(found, key=lambda one: (one.at, one.sequence, one.person))
    return {one.person: one for one in in_order}


def _until(policy: ApprovalPolicy, counted: Sequence[Approval]) -> datetime | None:
    """As many as are required last the longest."""
    if policy.expires is None or not policy.required:
        return None
    ends = sorted((one.at + policy.expires for one in counted), reverse=True)
    return ends[policy.required - 1]


def _lacking(policy: ApprovalPolicy, lacking: int, counted: Sequence[Approval]) -> str:
    people = "one more person" if lacking == 1 else f"{lacking} more people"
    have = f"; {', '.join(sorted(one.person for one in counted))} did" if counted else ""
    return f"{people} must approve it, who is {' or '.join(policy.roles)}{have}"
