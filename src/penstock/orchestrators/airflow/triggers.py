"""What runs in Airflow's triggerer while a task waits: looks again and again, and holds no slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from penstock.errors import PenstockError
from penstock.orchestrators.airflow.answer import Answer
from penstock.orchestrators.airflow.looks import look


class WaitTrigger(BaseTrigger):
    """Fires when the answer is not to wait any more. A database that is away is waited for."""

    def __init__(
        self, project: str, environment: str, what: str, about: dict[str, Any], every: float
    ) -> None:
        super().__init__()
        self.project = project
        self.environment = environment
        self.what = what  # one of penstock.orchestrators.airflow.looks.LOOKS
        self.about = about
        self.every = every  # seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("project", "environment", "what", "about", "every")
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        told = ""
        while True:
            answer = await asyncio.to_thread(self._look)
            if answer.what != "wait":
                yield TriggerEvent(answer.as_dict())
                return
            if answer.reason != told:
                self.log.info("%s", answer.reason)
                told = answer.reason
            await asyncio.sleep(self.every)

    def _look(self) -> Answer:
        try:
            return look(self.project, self.environment, self.what, self.about)
        except PenstockError as error:
            return Answer("wait" if error.transient else "stop", error.message)
