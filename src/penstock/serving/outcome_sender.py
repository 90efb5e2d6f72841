"""Brings what was told, from the files beside the prediction log, to the state database.

How far each file has been read is kept beside them: what is told while the database is away, or
just before a gateway is killed, is sent by the next one. What is sent twice counts once.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from penstock.digests import written_whole
from penstock.serving.feedback import Told, read_lines
from penstock.state.outcomes import Outcome

INTERVAL = 1.0  # seconds
AT_ONCE = 1 << 20  # bytes of lines
log = logging.getLogger(__name__)


class OutcomeSender:
    """One for each endpoint's folder: the lead of the processes that share it."""

    def __init__(
        self, folder: Path, endpoint: str, write: Callable[[Sequence[Outcome]], None]
    ) -> None:
        self._folder = folder
        self._endpoint = endpoint
        self._write = write
        self._place = folder / "sent.json"
        self._sent = self._read_place()
        self._ended = threading.Event()
        self.failures = 0  # in a row
        self._thread = threading.Thread(target=self._run, name="outcomes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Sends what is left, if the database is there."""
        self._ended.set()
        self._thread.join()
        self.send()

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL):
            self.send()

    def send(self) -> None:
        """All that is new."""
        try:
            for path in sorted(self._folder.glob("*.jsonl")):
                while self._send_some(path):
                    pass
        except Exception as error:  # noqa: BLE001 -- whatever the database's driver raises
            if not self.failures:
                log.error("outcomes cannot be sent to the state database: %s", error)
            self.failures += 1
        else:
            self.failures = 0

    def _send_some(self, path: Path) -> bool:
        """Whether there was something."""
        start = self._sent.get(path.name, 0)
        if path.stat().st_size <= start:
            return False
        with path.open("rb") as stream:
            stream.seek(start)
            data = stream.read(AT_ONCE)
        whole = data[: data.rfind(b"\n") + 1]
        if not whole:
            return False  # the rest of the line is to come
        self._write([_outcome(self._endpoint, one) for one in read_lines(whole.splitlines())])
        self._sent[path.name] = start + len(whole)
        self._keep_place()
        return True

    def _read_place(self) -> dict[str, int]:
        try:
            found = json.loads(self._place.read_text())
            return {str(name): int(offset) for name, offset in found.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _keep_place(self) -> None:
        there = {path.name for path in self._folder.glob("*.jsonl")}
        self._sent = {name: offset for name, offset in self._sent.items() if name in there}
        with written_whole(self._place) as part:
            part.write_text(json.dumps(self._sent))


def _outcome(endpoint: str, one: Told) -> Outcome:
    text = one.value if isinstance(one.value, str) else None
    return Outcome(
        endpoint=endpoint,
        subject=one.subject,
        metric=one.metric,
        event=one.event,
        unit=one.unit,
        value=None if isinstance(one.value, str) else float(one.value),
        text=text,
        second=int(one.at.timestamp()),
        told_at=one.told_at,
        source=one.source,
        replaces=one.replace,
    )
