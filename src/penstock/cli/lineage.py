"""`penstock trace`, `penstock impact` and `penstock lineage rebuild`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from penstock.cli.opening import project_of
from penstock.cli.output import print_json
from penstock.errors import DataError, UsageError
from penstock.project import Project

if TYPE_CHECKING:
    from penstock.features.behind import Behind
    from penstock.lineage.origin import Origin


def trace(options: argparse.Namespace) -> int:
    from penstock.cli import lineage_view as view
    from penstock.lineage.origin import origin_of
    from penstock.state.database import open_database

    project = project_of(options)
    prediction = _prediction(project, options.id, options.endpoint)
    origin = origin_of(
        open_database(project), prediction["model_digest"], prediction["model"] or "no model"
    )
    behind = _rows(project, prediction, origin) if options.rows else []
    if options.json:
        print_json(view.trace_json(prediction, origin, behind))
    else:
        print("\n".join(view.trace_lines(prediction, origin, behind)))
    return 0


def impact(options: argparse.Namespace) -> int:
    from penstock.cli import lineage_view as view
    from penstock.lineage.store import downstream, find
    from penstock.serving.routing.standing import serving
    from penstock.state.database import open_database

    project = project_of(options)
    engine = open_database(project)
    fact = find(engine, _digest(project, options.fact))
    graph = downstream(engine, fact.key)
    models = {node.key for node in graph.of_kind("model")}
    serves = [one for one in serving(engine) if one.digest in models]
    if options.json:
        print_json(view.impact_json(fact, graph, serves))
    else:
        print("\n".join(view.impact_lines(fact, graph, serves)))
    return 0


def rebuild(options: argparse.Namespace) -> int:
    from penstock.lineage.rebuild import rebuild as rebuilt
    from penstock.state.database import open_database

    read, failed = rebuilt(open_database(project_of(options)))
    if options.json:
        print_json({"steps": read, "unreadable": failed})
    else:
        told = f"; {failed:,} cannot be read by this version" if failed else ""
        print(f"the lineage of {read:,} cached steps is kept{told}")
    return 0


def _prediction(project: Project, name: str, endpoint: str | None) -> dict[str, Any]:
    """The first row of a prediction; further rows of one request came of the same model."""
    from penstock.cli.predictions import rows_of_prediction

    return rows_of_prediction(project, name, endpoint)[0]


def _rows(project: Project, prediction: dict[str, Any], origin: Origin) -> list[Behind]:
    from penstock.features.behind import rows_behind

    services = [node.label for node in origin.graph.of_kind("definitions")]
    if not prediction["entities"]:
        raise UsageError(
            "the rows of this prediction cannot be named: the log has no entity key for it",
            hint="features came with the request, or the person was erased",
        )
    if not services:
        raise UsageError(
            "the rows of this prediction cannot be named: its feature service is not known",
            hint="`penstock lineage rebuild` adds what ran before lineage was kept",
        )
    entities, at = prediction["entities"], prediction["arrived_at"]
    found = rows_behind(project, services[0], entities, at)
    return [*found, *_dataset_rows(project, origin, found, entities, at)]


def _dataset_rows(
    project: Project,
    origin: Origin,
    found: Sequence[Behind],
    entities: Mapping[str, Any],
    at: datetime,
) -> Iterator[Behind]:
    """The entity's rows of each dataset that views do not read themselves."""
    from penstock.features.behind import dataset_rows
    from penstock.lineage.origin import dataset_of
    from penstock.state.database import open_database

    read = {one.source for one in found}
    for node in origin.graph.of_kind("dataset"):
        dataset = dataset_of(open_database(project), node.key)
        if dataset is None or dataset.path in read:
            continue
        file = project.absolute(dataset.path)
        if not file.is_file() or project.digests.of(file) != dataset.digest:
            raise DataError(
                f"{dataset.path} is not the version that the model learned from",
                hint=f"penstock data checkout: its digest is {dataset.digest[:12]}",
            )
        event_time = project.settings.data.event_time
        if (rows := dataset_rows(file, dataset.name, entities, event_time, at)) is not None:
            yield rows


def _digest(project: Project, fact: str) -> str:
    """Of a file that is there, its digest; else what was given."""
    file = project.root / fact
    return project.digests.of(file) if file.is_file() else fact
