"""A question that is answered in a process of its own: what it imports stays out of the asker's.

The module asked is run with `python -m`, and its `main` is `answer(check)`.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from penstock.errors import IntegrityError, PenstockError, from_dict

TIMEOUT = 60.0  # seconds


def ask(
    module: str,
    question: dict[str, Any],
    fault: str,
    *,
    kind: type[PenstockError] = IntegrityError,
    timeout: float | None = TIMEOUT,
) -> Any:
    """What the module's check gave, as JSON. Raises the `PenstockError` that it raised.

    Where there is no answer, a `kind` that begins with `fault`. The question goes through standard
    input: it may hold secrets.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise kind(f"{fault} in {timeout:g} s") from error
    if done.returncode == 0:
        return json.loads(done.stdout)
    if done.returncode == PenstockError.exit_status and done.stdout.startswith("{"):
        raise from_dict(json.loads(done.stdout))
    raise kind(f"{fault}: {done.stderr[-500:]}")


def answer(check: Callable[[dict[str, Any]], Any]) -> None:
    """The whole of a process that was asked. What the check prints is no part of the answer."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            given = check(json.load(sys.stdin))
        print(json.dumps(given))
    except PenstockError as error:
        print(json.dumps(error.as_dict()))
        raise SystemExit(PenstockError.exit_status) from error
