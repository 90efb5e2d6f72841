"""Brings events to a file or a collector, from a thread of its own, so that no step waits for it.

Only `[lineage] openlineage` says where to: the transports are made here, and not by OpenLineage's
client, which also listens to OPENLINEAGE_* in the environment and to openlineage.yml.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from penstock.lineage.openlineage.happenings import Happening

if TYPE_CHECKING:
    from penstock.project import Project

ANSWER = 2.0  # seconds that a collector may take
PATIENCE = 3.0  # seconds that the end of a run waits for what is still on its way
MOST = 1_000  # events on their way; more are not sent
ENDPOINT = "api/v1/lineage"  # of a collector, where its URL names no path

Deliver = Callable[[dict[str, Any]], None]


def sender_of(project: Project) -> Sender | None:
    """None where nothing is to be sent."""
    return Sender(project) if project.settings.lineage.openlineage else None


class Sender:
    """Sends in order. What cannot be sent is counted; nothing is raised, nothing tried again."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._place = project.settings.lineage.openlineage
        self._waiting: queue.Queue[Happening | None] = queue.Queue(MOST)
        self._told, self._sent, self._why = 0, 0, ""
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="openlineage", daemon=True)
        self._thread.start()

    def send(self, happening: Happening) -> None:
        """Returns at once. May be called from any thread."""
        with self._counting:
            self._told += 1
        try:
            self._waiting.put_nowait(happening)
        except queue.Full:
            self._why = self._why or f"more than {MOST:,} were waiting"

    def close(self) -> str:
        """Waits a little for the rest; then how many were not sent, and why. Empty: all were."""
        until = time.monotonic() + PATIENCE
        try:
            self._waiting.put(None, timeout=PATIENCE)
        except queue.Full:
            until = 0.0
        self._thread.join(max(0.0, until - time.monotonic()))
        missing = self._told - self._sent
        if not missing:
            return ""
        why = self._why or f"it did not answer in {PATIENCE:.0f} s"
        return f"{missing} of {self._told} OpenLineage events were not sent to {self._place}: {why}"

    def _work(self) -> None:
        try:
            document, deliver = self._opened()
        except Exception as error:  # noqa: BLE001 - a run never fails for want of its events
            self._why = reason(error)
            return
        while (happening := self._waiting.get()) is not None:
            try:
                deliver(document(happening))
                self._sent += 1
            except Exception as error:  # noqa: BLE001 - as above
                self._why = self._why or reason(error)

    def _opened(self) -> tuple[Callable[[Happening], dict[str, Any]], Deliver]:
        from openlineage.client.serde import Serde

        from penstock.lineage.openlineage.documents import run_event
        from penstock.lineage.openlineage.source import code_location

        root, settings = self._project.root, self._project.settings
        code, owner = code_location(root), settings.project.owner

        def document(happening: Happening) -> dict[str, Any]:
            return Serde.to_dict(run_event(happening, root, owner, code))

        kind, _, rest = self._place.partition(":")
        if kind == "file":
            return document, to_file(self._project.absolute(rest))
        return document, to_collector(self._place, settings.lineage.key.get_secret_value())


def to_file(file: Path) -> Deliver:
    """One line of JSON an event, added whole, whoever else adds to the file."""
    file.parent.mkdir(parents=True, exist_ok=True)

    def deliver(document: dict[str, Any]) -> None:
        line = json.dumps(document, ensure_ascii=False).encode() + b"\n"
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            if os.write(descriptor, line) < len(line):
                raise OSError("the disk is full")
        finally:
            os.close(descriptor)

    return deliver


def to_collector(url: str, key: str) -> Deliver:
    """A POST an event, with the key as a bearer token."""
    from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport

    parts = urlsplit(url)
    config = HttpConfig(
        url=urlunsplit((parts.scheme, parts.netloc, "/", "", "")),
        endpoint=urlunsplit(("", "", parts.path.strip("/") or ENDPOINT, parts.query, "")),
        timeout=ANSWER,
        retry={"total": 0},
    )
    if key:
        config.auth = ApiKeyTokenProvider({"api_key": key})
    transport = HttpTransport(config)

    def deliver(document: dict[str, Any]) -> None:
        transport.emit(document)  # type: ignore[arg-type]  # it makes documents of events itself

    return deliver


def reason(error: Exception) -> str:
    """In few words, without the addresses and headers that HTTP libraries print."""
    if isinstance(error, OSError) and (error.strerror or error.filename):
        return error.strerror or str(error)
    answer = getattr(error, "response", None)
    if answer is not None:
        return f"it answered {answer.status_code}"
    name = type(error).__name__
    return f"it cannot be reached ({name})" if isinstance(error, OSError) else name
