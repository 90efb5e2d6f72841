"""The task in which people decide: it waits until a version is approved for an endpoint.

Airflow's screen shows what is to be approved and the command that does it. A button there ends the
waiting or looks again; it approves nothing, for an approval is a statement that a person signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from airflow.sdk.exceptions import AirflowSkipException

from penstock.orchestrators.airflow.answer import Answer
from penstock.orchestrators.airflow.operators import failing_once
from penstock.orchestrators.airflow.sensors import PenstockSensor
from penstock.project import open_project

LOOK, STOP = "Signed: look again", "Stop waiting"


class ApprovalOperator(PenstockSensor):
    """Waits for the approvals that [approvals.TARGET] asks for. Its XCom names their entries.

    `model`: {"model": "NAME@VERSION", "digest": …}, as the XCom of another task. Skipped, and what
    is behind it, where somebody stops it, a later version passes staging, or time runs out.
    """

    waits_for = "approval"
    template_fields = ("model",)

    def __init__(self, *, model: Any, target: str = "production", **arguments: Any) -> None:
        super().__init__(soft_fail=True, **arguments)
        self.model = model
        self.target = target

    def about(self, context: Any) -> dict[str, Any]:
        named = {name: self.model[name] for name in ("model", "digest")}
        return {**named, "target": self.target}

    def defer_until(self, context: Any, about: dict[str, Any], end: str) -> NoReturn:
        from airflow.sdk.execution_time.hitl import upsert_hitl_detail

        upsert_hitl_detail(
            ti_id=context["ti"].id,
            options=[LOOK, STOP],
            subject=f"{about['model']} waits for approval for {about['target']}",
            body=_told(about, self.looked(about)),
            params={},
        )
        super().defer_until(context, about, end)

    def resume(self, context: Any, event: dict[str, Any], about: dict[str, Any], end: str) -> Any:
        """Called by the trigger, or by a click on Airflow's screen."""
        if "chosen_options" not in event:
            return super().resume(context, event, about, end)
        who = (event.get("responded_by_user") or {}).get("name", "somebody")
        if STOP in event["chosen_options"]:
            raise AirflowSkipException(f"{who} stopped waiting for approvals of {about['model']}")
        self.log.info("%s asks to look again", who)
        return self.go_on(context, about, end)

    def conclude(self, context: Any, about: Mapping[str, Any], answer: Answer) -> Any:
        """Before anything follows from it, the registry is asked as well: an approval is void when
        a digest that it names has changed since.
        """
        from penstock.approvals.book import required
        from penstock.rollout.candidate import version_of
        from penstock.state.database import open_database

        if answer.what == "stop":
            raise AirflowSkipException(answer.reason)
        with failing_once():
            project = open_project(Path(self.project), self.environment)
            found = version_of(project, about["model"])
            now, engine = datetime.now(UTC), open_database(project)
            entries = required(project, engine, found, about["target"], now)
        self.log.info("%s", answer.reason)
        return {**about, "approvals": list(entries), "reason": answer.reason}


def _told(about: Mapping[str, Any], answer: Answer) -> str:
    model, target = about["model"], about["target"]
    return (
        f"**{model}**, digest `{about['digest'][:12]}`, has passed its tests in staging.\n\n"
        f"Missing: {answer.reason}.\n\n"
        "An approval is signed with your own key, so it is given where that is:\n\n"
        f"    penstock models approve {model} --for {target} --meaning '…'\n\n"
        f"    penstock compliance card {model}\n\n"
        f"This task goes on by itself then; *{LOOK}* makes it look at once, *{STOP}* ends it.\n"
    )
