"""Smoke tests: the candidate answers what the endpoint was asked lately, before it gets a share."""

from __future__ import annotations

import json
import logging
import math
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError, ServingError
from penstock.rollout.evidence import SmokeResult
from penstock.serving.prediction_log.reading import Selection, answer, records
from penstock.serving.release import EndpointFolder

log = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds, of one request
PIN = "X-Penstock-Release"
NOT_ASKED = frozenset({401, 403, 429})  # the gateway's answers to who may not ask

Question = Mapping[str, Any]


class SmokeTests:
    """One at a time for each rollout, in the background: a candidate that hangs holds up nobody."""

    def __init__(self) -> None:
        self._results: dict[str, SmokeResult] = {}
        self._running: set[str] = set()

    def result(self, rollout: str) -> SmokeResult | None:
        """None: not asked for, or still to come."""
        return self._results.get(rollout)

    def begin(self, rollout: str, test: Callable[[], SmokeResult]) -> None:
        """Begins a test unless one runs. One that could not be made is to be begun again."""
        if rollout in self._running or rollout in self._results:
            return
        self._running.add(rollout)
        named = f"smoke-{rollout}"
        threading.Thread(target=self._run, args=(rollout, test), name=named, daemon=True).start()

    def _run(self, rollout: str, test: Callable[[], SmokeResult]) -> None:
        try:
            self._results[rollout] = test()
        except (PenstockError, OSError, ValueError) as error:
            log.error("%s: no smoke test could be made: %s", rollout, error)
        finally:
            self._running.discard(rollout)


def recent_questions(folder: Path, endpoint: str, count: int) -> list[Question]:
    """What the endpoint was asked last, as bodies of `/predict`: one row each, newest first."""
    found = answer(
        [EndpointFolder(folder).predictions],
        Selection(endpoint=endpoint),
        lambda rows: records(rows.filter("status = 200").order("arrived_at DESC").limit(count)),
    )
    return [_question(row) for row in found]


def _question(row: Mapping[str, Any]) -> Question:
    if row["entities"]:
        return {"entities": {name: [value] for name, value in row["entities"].items()}}
    return {"rows": [row["features"]]}


def made_up_questions(url: str, seed: int) -> list[Question]:
    """Rows of the right types, where nothing was asked yet. Raises `OSError`, `ServingError`."""
    from penstock.gates.load.questions import interface_of, made_up

    with urllib.request.urlopen(f"{url}/openapi.json", timeout=TIMEOUT) as answer:
        takes = interface_of(json.load(answer))
    return [{"rows": [row]} for row in made_up(takes, seed)]


def smoke_test(url: str, release: str, questions: Sequence[Question], token: str) -> SmokeResult:
    """Asks a release that has no share, by pin. `token` is a key with the scope `pin`, or empty.

    A request fails unless its answer is a finite number for each row, given by that release; the
    first that does is the last. Raises `OSError` or `ServingError` where the gateway cannot be
    asked, which is not the release's fault.
    """
    for number, one in enumerate(questions, start=1):
        if fault := _fault(url, release, one, token):
            return SmokeResult(requests=number, failures=1, reason=fault)
    return SmokeResult(requests=len(questions), failures=0)


def _fault(url: str, release: str, question: Question, token: str) -> str:
    headers = {"Content-Type": "application/json", PIN: release}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(f"{url}/predict", json.dumps(question).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
            said = json.load(reply)
    except urllib.error.HTTPError as error:
        told = f"{error.code}: {error.read(300).decode(errors='replace')}"
        if error.code in NOT_ASKED:
            raise ServingError(
                f"{url} does not take smoke tests: {told}",
                hint="give a key of [serving] keys the scopes predict+pin",
            ) from error
        return told
    except TimeoutError:
        return f"no answer within {TIMEOUT:g} s"
    except ValueError as error:
        return f"the answer is no JSON: {error}"
    if said.get("release") != release:
        return f"the answer came from {said.get('release')}"
    values = said.get("predictions") or [math.nan]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return f"the predictions are {values}"
    return ""
