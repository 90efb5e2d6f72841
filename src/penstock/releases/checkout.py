"""Puts what a release was made from into a folder of its own: code, data, and the settings."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from penstock import git
from penstock.data.recall import noted_paths, recall
from penstock.errors import DataError, ModelError, SettingsError
from penstock.project import SETTINGS_FILE, Project
from penstock.releases.manifest import Manifest
from penstock.releases.source_bundle import obtained, unpack
from penstock.settings import Settings
from penstock.settings_source import as_variables, load_settings

DECIDING = ("data", "features", "training", "gates")  # sections that a model depends on
FEAST = "feature_store.yaml"
# What is done in the folder reaches nothing outside of it.
ALONE = {
    "PENSTOCK_STATE_URL": "",
    "PENSTOCK_REGISTRY_TRACKING_URI": "",
    "PENSTOCK_FEATURES_ONLINE_STORE": "lmdb",
    "PENSTOCK_DATA_REFRESH": "on_change",  # the data is there
    "PENSTOCK_NOTIFY_EMAILS": "",
    "PENSTOCK_NOTIFY_URLS": "",
    "PENSTOCK_PIPELINE_RETRIES": "0",
}

Progress = Callable[..., None]


def check_out(project: Project, manifest: Manifest, folder: Path, progress: Progress) -> str:
    """Fills an empty folder; says where the code came from.

    Raises `ModelError` for code, and `DataError` for data, that cannot be had any more.
    """
    if not manifest.data.dvc:
        raise DataError(
            f"no dataset is recorded of {manifest.model}",
            hint="only a version that a run of this project made can be trained again",
        )
    said = _code(project, manifest, folder)
    progress(said)
    if (own := folder / FEAST).is_file():  # it may name a registry that others use
        own.rename(folder / f"{FEAST}.aside")
    _data(project, manifest, folder, progress)
    return said


def variables(manifest: Manifest, folder: Path, environment: str) -> Mapping[str, str]:
    """The environment of whoever works in the folder: with the settings that the release names."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    there = load_settings(folder / SETTINGS_FILE, environment, {})
    return {**kept, **as_variables(_settings(manifest, there), there, DECIDING), **ALONE}


def _settings(manifest: Manifest, there: Settings) -> Settings:
    deciding = {name: manifest.settings.get(name, {}) for name in DECIDING}
    merged: dict[str, Any] = there.model_dump() | deciding
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError(
            f"this Penstock cannot read the settings of {manifest.model}: "
            f"{error.errors()[0]['msg']}",
            hint="install the Penstock that made the release",
        ) from error


def _code(project: Project, manifest: Manifest, folder: Path) -> str:
    code = manifest.code
    if file := obtained(project, code.bundle, manifest.training.mlflow_run):
        unpack(file, folder)
        return f"code of {manifest.model} from its archive {code.bundle[:12]}"
    if code.commit and not code.dirty and _archived(project, code.commit, folder):
        return f"code of {manifest.model} from commit {code.commit[:12]}"
    why = f"git has no commit {code.commit[:12]}"
    if code.dirty:
        why = (
            "what was changed beside the commit was not committed"
            if code.commit
            else "it was not committed"
        )
    raise ModelError(
        f"the code of {manifest.model} cannot be had: its archive is gone, and {why}",
        hint="`penstock release show` says what of a release can be had",
    )


def _archived(project: Project, commit: str, folder: Path) -> bool:
    """The project's part of a commit, whatever its repository holds beside it."""
    with tempfile.NamedTemporaryFile(suffix=".zip") as file:
        asked = ("archive", "--format=zip", f"--output={file.name}", commit, ".")
        found = git.said(project.root, *asked) is not None
        if found:
            unpack(Path(file.name), folder)
    return found


def _data(project: Project, manifest: Manifest, folder: Path, progress: Progress) -> None:
    data = manifest.data
    for path, md5 in {**noted_paths(folder), data.path: data.dvc}.items():
        progress(f"{path} at {md5[:8]}")
        recall(project, path, md5, folder / path, progress)
