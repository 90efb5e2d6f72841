"""A question that is answered in a process of its own: what it imports stays out of the asker's.

The module asked is run with `python -m`, and its `main` is `answer(check)`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from penstock.errors import IntegrityError, PenstockError, from_dict

TIMEOUT = 60.0  # seconds


def ask(module: str, question: dict[str, Any], about: str) -> None:
    """Raises the `PenstockError` that the module's check raised; `IntegrityError` without answer.

    The question goes through standard input: it may hold secrets.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise IntegrityError(f"{about} could not be checked in {TIMEOUT:g} s") from error
    if done.returncode == 0:
        return
    if done.returncode == PenstockError.exit_status and done.stdout.startswith("{"):
        raise from_dict(json.loads(done.stdout))
    raise IntegrityError(f"{about} could not be checked: {done.stderr[-500:]}")


def answer(check: Callable[[dict[str, Any]], None]) -> None:
    """The whole of a process that was asked."""
    try:
        check(json.load(sys.stdin))
    except PenstockError as error:
        print(json.dumps(error.as_dict()))
        raise SystemExit(PenstockError.exit_status) from error
