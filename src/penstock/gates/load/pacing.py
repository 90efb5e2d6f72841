"""Wakes the event loop when requests are due, to some ten microseconds.

Event loops round their timers to whole milliseconds (epoll's and libuv's unit), which would be
added to every latency that counts from the time a request was due. A Linux timerfd(2) is exact.
Python has `os.timerfd_create` from 3.13 on; before, the C library is called. Where there is no
timerfd, milliseconds it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable

SHORTEST = 50_000  # nanoseconds between two wakes; more requests are then due at once
COARSE = 0.001  # seconds, of the event loop's own timers
MONOTONIC = 1  # CLOCK_MONOTONIC, which perf_counter_ns reads on Linux
ABSOLUTE = 1  # TFD_TIMER_ABSTIME


class _Spec(ctypes.Structure):
    """struct itimerspec."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


class Pacer:
    """Calls back at `first`, and every `period` after it, both in nanoseconds of perf_counter_ns.

    Calls that come late are not made up for: the callback looks at the clock.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, first: int, period: int, call: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._call = call
        self._handle: asyncio.TimerHandle | None = None
        self._file = _timer(first, max(period, SHORTEST))
        if self._file is None:
            self._coarse()
        else:
            loop.add_reader(self._file, self._woken)

    @property
    def exact(self) -> bool:
        return self._file is not None

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._file is not None:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = None

    def _woken(self) -> None:
        assert self._file is not None
        with contextlib.suppress(BlockingIOError):
            os.read(self._file, 8)
        self._call()

    def _coarse(self) -> None:
        self._handle = self._loop.call_later(COARSE, self._coarse)
        self._call()


def _timer(first: int, period: int) -> int | None:
    """The file of a running timer; None where the system has none."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        file = library.timerfd_create(MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, AttributeError):
        return None
    if file < 0:
        return None
    second = 1_000_000_000
    spec = _Spec(period // second, period % second, first // second, first % second)
    if library.timerfd_settime(file, ABSOLUTE, ctypes.byref(spec), None) != 0:
        os.close(file)
        return None
    return int(file)
