"""A gateway that stops observing while the file BENCH_SWITCH is there. For `observing.py` alone.

Python imports this at its start, where PYTHONPATH names this folder.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

EVERY = 0.05  # seconds between two looks at the file

if "penstock.serving.main" in sys.orig_argv:
    from penstock.serving.observations.writer import Observer

    off = threading.Event()

    def watch() -> None:
        while True:
            (off.set if os.path.exists(os.environ["BENCH_SWITCH"]) else off.clear)()
            time.sleep(EVERY)

    def unless_off(work: Callable[..., None]) -> Callable[..., None]:
        def worked(*given: Any) -> None:
            if not off.is_set():
                work(*given)

        return worked

    Observer.counted_rows = unless_off(Observer.counted_rows)  # type: ignore[method-assign]
    Observer.flush = unless_off(Observer.flush)  # type: ignore[method-assign]
    threading.Thread(target=watch, daemon=True).start()
