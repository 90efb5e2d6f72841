"""Tasks around a rollout: which version it is of, and its start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from penstock.orchestrators.airflow.answer import Answer
from penstock.orchestrators.airflow.operators import failing_once
from penstock.orchestrators.airflow.sensors import PenstockSensor
from penstock.project import open_project


class ChooseVersion(BaseOperator):
    """Gives {"model": NAME@VERSION, "digest": …}: of the DAG's param `model`, or else of the latest
    event among those that started the run.
    """

    def __init__(self, *, project: str, environment: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.project = project
        self.environment = environment

    def execute(self, context: Any) -> dict[str, str]:
        if not (asked := context["params"].get("model")):
            return _latest_told(context)
        from penstock.rollout.candidate import version_of

        with failing_once():
            found = version_of(open_project(Path(self.project), self.environment), asked)
        return {"model": found.label, "digest": found.digest}


class RolloutOperator(PenstockSensor):
    """Starts the rollout of a version by [rollout], as soon as no other one of the endpoint goes
    on. Its XCom is {"rollout": …}; empty where the version is served without one.

    Tried again, it finds what the attempt before has started.
    """

    waits_for = "turn"
    template_fields = ("model",)

    def __init__(self, *, model: Any, endpoint: str = "production", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.model = model
        self.endpoint = endpoint

    def about(self, context: Any) -> dict[str, Any]:
        named = {name: self.model[name] for name in ("model", "digest")}
        return {**named, "endpoint": self.endpoint}

    def conclude(self, context: Any, about: Mapping[str, Any], answer: Answer) -> Any:
        if answer.what == "stop":
            raise AirflowFailException(answer.reason)
        self.log.info("%s", answer.reason)
        started = answer.facts["rollout"] if "rollout" in answer.facts else self._start(about)
        return {**about, "rollout": started}

    def _start(self, about: Mapping[str, Any]) -> str:
        """The id of the rollout; empty where it is the first release of the endpoint."""
        from penstock.access.present import acting
        from penstock.access.roles import Permission
        from penstock.records import Release
        from penstock.rollout import service
        from penstock.state.database import open_database

        with failing_once():
            project = open_project(Path(self.project), self.environment)
            with acting(project, Permission.OPERATE) as actor:
                desk = service.Desk.of(project, open_database(project), actor)
                plan = project.settings.rollout
                begun = service.start(desk, about["model"], about["endpoint"], plan)
        if isinstance(begun, Release):
            self.log.info("%s is served at %s", begun.model, begun.url or "no gateway yet")
            return ""
        self.log.info("penstock rollout status %s --watch", begun.state.id)
        return begun.state.id


def _latest_told(context: Any) -> dict[str, str]:
    """What the latest of the triggering events is about."""
    events = [one for told in context["triggering_asset_events"].values() for one in told]
    latest = max(events, key=lambda one: one.timestamp, default=None)
    if latest is None or not {"model", "digest"} <= set(latest.extra):
        raise AirflowFailException("no version is named: start the run with the param `model`")
    return {name: str(latest.extra[name]) for name in ("model", "digest")}
