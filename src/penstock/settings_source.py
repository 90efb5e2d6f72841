"""Reads `penstock.toml`, lays the environment over it, and names the place of every mistake.

Order, later wins: defaults, the file's sections, its `[environments.NAME]`, `PENSTOCK_…` variables.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from penstock.errors import SettingsError
from penstock.setting_types import duration_text
from penstock.settings import Settings

ENVIRONMENTS = ("dev", "staging", "production")
RESERVED = {
    *("PENSTOCK_ENVIRONMENT", "PENSTOCK_PROJECT", "PENSTOCK_TRACEBACK"),
    *("PENSTOCK_TOKEN", "PENSTOCK_TOKEN_FILE", "PENSTOCK_KEY_FILE"),
}
# Kubernetes adds these for a service that happens to be called penstock; tests have their own.
FOREIGN = re.compile(r"PENSTOCK_(SERVICE_|PORT$|PORT_|TEST_)")
# A password may hold a slash, and may stand among the options.
PLAIN_URLS = {"url", "tracking_uri", "redis_url"}  # no secrets unless they hold a password
PASSWORD_IN_URL = re.compile(r"://[^/@:]*:[^@]+@|[?&](password|token)=", re.IGNORECASE)

Keys = tuple[str, ...]


def load_settings(file: Path, environment: str, variables: Mapping[str, str]) -> Settings:
    """The settings of one environment. Raises `SettingsError` with file, line and key."""
    if environment not in ENVIRONMENTS:
        raise SettingsError(
            f"unknown environment {environment!r}",
            hint=f"use one of {', '.join(ENVIRONMENTS)} (--environment or PENSTOCK_ENVIRONMENT)",
        )
    text, document = _read(file)
    overlays = _overlays(document, file, text)
    _refuse_secrets(document, (), file, text)
    for name, overlay in overlays.items():
        _refuse_secrets(overlay, ("environments", name), file, text)
    merged = _merged(document, overlays.get(environment, {}))
    from_variables = dict(_from_variables(variables))
    for path, (_, value) in from_variables.items():
        merged = _merged(merged, _nested(path, value))
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        names = {path: name for path, (name, _) in from_variables.items()}
        place = _Place(file, text, environment, overlays.get(environment, {}), names)
        raise SettingsError(_explain(error.errors(), place)) from None


def as_variables(settings: Settings, base: Settings, sections: Collection[str]) -> dict[str, str]:
    """The `PENSTOCK_…` variables that make `settings` of `base`, as far as some sections go."""
    found: dict[str, str] = {}
    for path, name, _ in _leaves(Settings):
        value, other = (reduce(getattr, path, one) for one in (settings, base))
        if path[0] not in sections or value == other or isinstance(value, SecretStr):
            continue
        if isinstance(value, dict):
            found |= {f"{name}_{key.upper()}": _as_text(one) for key, one in value.items()}
        else:
            found[name] = _as_text(value)
    return found


def private_variables(variables: Iterable[str]) -> list[str]:
    """Those whose values are not written down: secrets, and what is no setting, as a token."""
    secret = {name for _, name, annotation in _leaves(Settings) if "SecretStr" in str(annotation)}
    known = secret | RESERVED
    return sorted(name for name in variables if name in known or FOREIGN.match(name))


def line_of(text: str, path: Keys) -> int:
    """The line (from 1) where a key stands in TOML text; the nearest table above it otherwise."""
    best: tuple[int, int] = (0, 1)  # keys in common, line
    table: Keys = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?", line)
        key = re.match(r"\s*([A-Za-z0-9_.\-\"']+)\s*=", line)
        if header:
            table = _parts(header[1])
            here: Keys = table
        elif key:
            here = (*table, *_parts(key[1]))
        else:
            continue
        shared = min(len(here), len(path)) if here[: len(path)] == path[: len(here)] else 0
        if shared > best[0]:
            best = (shared, number)
    return best[1]


def _parts(dotted: str) -> Keys:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise SettingsError(f"{file}:{line}: not UTF-8", hint="save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: not valid TOML: {error}") from error


def _overlays(document: dict[str, Any], file: Path, text: str) -> dict[str, Any]:
    """Takes the environments out of the document."""
    overlays = document.pop("environments", {})
    if not isinstance(overlays, dict):
        overlays = {"NAME": overlays}
    for name, overlay in overlays.items():
        if name not in ENVIRONMENTS or not isinstance(overlay, dict):
            line = line_of(text, ("environments", name))
            raise SettingsError(
                f"{file}:{line}: environments.{name} is not the table of an environment",
                hint=f"write one of {', '.join(f'[environments.{e}]' for e in ENVIRONMENTS)}",
            )
    return dict(overlays)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged


def _nested(path: Keys, value: Any) -> dict[str, Any]:
    for part in reversed(path):
        value = {part: value}
    return dict(value)


def _refuse_secrets(values: Mapping[str, Any], above: Keys, file: Path, text: str) -> None:
    for path, name, annotation in _leaves(Settings):
        value = _lookup(values, path)
        if value is None or "SecretStr" not in str(annotation):
            continue
        plain_url = path[-1] in PLAIN_URLS and not PASSWORD_IN_URL.search(str(value))
        if not plain_url:
            line = line_of(text, (*above, *path))
            raise SettingsError(
                f"{file}:{line}: {'.'.join(path)} is a secret and stands in the file",
                hint=f"take it out of the file and set {name} in the environment",
            )


def _leaves(model: type[BaseModel], above: Keys = ()) -> Iterator[tuple[Keys, str, Any]]:
    for name, field in model.model_fields.items():
        path, annotation = (*above, name), field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _leaves(annotation, path)
        else:
            yield path, "PENSTOCK_" + "_".join(path).upper(), annotation


def _from_variables(variables: Mapping[str, str]) -> Iterator[tuple[Keys, tuple[str, Any]]]:
    known = {name: (path, annotation) for path, name, annotation in _leaves(Settings)}
    for name, raw in variables.items():
        if not name.startswith("PENSTOCK_") or name in RESERVED or FOREIGN.match(name):
            continue
        if name in known:
            path, annotation = known[name]
            yield path, (name, _typed(raw, annotation))
            continue
        # A table with keys of the user's choice: PENSTOCK_GATES_MODEL_AUC_ROC, or of tables with
        # such keys: PENSTOCK_APPROVALS_PRODUCTION_REQUIRED
        for table, (path, annotation) in known.items():
            if str(annotation).startswith("dict") and name.startswith(table + "_"):
                below, inner = _below(name[len(table) + 1 :].lower(), annotation)
                yield (*path, *below), (name, _typed(raw, inner))
                break
        else:
            close = difflib.get_close_matches(name, known, n=1)
            raise SettingsError(
                f"the environment variable {name} is no setting",
                hint=f"did you mean {close[0]}?" if close else "unset it or correct its name",
            )


def _below(rest: str, annotation: Any) -> tuple[Keys, Any]:
    """The user's key, and the setting below it where the table holds tables; and its type."""
    held = get_args(annotation)[1]
    holds_tables = isinstance(held, type) and issubclass(held, BaseModel)
    for name, field in held.model_fields.items() if holds_tables else ():
        if rest.endswith(f"_{name}"):
            return (rest.removesuffix(f"_{name}"), name), field.annotation
    return (rest,), str


def _typed(raw: str, annotation: Any) -> Any:
    if annotation in (str, SecretStr):
        return raw
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw


def _as_text(value: Any) -> str:
    """The inverse of `_typed`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _lookup(values: Any, path: Keys) -> Any:
    for part in path:
        if not isinstance(values, Mapping):
            return None
        values = values.get(part)
    return values


class _Place:
    """Where a setting was written."""

    def __init__(
        self,
        file: Path,
        text: str,
        environment: str,
        overlay: Mapping[str, Any],
        variables: Mapping[Keys, str],
    ) -> None:
        self.file, self.text, self.variables = file, text, variables
        self.environment, self.overlay = environment, overlay

    def of(self, path: Keys) -> str:
        for known, name in self.variables.items():
            if path[: len(known)] == known:
                return f"environment variable {name}"
        overlaid = _lookup(self.overlay, path) is not None
        above = ("environments", self.environment) if overlaid else ()
        return f"{self.file}:{line_of(self.text, (*above, *path))}"


def _explain(errors: list[ErrorDetails], place: _Place) -> str:
    return "\n".join(_explain_one(error, place) for error in errors)


def _explain_one(error: ErrorDetails, place: _Place) -> str:
    path = tuple(str(part) for part in error["loc"])
    key, where = ".".join(path), place.of(path)
    if error["type"] == "missing":
        return f"{where}: {key} is missing; add it under [{'.'.join(path[:-1]) or path[-1]}]"
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(path[-1], _siblings(path), n=1)
        remedy = f"did you mean {close[0]!r}?" if close else "remove it"
        return f"{where}: unknown setting {key}; {remedy}"
    # The value of a secret must not come back in a message, nor a section that holds one.
    secret = any(word in part for part in path for word in ("password", "url", "uri"))
    seen = "" if secret or isinstance(error["input"], Mapping) else f" (seen: {error['input']!r})"
    return f"{where}: {key}: {error['msg'].removeprefix('Value error, ')}{seen}"


def _siblings(path: Keys) -> list[str]:
    model: Any = Settings
    for part in path[:-1]:
        field = model.model_fields.get(part)
        if field is None or not isinstance(field.annotation, type):
            return []
        model = field.annotation
    return list(model.model_fields) if issubclass(model, BaseModel) else []
