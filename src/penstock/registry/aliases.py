"""The aliases that MLflow shall show, by the ledger; and those that somebody changed behind it.

`champion`, `archived` (whose place it took) and `staging` follow the ledger; aliases of other names
are their owners'. Each version that was ever the champion carries the tag `penstock.status`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from penstock.project import STAGING as STAGING_ENDPOINT
from penstock.project import Project
from penstock.registry.champions import Standing, staged_label, standing
from penstock.registry.versions import (
    CHAMPION,
    STAGING,
    Found,
    set_alias,
    tag,
    versions,
)

ARCHIVED = "archived"
STATUS_TAG = "penstock.status"  # of a version: champion, archived


@dataclass(frozen=True)
class Stray:
    """An alias that is not where the ledger says."""

    alias: str
    ledger: str  # name@version
    registry: str  # name@version; "" where no version has the alias
    missing: bool = False  # the registry has no such version any more

    def __str__(self) -> str:
        there = f"is {self.registry}" if self.registry else "is gone"
        gone = ", which the registry has not" if self.missing else ""
        return f"{self.alias} {there} in MLflow; by the ledger it is {self.ledger}{gone}"


def wanted(present: Standing, staged: str, name: str) -> dict[str, str]:
    """The version of each alias; none for an alias that the ledger tells nothing of. Pure."""
    said = {CHAMPION: present.label, STAGING: staged}
    if present.archived:
        said[ARCHIVED] = present.archived[0]
    return {alias: label for alias, label in said.items() if label.rpartition("@")[0] == name}


def strayed(expected: Mapping[str, str], found: Sequence[Found]) -> tuple[Stray, ...]:
    """The aliases that are elsewhere. Pure."""
    there = {alias: one.label for one in found for alias in one.aliases}
    known = {one.label for one in found}
    return tuple(
        Stray(alias, label, there.get(alias, ""), label not in known)
        for alias, label in expected.items()
        if there.get(alias) != label
    )


def strays(project: Project, engine: Engine, found: Sequence[Found] | None = None) -> list[Stray]:
    """What was changed in MLflow's own interface, or by a crash before the alias was set."""
    expected = _wanted(project, engine)
    if not expected:
        return []
    return list(strayed(expected, versions(project) if found is None else found))


def follow_the_ledger(project: Project, engine: Engine) -> list[Stray]:
    """Makes MLflow's aliases and tags say what the ledger says, also where that changes meanwhile.

    Gives what was put right. What the registry has no version for is left.
    """
    mended: list[Stray] = []
    told: dict[str, str] | None = None
    while (expected := _wanted(project, engine)) != told:
        found = versions(project)
        for stray in strayed(expected, found):
            if not stray.missing:
                set_alias(project, *_alias(stray))
                mended.append(stray)
        _tag(project, standing(engine), found)
        told = expected
    return mended


def _wanted(project: Project, engine: Engine) -> dict[str, str]:
    staged = staged_label(engine, STAGING_ENDPOINT)
    return wanted(standing(engine), staged, project.settings.model_name)


def _alias(stray: Stray) -> tuple[str, str, int]:
    name, _, version = stray.ledger.rpartition("@")
    return name, stray.alias, int(version)


def _tag(project: Project, present: Standing, found: Sequence[Found]) -> None:
    status = dict.fromkeys(present.archived, ARCHIVED) | {present.label: CHAMPION}
    for one in found:
        if one.label in status and one.tags.get(STATUS_TAG) != status[one.label]:
            tag(project, one.name, one.version, {STATUS_TAG: status[one.label]})
