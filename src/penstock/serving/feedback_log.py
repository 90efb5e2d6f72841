"""Takes feedback: on the disk before it is answered, and beside the event loop."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock.serving.feedback import Feedback, encode, lines_of, parse
from penstock.serving.http_server.messages import (
    Request,
    RequestError,
    answer,
    error_answer,
    id_header,
)

log = logging.getLogger(__name__)


class FeedbackLog:
    """The files of one gateway process. `kept` is told, in the background, what was kept."""

    def __init__(
        self,
        folder: Path,
        endpoint: str,
        kept: Callable[[list[Feedback], datetime], None] = lambda given, now: None,
    ) -> None:
        self._folder = folder
        self._endpoint = endpoint
        self._kept = kept
        self._day = ""
        self._file: Any = None
        self._lock = threading.Lock()
        # One thread: what comes at once is appended one after the other.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feedback")

    def handle(self, request: Request) -> None:
        """Answers later."""
        loop = asyncio.get_running_loop()

        def work() -> None:
            data = self._answered(request)
            loop.call_soon_threadsafe(request.respond, data)

        self._thread.submit(work)

    def close(self) -> None:
        """What was taken is answered first."""
        self._thread.shutdown()

    def _answered(self, request: Request) -> bytes:
        try:
            count = self.keep(request.body)
        except RequestError as error:
            headers = id_header(request.headers)
            if error.status == 503:
                headers["retry-after"] = "1"
            return error_answer(error.status, error.message, error.field, headers)
        except Exception:  # nobody else would answer
            message = "feedback could not be taken"
            log.exception(message)
            return error_answer(500, message, None, id_header(request.headers))
        return answer(202, encode({"accepted": count}))

    def keep(self, body: bytes) -> int:
        """How many were kept: all, or none. Raises `RequestError` for what is no feedback."""
        now = datetime.fromtimestamp(time.time(), UTC)
        given = parse(body, now)
        lines = lines_of(given, self._endpoint, now)
        try:
            with self._lock:
                self._append(lines, now)
        except OSError as error:
            raise RequestError(503, f"feedback cannot be kept: {error.strerror}") from error
        self._kept(given, now)
        return len(given)

    def _append(self, lines: bytes, now: datetime) -> None:
        day = f"{now:%Y-%m-%d}"
        if day != self._day or self._file is None:
            self._begin(day)
        fcntl.flock(self._file, fcntl.LOCK_EX)  # who erases lines waits: see `blanking`
        before = os.fstat(self._file).st_size
        try:
            if os.write(self._file, lines) < len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fdatasync(self._file)
        except OSError:
            # Half a line would spoil the next. And who reads along may have read beyond: what comes
            # next goes into another file.
            os.ftruncate(self._file, before)
            if before:
                self._end()
            raise
        finally:
            if self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _begin(self, day: str) -> None:
        self._end()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{day}-{os.getpid()}-{time.time_ns() // 1000}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._day = day

    def _end(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
