"""What serves now: every release that the routing tables hold, and what it is there for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Engine

from penstock.serving.routing.table import RoutingTable
from penstock.state import routes

LOADED = "loaded"  # the part of a release without traffic


class Serving(NamedTuple):
    """A release in one of its parts."""

    endpoint: str
    release: str
    model: str  # name@version
    digest: str
    part: str  # champion, the name of an arm, shadow; loaded
    share: float  # of the units, 0 to 1


def serving(engine: Engine) -> list[Serving]:
    """At all endpoints; the champion of each first, what has no traffic last."""
    tables = (RoutingTable.model_validate(one.document) for _, one in routes.endpoints(engine))
    return [one for table in tables for one in parts_of(table)]


def parts_of(table: RoutingTable) -> Iterator[Serving]:
    """Pure. A release that has two parts is told of twice."""
    parts, shares = table.served(), table.weights()
    idle = [(LOADED, name) for name in table.releases if name not in parts.values()]
    for part, name in (*parts.items(), *idle):
        release, share = table.releases[name], shares.get(part, 0.0)
        yield Serving(table.endpoint, name, release.model, release.digest, part, share)
