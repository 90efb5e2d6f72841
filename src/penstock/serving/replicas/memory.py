"""Whether a replica that ran out of its memory can go on, or has to make way for another.

A request may be too large; then the memory is there again when it has been refused. A model or a
source of features that leaks gives none back, and everything asked after that would fail.
"""

from __future__ import annotations

import gc
import mmap
import traceback
from collections.abc import Iterator

SPARE = 4  # a replica that cannot get one part in so many of its memory is of no use
OFTEN = 5  # times that a replica may run out of memory, though it was there again afterwards

# How libraries that are not written in Python say so: LightGBM and XGBoost, ONNX Runtime, PyTorch.
WORDS = ("bad_alloc", "bad allocation", "allocate memory", "out of memory")


class Memory:
    """What a replica process may take: `limit` bytes, as its RLIMIT_DATA says; 0: no limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._failures = 0

    def exhausted_by(self, error: BaseException) -> bool:
        """Whether this failure means that the process has no memory left for any request."""
        if not self._limit or not is_lack_of_memory(error):
            return False
        self._failures += 1
        for one in _chain(error):  # its frames hold what the failed attempt took
            traceback.clear_frames(one.__traceback__)
        gc.collect()
        return self._failures >= OFTEN or not _is_free(self._limit // SPARE)


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an exception, or what caused it, says that memory could not be had."""
    return any(
        isinstance(one, MemoryError) or any(word in str(one).lower() for word in WORDS)
        for one in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__


def _is_free(size: int) -> bool:
    """Asks for that many bytes, and gives them back untouched."""
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError):
        return False
    return True
