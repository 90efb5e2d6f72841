"""`penstock serve`."""

from __future__ import annotations

import argparse

from penstock.cli.opening import project_of
from penstock.cli.output import print_json
from penstock.errors import ServingError
from penstock.project import STAGING


def serve(options: argparse.Namespace) -> int:
    from penstock.serving import endpoint

    project = project_of(options)
    folder = project.endpoint(STAGING)
    if options.stop:
        was = endpoint.status(folder)
        endpoint.stop(folder)
        if options.json:
            print_json({"endpoint": STAGING, "was": was.state, "state": "stopped"})
        else:
            print("nothing to stop" if was.state == "stopped" else f"stopped {was.url}")
        return 0
    place = endpoint.place_of(project, STAGING)
    if endpoint.table_of(place) is None:
        raise ServingError(
            "nothing was deployed to staging yet", hint="`penstock run` deploys what passes"
        )
    settings = project.settings.serving
    if options.port is not None:
        settings = settings.model_copy(update={"port": options.port})
    running = endpoint.status(folder)
    if running.state != "stopped":
        raise ServingError(
            f"the endpoint is served already, by process {running.pid} at {running.url}",
            hint="`penstock serve --stop` ends it",
        )
    endpoint.serve(place, settings)
    return 0
