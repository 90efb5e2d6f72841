"""Tasks that wait, in the triggerer: they hold no worker's slot, however long it takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException

from penstock.orchestrators.airflow.answer import PROMOTED, Answer
from penstock.orchestrators.airflow.assets import tell
from penstock.orchestrators.airflow.operators import failing_once
from penstock.project import PRODUCTION


class PenstockSensor(BaseSensorOperator):
    """Waits for what `about` names. With `deferrable=False` it looks from a worker instead."""

    waits_for = ""  # one of penstock.orchestrators.airflow.looks.LOOKS

    def __init__(
        self, *, project: str, environment: str, deferrable: bool = True, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.project = project
        self.environment = environment
        self.deferrable = deferrable

    def about(self, context: Any) -> dict[str, Any]:
        """What is waited for, as JSON."""
        raise NotImplementedError

    def conclude(self, context: Any, about: Mapping[str, Any], answer: Answer) -> Any:
        """The XCom of the task; `stop` fails it, without retries."""
        if answer.what == "stop":
            raise AirflowFailException(answer.reason)
        self.log.info("%s", answer.reason)
        return {**about, **answer.facts, "reason": answer.reason}

    def execute(self, context: Any) -> Any:
        if not self.deferrable:
            return super().execute(context)
        return self.go_on(context, self.about(context), self._end().isoformat())

    def poke(self, context: Any) -> Any:
        from airflow.sdk import PokeReturnValue

        about = self.about(context)
        answer = self.looked(about)
        if answer.what == "wait":
            self.log.info("%s", answer.reason)
            return False
        return PokeReturnValue(True, self.conclude(context, about, answer))

    def resume(self, context: Any, event: dict[str, Any], about: dict[str, Any], end: str) -> Any:
        """Called with what the trigger saw."""
        return self.conclude(context, about, Answer(**event))

    def looked(self, about: Mapping[str, Any]) -> Answer:
        from penstock.orchestrators.airflow.looks import look

        with failing_once():
            return look(self.project, self.environment, self.waits_for, about)

    def go_on(self, context: Any, about: dict[str, Any], end: str) -> Any:
        answer = self.looked(about)
        if answer.what != "wait":
            return self.conclude(context, about, answer)
        self.log.info("waiting: %s", answer.reason)
        return self.defer_until(context, about, end)

    def defer_until(self, context: Any, about: dict[str, Any], end: str) -> NoReturn:
        from penstock.orchestrators.airflow.triggers import WaitTrigger

        left = datetime.fromisoformat(end) - datetime.now(UTC)
        self.defer(
            trigger=WaitTrigger(
                self.project, self.environment, self.waits_for, about, self.poke_interval
            ),
            method_name="resume",
            kwargs={"about": about, "end": end},
            timeout=max(left, timedelta(seconds=1)),
        )
        raise AssertionError("a task that defers has ended")

    def _end(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.timeout)


class RolloutSensor(PenstockSensor):
    """Waits until a rollout has ended; fails when it was rolled back or aborted.

    `rollout` is its id, or the XCom of the task that started it: {"rollout": …}; without one there
    is nothing to wait for, as with the first release of an endpoint.
    """

    waits_for = "rollout"
    template_fields = ("rollout",)

    def __init__(self, *, rollout: Any, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.rollout = rollout

    def about(self, context: Any) -> dict[str, Any]:
        given = self.rollout
        return dict(given) if isinstance(given, Mapping) else {"rollout": given}

    def looked(self, about: Mapping[str, Any]) -> Answer:
        if about["rollout"]:
            return super().looked(about)
        return Answer("go", "it is served without a rollout", {"outcome": PROMOTED})

    def conclude(self, context: Any, about: Mapping[str, Any], answer: Answer) -> Any:
        done = super().conclude(context, about, answer)
        if done["outcome"] == PROMOTED:
            tell(context, {"kind": "Rollout", **done})
        return done


class DriftSensor(PenstockSensor):
    """Waits until monitoring has found something at an endpoint. Its XCom is what it found.

    It goes by the newest report of each kind that is no older than `within`. A look that had too
    little to go by is waited for, as none at all is.
    """

    waits_for = "reports"
    template_fields = ("endpoint",)

    def __init__(
        self,
        *,
        endpoint: str = PRODUCTION,
        kinds: Collection[str] = ("features", "predictions"),
        within: timedelta = timedelta(days=1),
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.endpoint = endpoint
        self.kinds = list(kinds)
        self.within = within

    def about(self, context: Any) -> dict[str, Any]:
        since = datetime.now(UTC) - self.within
        return {"kinds": self.kinds, "endpoint": self.endpoint, "since": since.isoformat()}
