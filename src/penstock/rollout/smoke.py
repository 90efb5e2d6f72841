"""Smoke tests: the candidate answers what the endpoint was asked lately, before it gets a share."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.rollout.evidence import SmokeResult
from penstock.serving.prediction_log.reading import Selection, predictions, records
from penstock.serving.release import EndpointFolder

TIMEOUT = 10.0  # seconds, of one request
PIN = "X-Penstock-Release"

Question = Mapping[str, Any]


def recent_questions(folder: Path, endpoint: str, count: int) -> list[Question]:
    """What the endpoint was asked last, as bodies of `/predict`: one row each, newest first."""
    found = predictions([EndpointFolder(folder).predictions], Selection(endpoint=endpoint))
    answered = found.filter("status = 200").order("arrived_at DESC").limit(count)
    return [_question(row) for row in records(answered)]


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

    A request fails unless its answer is a finite number for each row, given by that release.
    """
    faults = [fault for one in questions if (fault := _fault(url, release, one, token))]
    return SmokeResult(
        requests=len(questions), failures=len(faults), reason=faults[0] if faults else ""
    )


def _fault(url: str, release: str, question: Question, token: str) -> str:
    headers = {"Content-Type": "application/json", PIN: release}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(f"{url}/predict", json.dumps(question).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
            said = json.load(reply)
    except urllib.error.HTTPError as error:
        return f"{error.code}: {error.read(300).decode(errors='replace')}"
    except (OSError, ValueError) as error:
        return f"no answer: {error}"
    if said.get("release") != release:
        return f"the answer came from {said.get('release')}"
    values = said.get("predictions") or [math.nan]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return f"the predictions are {values}"
    return ""
