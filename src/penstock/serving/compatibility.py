"""Whether an arm understands whatever the champion understands, and in the same way.

A client does not know which arm its unit is in. So a request that one of them takes, the other must
take too: a table of releases that differ in what they ask for is not served.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from penstock.errors import ServingError
from penstock.serving.live import LiveRelease
from penstock.serving.protocols.asked import Target
from penstock.serving.routing.table import RoutingTable
from penstock.serving.schema import InputSchema

log = logging.getLogger(__name__)

# The types that hold every value of another one, a missing value included.
WIDER = {
    "int32": frozenset({"int64", "double"}),
    "int64": frozenset({"double"}),
    "float": frozenset({"double"}),
}


def check_arms(table: RoutingTable, releases: Mapping[str, LiveRelease]) -> None:
    """Raises `ServingError` for an arm that takes other inputs than the champion.

    Releases that no arm leads to may take what they like: the shadow, and those that are pinned.
    """
    champion = releases[table.champion].target
    for arm in table.arms:
        target = releases[arm.release].target
        if problem := difference(champion, target):
            raise ServingError(
                f"the arm {arm.name} cannot answer for the champion: {problem}",
                hint="an arm takes the inputs of the champion; serve this release at another "
                "endpoint, or as the shadow of this one",
            )
        if problem := difference_of_rows(champion.schema, target.schema):
            log.warning("the arm %s takes entity keys only: %s", arm.name, problem)


def difference(champion: Target, arm: Target) -> str:
    """Why some request to the champion is none to the arm; empty where there is no reason.

    Where features are read by entity key, keys and request columns are what counts: that a
    challenger is trained on other features is what it is for.
    """
    if not champion.entities:
        return difference_of_rows(champion.schema, arm.schema)
    if not arm.entities:
        return f"{arm.release} reads no features by key, {champion.release} does"
    if set(arm.entities) != set(champion.entities):
        keys = [", ".join(sorted(one.entities)) for one in (arm, champion)]
        return f"{arm.release} is asked by {keys[0]}, {champion.release} by {keys[1]}"
    for name, kind in champion.requested.items():
        if not _holds(kind, arm.requested.get(name, "")):
            asked = arm.requested.get(name, "a key")
            return f"{name} is {kind} for {champion.release}, {asked} for {arm.release}"
    return ""


def difference_of_rows(champion: InputSchema, arm: InputSchema) -> str:
    """The same of rows of features.

    Their order counts too: a matrix has no names, and means its columns by their places.
    """
    for name in arm.names:
        if name not in champion.names:
            return f"the champion has no feature {name!r}"
    for name in champion.names:
        if name not in arm.names:
            return f"it has no feature {name!r}"
    if arm.names != champion.names or arm.positional != champion.positional:
        return f"its features are {', '.join(arm.names)}, in this order"
    for ours, theirs in zip(champion.features, arm.features, strict=True):
        if not _holds(ours.type, theirs.type):
            return f"the feature {ours.name!r} is {theirs.type}, of the champion {ours.type}"
    if missing := sorted(arm.required - champion.required):
        return f"it requires the feature {missing[0]!r}, the champion does not"
    return ""


def _holds(kind: str, other: str) -> bool:
    return other == kind or other in WIDER.get(kind, ())
