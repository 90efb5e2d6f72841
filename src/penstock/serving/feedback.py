"""`POST /feedback`: what became of a prediction, told later by its id.

    {"prediction_id": "…", "label": 1}                        or a list of these
    {"prediction_id": "…", "row": 0, "label": 0, "at": "2026-03-01T00:00:00Z", "source": "crm"}

A label is kept as it came, in append-only files beside the prediction log. What is told twice of
one row is answered alike, and the first counts, unless `replace` says that it was wrong.
"""

from __future__ import annotations

import errno
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

from penstock.serving.http_server.messages import Request, RequestError, answer

MOST = 10_000  # in one request
LARGEST = 1e18  # label; what JSON gives beyond has lost its digits


class Feedback(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a client tells. `at` is when the outcome was known, UTC."""

    prediction_id: str
    label: float | int | bool | str
    row: int = 0
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    source: str = ""
    replace: bool = False


class Told(Feedback, omit_defaults=True):
    """The same, and when the gateway was told."""

    told_at: datetime | None = None


_decoder = msgspec.json.Decoder(Feedback | list[Feedback])
_encode = msgspec.json.Encoder().encode


class FeedbackLog:
    """Appends feedback; each request is on the disk before it is answered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._day = ""
        self._file: Any = None

    def handle(self, request: Request) -> None:
        """Raises `RequestError` for what is no feedback."""
        given = parse(request.body)
        now = datetime.fromtimestamp(time.time(), UTC)
        lines = b"".join(
            _encode(Told(**msgspec.structs.asdict(one), told_at=now)) + b"\n" for one in given
        )
        try:
            self._append(lines, now)
        except OSError as error:
            raise RequestError(503, f"feedback cannot be kept: {error.strerror}") from error
        request.respond(answer(202, _encode({"accepted": len(given)})))

    def _append(self, lines: bytes, now: datetime) -> None:
        day = f"{now:%Y-%m-%d}"
        if day != self._day or self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._file is not None:
                os.close(self._file)
            path = self._folder / f"{day}-{os.getpid()}.jsonl"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            self._day = day
        before = os.fstat(self._file).st_size
        try:
            if os.write(self._file, lines) < len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, before)  # half a line would spoil the next
            raise


def parse(body: bytes) -> list[Feedback]:
    """Raises `RequestError` that names what is wrong."""
    try:
        given = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise RequestError(400, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, f"the body is not JSON: {error}") from error
    found = given if isinstance(given, list) else [given]
    if not found:
        raise RequestError(400, "the list is empty")
    if len(found) > MOST:
        raise RequestError(413, f"{len(found)} in one request; at most {MOST} are allowed")
    for one in found:
        if not one.prediction_id or len(one.prediction_id) > 128:
            raise RequestError(400, "prediction_id is empty or too long", "prediction_id")
        if isinstance(one.label, int | float) and abs(one.label) > LARGEST:
            raise RequestError(400, f"the label is beyond {LARGEST:g}", "label")
        if one.row < 0:
            raise RequestError(400, "row is negative", "row")
    return found


def read(folder: Path) -> dict[tuple[str, int], Told]:
    """The feedback of each prediction and row: the first, or the last that replaces."""
    found: dict[tuple[str, int], Told] = {}
    decoder = msgspec.json.Decoder(Told)
    told = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                told.append(decoder.decode(line))
            except msgspec.MsgspecError:
                continue  # half written by a process that was killed
    told.sort(key=lambda one: one.told_at or datetime.min.replace(tzinfo=UTC))
    for one in told:
        key = (one.prediction_id, one.row)
        if one.replace or key not in found:
            found[key] = one
    return found
