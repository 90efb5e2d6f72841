"""Brings rows from the event loop to the disk: one commit for all that came meanwhile.

The loop only appends to a queue. One background thread encodes, writes and syncs, and wakes the
loop once a commit. A disk that is full or gone makes the writer unhealthy: rows wait, the commit
is tried again, and nothing that waits has been confirmed to anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue

from penstock.serving.prediction_log.rows import Encoder, Names, Row
from penstock.serving.prediction_log.segments import LogFolder, Segment

SEGMENT_BYTES = 64 << 20
SEGMENT_SECONDS = 600.0
PENDING_BYTES = 256 << 20
# Encoded in one go (some 0.1 ms), and the pause after it. CPython hands its lock to another thread
# only when the one that has it is away for long enough, which a write is not, or after 5 ms: so
# long would the loop stand still.
BYTES_PER_WRITE = 16 << 10
PAUSE = 50e-6  # seconds
BEHIND = 10_000  # rows of one commit; with more, the writer makes haste instead

Synced = Callable[[], None]
log = logging.getLogger(__name__)


class LogWriter:
    """The log of one endpoint, as one gateway process writes it.

    `append` is called on the event loop; everything else may be called anywhere. With
    `ack_after_log` a commit begins as soon as the one before has ended; otherwise every
    `fsync_interval` seconds, and a killed process loses at most the rows of that interval.
    `on_batch` gets the rows of each commit, in the background thread.
    """

    def __init__(
        self,
        folder: Path,
        endpoint: str,
        *,
        fsync_interval: float = 0.1,
        ack_after_log: bool = False,
        max_pending: int = 100_000,
        on_batch: Callable[[Sequence[Row]], None] | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
    ) -> None:
        self._queue: deque[tuple[Row, Synced | None]] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._idle = False  # whether the thread waits for the first row
        # Each is changed by one thread only: what waits is their difference.
        self._appended = self._appended_bytes = 0
        self._done = self._done_bytes = 0
        self._max_pending = max_pending
        self._loop: asyncio.AbstractEventLoop | None = None
        self._interval = fsync_interval
        self._at_once = ack_after_log
        self._on_batch = on_batch
        self._encoder = Encoder(endpoint)
        self._segments = _Segments(LogFolder(folder).segments, segment_bytes, segment_seconds)
        self._error = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    @property
    def healthy(self) -> bool:
        """False from a failed commit until one succeeds."""
        return not self._error

    @property
    def error(self) -> str:
        """Why the writer is unhealthy; empty when it is not."""
        return self._error

    @property
    def pending(self) -> int:
        """Requests whose rows are not on the disk yet."""
        return self._appended - self._done

    def describe(self, release: str, names: Sequence[str], model: str, digest: str) -> None:
        """Says what the rows of a release mean; before the first of them is appended.

        `names` are its features in order, `model` is name@version, `digest` the model's.
        """
        self._encoder.describe(release, Names.of(names, model, digest))

    def append(self, row: Row, synced: Synced | None = None) -> bool:
        """Queues a row; False when too many wait. On the loop, `synced` follows its commit."""
        size = _size(row)
        if (
            self._appended - self._done >= self._max_pending
            or self._appended_bytes - self._done_bytes + size > PENDING_BYTES
        ):
            return False
        if synced is not None and self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._appended += 1
        self._appended_bytes += size
        self._queue.append((row, synced))
        if self._idle:
            self._idle = False
            self._wake.put(None)
        return True

    def close(self) -> int:
        """Writes what waits and ends the segment. Gives how many rows could not be written."""
        self._closing.set()
        self._wake.put(None)
        self._thread.join()
        return self.pending

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # whatever it is, nothing is logged any more
            self._error = f"the log's thread ended: {type(error).__name__}: {error}"
            log.exception("the prediction log has ended")

    def _work(self) -> None:
        batch: _Batch | None = None
        # What is wrong with the folder shows, and is seen to be mended, before the first row.
        while not self._attempt(None) and not self._closing.wait(self._interval):
            pass
        while not (self._closing.is_set() and batch is None and not self._queue):
            if batch is None:
                self._wait_for_rows()
                batch = _Batch(self._queue, self._encoder)
            ended = self._closing.is_set()
            if self._attempt(batch):
                self._confirm(batch)
                batch = None
            elif ended:
                break  # with rows that could not be written
            else:
                self._closing.wait(self._interval)
        self._segments.close()

    def _wait_for_rows(self) -> None:
        self._idle = True
        while not self._queue and not self._closing.is_set():
            with contextlib.suppress(Empty):
                self._wake.get(timeout=self._segments.seconds_left())
            self._segments.end_if_due()
            self._idle = True
        self._idle = False
        if not self._at_once:
            self._closing.wait(self._interval)

    def _attempt(self, batch: _Batch | None) -> bool:
        """One try of a commit, which leaves nothing behind when it fails."""
        try:
            self._segments.commit(batch.parts() if batch else ())
        except OSError as error:
            if not self._error:
                log.error("the prediction log cannot be written: %s", error)
            self._error = str(error)
            return False
        if self._error:
            log.info("the prediction log is written again")
        self._error = ""
        return True

    def _confirm(self, batch: _Batch) -> None:
        self._done_bytes += sum(map(_size, batch.rows))
        self._done += len(batch.rows)
        waiting = [synced for synced in batch.synced if synced is not None]
        if waiting and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(_call, waiting)
        if self._on_batch is not None and batch.rows:
            try:
                self._on_batch(batch.rows)
            except Exception:  # the rows are safe; the log goes on
                log.exception("what follows the prediction log failed")


def _size(row: Row) -> int:
    return len(row.request) + len(row.matrix or b"")


def _call(waiting: Sequence[Synced]) -> None:
    for synced in waiting:
        try:
            synced()
        except Exception:  # one client's trouble is not the next one's
            log.exception("an answer could not follow its row")


class _Batch:
    """The rows of one commit. They are encoded once, however often writing them is tried."""

    def __init__(self, queue: deque[tuple[Row, Synced | None]], encoder: Encoder) -> None:
        taken = [queue.popleft() for _ in range(len(queue))]
        self.rows = [row for row, _ in taken]
        self.synced = [synced for _, synced in taken]
        self._encoder = encoder
        self._parts: list[bytearray] = []
        self._encoded = 0  # rows
        self._refused = False  # whether the values of one could not be encoded

    def parts(self) -> Iterator[bytearray]:
        """The lines, some at a time."""
        yield from self._parts
        while self._encoded < len(self.rows):
            part = bytearray()
            self._encode(part)
            self._parts.append(part)
            yield part
            if self._encoded < len(self.rows) <= BEHIND:
                time.sleep(PAUSE)

    def _encode(self, part: bytearray) -> None:
        while self._encoded < len(self.rows) and len(part) < BYTES_PER_WRITE:
            row = self.rows[self._encoded]
            self._encoded += 1
            try:
                self._encoder.append(row, part)
            except (ValueError, TypeError, OverflowError, RecursionError, struct.error) as error:
                if not self._refused:  # once a commit: what is wrong with one is with many
                    log.error("prediction %s has its values left out: %s", row.prediction_id, error)
                self._refused = True
                self._encoder.append_without_values(row, part)


class _Segments:
    """The segment written now, and when the next one begins."""

    def __init__(self, folder: Path, most_bytes: int, most_seconds: float) -> None:
        self._folder, self._most_bytes, self._most_seconds = folder, most_bytes, most_seconds
        self._current: Segment | None = None
        self._begun = 0.0

    def seconds_left(self) -> float | None:
        """Until the segment is old enough; None where there is none with rows."""
        if self._current is None or not self._current.size:
            return None
        return max(self._begun + self._most_seconds - time.monotonic(), 0.0)

    def end_if_due(self) -> None:
        current = self._current
        if (
            current is not None
            and current.size
            and (current.size >= self._most_bytes or self.seconds_left() == 0.0)
        ):
            self.close()

    def commit(self, parts: Iterable[bytes | bytearray]) -> None:
        """Writes and syncs all parts. Raises `OSError`, with the segment as it was before."""
        self.end_if_due()
        try:
            segment = self._open()
            for part in parts:
                segment.write(part)
            segment.commit()
        except OSError:
            with contextlib.suppress(OSError):  # where this fails too, the next try begins with it
                self._restore()
            raise

    def _open(self) -> Segment:
        self._restore()
        if self._current is None:
            self._current = Segment(self._folder, datetime.now(UTC))
            self._begun = time.monotonic()
        return self._current

    def _restore(self) -> None:
        if self._current is not None:
            self._current.roll_back()
            if not self._current.sound:
                # Linux reports a failed write-back once; another sync of the same pages would
                # claim success. The rows are written again, to another file.
                self.close()

    def close(self) -> None:
        current, self._current = self._current, None
        if current is not None:
            with contextlib.suppress(OSError):
                current.roll_back()
            with contextlib.suppress(OSError):
                current.close()
