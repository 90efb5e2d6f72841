"""Suites as they lie in a project's `expectations/` folder.

The files are those that Great Expectations 1.x writes (`suite.to_json_dict()`, or the
`expectations` folder of a file context), so a suite made with its SDK is used as it stands.
Every expectation blocks, whatever its `severity`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from penstock.errors import ProjectError

GX_WRITES = '{"name": …, "expectations": [{"type": …, "kwargs": {…}, "meta": {…}}]}'
MIGRATE = (
    "it was written by Great Expectations 0.x: in 1.x `expectation_suite_name` is `name` and "
    "`expectation_type` is `type`"
)


@dataclass(frozen=True)
class Expectation:
    """One expectation as its author wrote it."""

    type: str
    kwargs: Mapping[str, Any]
    notes: str = ""  # why it is expected, in the author's words


@dataclass(frozen=True)
class Suite:
    """A suite file that was read and understood."""

    name: str
    path: Path
    expectations: tuple[Expectation, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)  # what "$PARAMETER" stands for


def read_suites(folder: Path) -> tuple[Suite, ...]:
    """Every `*.json` in the folder, in the order of their names, checked against what
    Great Expectations knows. Raises `ProjectError` for the first that cannot be used."""
    suites = tuple(parse_suite(path) for path in sorted(folder.glob("*.json")))
    if not suites:
        raise ProjectError(
            f"no suite of expectations in {folder}",
            hint="`penstock validate --suggest` drafts one from the data",
        )
    for suite in suites:
        bind(suite)
    return suites


def parse_suite(path: Path) -> Suite:
    """The file's JSON as a suite, checked for its shape alone."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # broken JSON, or bytes that are not UTF-8
        raise ProjectError(f"{path} is not JSON: {error}", hint=f"a suite is {GX_WRITES}") from None
    if not isinstance(stored, dict) or not isinstance(stored.get("expectations"), list):
        raise ProjectError(
            f"{path} is not a suite: it has no list 'expectations'", hint=f"a suite is {GX_WRITES}"
        )
    if not stored["expectations"]:
        raise ProjectError(
            f"{path} has no expectations, so it would pass whatever the data",
            hint="add one, or remove the file",
        )
    return Suite(
        name=str(stored.get("name") or path.stem),
        path=path,
        expectations=tuple(
            _parse_expectation(entry, f"{path}: expectation {number}")
            for number, entry in enumerate(stored["expectations"], start=1)
        ),
        parameters=stored.get("suite_parameters") or {},
    )


def _parse_expectation(entry: Any, where: str) -> Expectation:
    if not isinstance(entry, dict):
        raise ProjectError(f"{where} is {entry!r}, not a table", hint=f"a suite is {GX_WRITES}")
    if not isinstance(entry.get("type"), str):
        old = "expectation_type" in entry
        raise ProjectError(f"{where} has no 'type'", hint=MIGRATE if old else f"see {GX_WRITES}")
    kwargs = entry.get("kwargs", {})
    if not isinstance(kwargs, dict):
        raise ProjectError(
            f"{where}, {entry['type']}: 'kwargs' is {kwargs!r}, not a table",
            hint='write its arguments by name: {"column": "amount", "min_value": 0}',
        )
    return Expectation(entry["type"], kwargs, _notes(entry))


def _notes(entry: Mapping[str, Any]) -> str:
    """Great Expectations has kept notes in `meta`, as text, as lists and as tables of both."""
    notes = entry.get("notes") or (entry.get("meta") or {}).get("notes") or ""
    if isinstance(notes, dict):
        notes = notes.get("content") or ""
    return " ".join(map(str, notes)) if isinstance(notes, list) else str(notes)


def bind(suite: Suite) -> list[Any]:
    """The suite's expectations as objects of Great Expectations, in order.

    Built one by one, because `ExpectationSuite(expectations=[...])` (1.24.1) logs a malformed
    expectation, leaves it out, and so lets everything pass.
    """
    return [
        _bind(expectation, f"{suite.path}: expectation {number}, {expectation.type}")
        for number, expectation in enumerate(suite.expectations, start=1)
    ]


def _bind(expectation: Expectation, where: str) -> Any:
    from great_expectations.compatibility.pydantic import ValidationError
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations import registry

    try:
        kind = registry.get_expectation_impl(expectation.type)
    except ExpectationNotFoundError:
        known = registry.list_registered_expectation_implementations()
        raise ProjectError(
            f"{where}: Great Expectations has no expectation of that type",
            hint=_suggestion(expectation.type, known)
            or "see https://greatexpectations.io/expectations for those it has",
        ) from None
    accepted = _arguments(kind)
    misspelt = [name for name in expectation.kwargs if name not in kind.__fields__]
    if misspelt:
        raise ProjectError(
            f"{where}: it takes no argument {misspelt[0]!r}",
            hint=_suggestion(misspelt[0], accepted) or f"it takes {', '.join(accepted)}",
        )
    try:
        return kind(**expectation.kwargs)
    except ValidationError as error:
        raise ProjectError(
            f"{where}: {_complaints(error.errors(), expectation.kwargs)}",
            hint=f"it takes {', '.join(accepted)}",
        ) from None


def _arguments(kind: Any) -> list[str]:
    """What its author may say: not `meta`, `id` and the like, which all expectations have."""
    from great_expectations.expectations.expectation import Expectation as Base

    return [name for name in kind.__fields__ if name not in {*Base.__fields__, "batch_id"}]


def _suggestion(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else ""


def _complaints(errors: list[dict[str, Any]], kwargs: Mapping[str, Any]) -> str:
    """The first complaint about each argument: pydantic makes one for each type it tried, and
    what it says about the whole (`__root__`) follows from them."""
    first: dict[str, str] = {}
    for error in errors:
        first.setdefault(str(error["loc"][0]), str(error["msg"]))
    whole = first.pop("__root__", "")
    said = [
        f"{name} = {kwargs[name]!r}: {message}" if name in kwargs else f"{name}: {message}"
        for name, message in first.items()
    ]
    return "; ".join(said) or whole
