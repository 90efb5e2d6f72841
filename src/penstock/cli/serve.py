"""`penstock serve`."""

from __future__ import annotations

import argparse

from penstock.cli.opening import project_of
from penstock.cli.output import print_json
from penstock.cli.recording import recorded
from penstock.errors import ServingError


def serve(options: argparse.Namespace) -> int:
    from penstock.serving import endpoint

    project = project_of(options)
    folder = project.endpoint(options.endpoint)
    if options.stop:
        was = endpoint.status(folder)
        endpoint.stop(folder)
        if was.state != "stopped":
            recorded(project, "endpoint.stopped", options.endpoint, release=was.live)
        if options.json:
            print_json({"endpoint": options.endpoint, "was": was.state, "state": "stopped"})
        else:
            print("nothing to stop" if was.state == "stopped" else f"stopped {was.url}")
        return 0
    place = endpoint.place_of(project, options.endpoint)
    if endpoint.table_of(place) is None:
        raise ServingError(
            f"nothing was deployed to {options.endpoint} yet",
            hint="`penstock run` deploys what passes to staging",
        )
    settings = project.settings.serving.of(options.endpoint)
    if options.port is not None:
        settings = settings.model_copy(update={"port": options.port})
    running = endpoint.status(folder)
    if running.state != "stopped":
        raise ServingError(
            f"the endpoint is served already, by process {running.pid} at {running.url}",
            hint="`penstock serve --stop` ends it",
        )
    recorded(project, "endpoint.started", options.endpoint)
    endpoint.serve(place, settings)
    return 0
