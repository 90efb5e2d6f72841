"""`penstock predict`."""

from __future__ import annotations

import argparse
import contextlib
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from penstock.cli.opening import project_of
from penstock.cli.output import print_json, table
from penstock.errors import ServingError, UsageError

TIMEOUT = 60.0  # seconds


def predict(options: argparse.Namespace) -> int:
    from penstock.serving.access import PREDICT, headers_with
    from penstock.serving.endpoint import status

    project = project_of(options)
    running = status(project.endpoint(options.endpoint))
    if not running.live:
        raise ServingError(
            f"the endpoint {options.endpoint} is not running",
            hint="`penstock run` or `penstock serve` starts it",
        )
    question = _question(options)
    key = headers_with(project.settings.serving, PREDICT)
    answer = _ask(f"{running.url}/predict", question, key)
    if options.json:
        print_json(answer)
        return 0
    asked = _names(question)
    rows = [(name, f"{p:.4f}") for name, p in zip(asked, answer["predictions"], strict=True)]
    print(table(("asked", "probability"), rows))
    print(f"by {answer['model']}, release {answer['release']}")
    return 0


def _question(options: argparse.Namespace) -> dict[str, Any]:
    if options.rows:
        if options.values:
            raise UsageError("give either KEY=VALUE or --rows, not both")
        return {"rows": _rows(Path(options.rows))}
    if not options.values:
        raise UsageError(
            "nothing to predict", hint="name an entity, such as customer_id=42, or use --rows FILE"
        )
    entities: dict[str, list[Any]] = {}
    for pair in options.values:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"{pair!r} is not KEY=VALUE", hint="write customer_id=42")
        entities.setdefault(key, []).append(int(value) if value.lstrip("-").isdigit() else value)
    return {"entities": entities}


def _rows(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        raise UsageError(f"{file} does not exist")
    if file.suffix == ".json":
        try:
            loaded = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"{file} is not valid JSON: {error}") from None
        return list(loaded["rows"] if isinstance(loaded, dict) else loaded)
    from penstock.frames.convert import as_table

    return list(as_table(file, str(file)).to_pylist())


def _names(question: dict[str, Any]) -> list[str]:
    if "rows" in question:
        return [f"row {number}" for number in range(1, len(question["rows"]) + 1)]
    keys, columns = list(question["entities"]), question["entities"].values()
    return [
        ", ".join(f"{key}={value}" for key, value in zip(keys, values, strict=True))
        for values in zip(*columns, strict=True)
    ]


def _ask(url: str, question: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    body = json.dumps(question, default=str).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        told = error.read().decode(errors="replace")
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = json.loads(told)["error"]
        raise ServingError(f"the endpoint refused: {told} (HTTP {error.code})") from error
    except OSError as error:
        raise ServingError(f"{url} did not answer: {error}") from error
