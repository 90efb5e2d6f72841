"""What a service that works in rounds says: what stays as it is from one to the next, once."""

from __future__ import annotations

import logging


class Saying:
    """To a log."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last = ""

    def __call__(self, text: str, level: int = logging.INFO) -> None:
        if text != self._last:
            self._log.log(level, text)
        self._last = text

    def anew(self) -> None:
        """Whatever is said next is said."""
        self._last = ""
