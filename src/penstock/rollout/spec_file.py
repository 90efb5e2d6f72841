"""Reads a plan from a TOML file with the keys of [rollout]."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from penstock.errors import SettingsError
from penstock.rollout_settings import RolloutSettings
from penstock.settings_source import line_of


def read_plan(file: Path) -> RolloutSettings:
    """The plan in a file; what it does not say has its default.

    The keys stand at the top, or in a table [rollout]. Raises `SettingsError` with file, line and
    key.
    """
    try:
        text = file.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except FileNotFoundError:
        raise SettingsError(f"{file}: there is no such file", hint="name a TOML file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file}: not readable as TOML: {error}") from error
    above = ("rollout",) if set(document) == {"rollout"} else ()
    try:
        return RolloutSettings.model_validate(document["rollout"] if above else document)
    except ValidationError as error:
        told = "\n".join(_told(one, file, text, above) for one in error.errors())
        raise SettingsError(told, hint="docs/project.md lists the keys") from None


def _told(error: ErrorDetails, file: Path, text: str, above: tuple[str, ...]) -> str:
    path = tuple(map(str, error["loc"]))
    known = {"missing": "is missing", "extra_forbidden": "is unknown; remove it"}
    said = known.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    # An input that is a table would come back whole.
    whole = error["type"] in known or isinstance(error["input"], dict)
    seen = "" if whole else f" (seen: {error['input']!r})"
    key = f"{'.'.join(path)}: " if path else ""
    return f"{file}:{line_of(text, (*above, *path))}: {key}{said}{seen}"
