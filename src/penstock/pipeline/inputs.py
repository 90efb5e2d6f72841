"""What a step's result depends on, by name: the cache key, and the answer to `why`.

An input's value is a digest or, where it is short enough to be read, the value itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from penstock import __version__
from penstock.pipeline.plan import Step
from penstock.pipeline.source import code_digests
from penstock.project import Project
from penstock.records import Record, digest_of

Inputs = dict[str, str]


def inputs_of(step: Step, project: Project, records: Mapping[str, Record]) -> Inputs:
    """All inputs of a step, given the records it takes by kind."""
    found: Inputs = {"penstock": __version__}
    for kind, record in records.items():
        found |= {f"{kind}: {part}": value for part, value in record.fingerprint().items()}
    for code in step.code:
        found |= code_digests(project.root, code)
    for pattern in step.files:
        found |= _files(project, pattern)
    for path in step.reads:
        found |= dict(_flat(f"setting {path}", _setting(project, path)))
    for name in step.params:
        found |= dict(_flat(f"param {name}", project.params.get(name)))
    if step.over:  # of the list, a step sees its item alone
        found.pop(f"param {step.family}.{step.over}", None)
        found["item"] = json.dumps(step.item)
    return found


def key_of(inputs: Inputs) -> str:
    return digest_of(inputs)


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """One sentence for each input that differs; empty when none does."""
    said = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if old is None:
            said.append(f"{name} is new: {_shown(new)}")
        elif new is None:
            said.append(f"{name} is gone (was {_shown(old)})")
        elif name.endswith((": columns", ": features")):
            said.append(f"{name} changed: {_set_difference(old, new)}")
        else:
            said.append(f"{name} changed: {_shown(old)} → {_shown(new)}")
    return said


def _files(project: Project, pattern: str) -> Inputs:
    absolute = pattern.startswith("/")
    return {
        f"file {path if absolute else os.path.relpath(path, project.root)}": project.digests.of(
            path
        )
        for path in matching(project, pattern)
    }


def matching(project: Project, pattern: str) -> list[Path]:
    """The files that a pattern of [data] sources names: below the project, or absolute."""
    above = Path("/") if pattern.startswith("/") else project.root
    found = above.glob(pattern.lstrip("/"))
    files = (file for path in found for file in (path.rglob("*") if path.is_dir() else [path]))
    return sorted({file for file in files if file.is_file()})


def _setting(project: Project, path: str) -> Any:
    value: Any = project.settings
    for part in path.split("."):
        value = getattr(value, part)
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif value is not None:
        yield name, json.dumps(value, sort_keys=True, default=str)


def _shown(value: str | None) -> str:
    text = str(value)
    is_digest = len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
    return text[:12] if is_digest else (text if len(text) <= 80 else text[:77] + "…")


def _set_difference(old: str, new: str) -> str:
    before, after = set(old.split("; ")), set(new.split("; "))
    signs = [f"+ {item}" for item in sorted(after - before)]
    signs += [f"- {item}" for item in sorted(before - after)]
    return ", ".join(signs) or "another order"
