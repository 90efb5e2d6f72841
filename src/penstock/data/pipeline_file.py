"""Writes stages into a project's `dvc.yaml`, and leaves everything else in it as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.data.repository import open_repository
from penstock.errors import ProjectError

FILE = "dvc.yaml"
OURS = "penstock"  # in a stage's meta: Penstock wrote it and may write it anew


@dataclass(frozen=True)
class Exported:
    file: Path
    stages: tuple[str, ...]
    removed: tuple[str, ...]  # stages that the plan has no more
    taken_over: tuple[str, ...]  # .dvc notes of files that a stage makes from now on


def export(
    root: Path, stages: Mapping[str, Mapping[str, Any]], outputs: Mapping[str, str]
) -> Exported:
    """Writes the stages; `outputs` are files that DVC may track already, and the stage of each.

    Raises `ProjectError`, and changes nothing, where somebody else wrote a stage of that name.
    """
    from dvc.utils.serialize import modify_yaml

    with open_repository(root, make=True) as repo:
        file = root / FILE
        with modify_yaml(str(file), fs=repo.fs) as content:
            there = content.setdefault("stages", {})
            _require_ours(there, stages, file)
            gone = [name for name, stage in there.items() if _ours(stage) and name not in stages]
            for name in gone:
                del there[name]
            for name, stage in stages.items():
                there[name] = dict(stage)
        taken = [note for path in outputs if (note := root / f"{path}.dvc").is_file()]
        for note in taken:
            note.unlink()
    return Exported(
        file,
        tuple(stages),
        tuple(gone),
        tuple(note.relative_to(root).as_posix() for note in taken),
    )


def is_current(root: Path, name: str, stage: Mapping[str, Any]) -> bool:
    """Whether `dvc.yaml` says of a stage what it should; True where there is no such file."""
    import yaml

    try:
        content = yaml.safe_load((root / FILE).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return True
    stages = content.get("stages", {}) if isinstance(content, dict) else {}
    return bool(stages.get(name) == stage)


def _require_ours(there: Mapping[str, Any], stages: Mapping[str, Any], file: Path) -> None:
    foreign = [name for name in stages if name in there and not _ours(there[name])]
    if foreign:
        raise ProjectError(
            f"{file} has stages of its own called {', '.join(foreign)}",
            hint="rename them; the others stay as they are",
        )


def _ours(stage: Any) -> bool:
    return isinstance(stage, dict) and bool((stage.get("meta") or {}).get(OURS))
