"""`penstock endpoints list|show|routes`: what is served, and by whom."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, table
from penstock.errors import UsageError
from penstock.project import Project

FORGOTTEN = timedelta(seconds=10)  # a gateway not heard of for so long is gone


def list_endpoints(options: argparse.Namespace) -> int:
    from penstock.serving.endpoint import place_of
    from penstock.serving.routing.table import RoutingTable
    from penstock.state import routes

    project = project_of(options)
    engine = place_of(project, "").engine()
    found: list[dict[str, Any]] = []
    for name, published in routes.endpoints(engine):
        served = RoutingTable.model_validate(published.document)
        found.append(
            {
                "endpoint": name,
                "champion": served.releases[served.champion].model,
                "weights": served.weights(),
                "revision": published.revision,
                "gateways": _gateways(project, name),
            }
        )
    if options.json:
        print_json(found)
    elif not found:
        print("nothing is served yet; `penstock run` deploys to staging")
    else:
        rows = [
            (one["endpoint"], one["champion"], _shares(one["weights"]), one["revision"],
             ", ".join(g["url"] for g in one["gateways"]) or "none is running")
            for one in found
        ]  # fmt: skip
        print(table(("endpoint", "champion", "arms", "revision", "gateways"), rows))
    return 0


def show_endpoint(options: argparse.Namespace) -> int:
    project = project_of(options)
    published, served = _table(project, options.endpoint)
    revision, until = published.revision, published.lease_until
    gateways = _gateways(project, options.endpoint)
    arms = {arm.name: arm.release for arm in served.arms}
    releases = [
        {
            "release": name,
            "model": spec.model,
            "arm": _arm_of(name, served.champion, arms, served.mirror),
            "share": _share_of(name, served),
            "replicas": spec.replicas,
            "digest": spec.digest,
        }
        for name, spec in served.releases.items()
    ]
    if options.json:
        print_json(
            {
                "endpoint": options.endpoint,
                "revision": revision,
                "releases": releases,
                "gateways": gateways,
                "lease_until": until,
            }
        )
        return 0
    print(f"{options.endpoint}, revision {revision} of its routing table")
    rows = [
        (r["release"], r["model"], r["arm"], f"{r['share']:.2%}", r["replicas"], r["digest"][:12])
        for r in releases
    ]
    print(table(("release", "model", "arm", "units", "replicas", "digest"), rows))
    if until:
        print(f"the arms hold until {moment(until)}; then all is the champion's")
    for one in gateways:
        error = f": {one['error']}" if one["error"] else ""
        print(f"gateway {one['gateway']} at {one['url']} is {one['state']}, "
              f"revision {one['revision']}{error}")  # fmt: skip
    if not gateways:
        print("no gateway is running; `penstock serve` starts one")
    return 0


def show_routes(options: argparse.Namespace) -> int:
    published, served = _table(project_of(options), options.endpoint)
    document = served.model_dump(mode="json", exclude_defaults=True)
    if published.lease_until:
        document["lease_until"] = published.lease_until
    print_json({"revision": published.revision, **document})
    return 0


def _table(project: Project, name: str) -> tuple[Any, Any]:
    """As it was published, and read."""
    from penstock.serving.endpoint import place_of
    from penstock.serving.routing.table import RoutingTable
    from penstock.state import routes

    engine = place_of(project, name).engine()
    found = routes.published(engine, name)
    if found is None:
        known = ", ".join(known for known, _ in routes.endpoints(engine)) or "none yet"
        raise UsageError(
            f"there is no endpoint {name!r}",
            hint=f"the endpoints are: {known}; `penstock run` deploys to staging",
        )
    return found, RoutingTable.model_validate(found.document)


def _gateways(project: Project, name: str) -> list[dict[str, Any]]:
    """Those that were heard of lately."""
    from penstock.serving.endpoint import place_of
    from penstock.state import routes

    since = datetime.now(UTC) - FORGOTTEN
    said = routes.gateways_of(place_of(project, name).engine(), name)
    return [one._asdict() for one in said if one.seen_at > since and one.state != "stopped"]


def _shares(weights: dict[str, float]) -> str:
    return ", ".join(f"{arm} {share:.1%}" for arm, share in weights.items())


def _arm_of(release: str, champion: str, arms: dict[str, str], mirror: Any) -> str:
    if release == champion:
        return "champion"
    named = [arm for arm, of in arms.items() if of == release]
    if mirror is not None and mirror.release == release:
        named.append("shadow")
    return ", ".join(named) or "pinned only"


def _share_of(release: str, served: Any) -> float:
    weights = served.weights()
    if release == served.champion:
        return float(weights["champion"])
    return float(sum(weights[arm.name] for arm in served.arms if arm.release == release))
