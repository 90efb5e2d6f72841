"""Calls that may not return: to a state database, or a collector of spans, that says nothing."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import TypeVar

T = TypeVar("T")


async def in_background(call: Callable[..., T], *arguments: object) -> T:
    """As `asyncio.to_thread`, in a thread that does not hold up the end of the process."""
    done: Future[T] = Future()

    def run() -> None:
        with contextlib.suppress(InvalidStateError):  # nobody waits any more
            try:
                done.set_result(call(*arguments))
            except Exception as error:  # noqa: BLE001 -- raised where it is awaited
                done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(done)
