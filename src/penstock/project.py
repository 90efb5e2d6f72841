"""A user's project folder: where things are, its settings, its parameters, its code.

What reads settings is imported by whoever opens a project: a DAG file that asks where it lies does
not pay for it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from penstock.digests import DigestMemory
from penstock.errors import PenstockError, ProjectError, SettingsError, UserCodeError

if TYPE_CHECKING:
    from penstock.settings import Settings

SETTINGS_FILE = "penstock.toml"
STAGING = "staging"  # the endpoint that every model is tested behind
PRODUCTION = "production"  # the one that the champion serves


@dataclass(frozen=True)
class Project:
    """An open project. Its paths are absolute; records hold paths relative to `root`."""

    root: Path
    environment: str
    settings: Settings
    params: Mapping[str, Any]  # the whole of params.yaml
    digests: DigestMemory = field(repr=False)

    @property
    def folder(self) -> Path:
        """Penstock's own folder in the project: state, artifacts, logs."""
        return self.root / ".penstock"

    @property
    def run_lock(self) -> Path:
        """Held by the one who runs the plan on this machine."""
        return self.folder / "run.lock"

    @property
    def notices(self) -> Path:
        """The file that holds every notice, whichever channels took it."""
        return self.folder / "notices.log"

    @property
    def endpoints(self) -> list[str]:
        """The names of the endpoints that have a folder here."""
        parent = self.endpoint(STAGING).parent
        return sorted(path.name for path in parent.glob("*") if path.is_dir())

    def endpoint(self, name: str) -> Path:
        """The folder of an endpoint: what it shall serve, what it says of itself, its logs."""
        return self.folder / "endpoints" / name

    @property
    def seed(self) -> int:
        value = self.params.get("seed", 0)
        if not isinstance(value, int):
            raise SettingsError(
                f"{self.root / 'params.yaml'}: seed is {value!r}, not a whole number",
                hint="write seed: 42",
            )
        return value

    def section(self, name: str) -> Mapping[str, Any]:
        """One section of params.yaml; empty where there is none."""
        value = self.params.get(name) or {}
        if not isinstance(value, Mapping):
            raise ProjectError(
                f"{self.root / 'params.yaml'}: section {name!r} is {value!r}, not a table",
                hint=f"write its parameters as 'key: value' lines below '{name}:'",
            )
        return value

    def absolute(self, path: str) -> Path:
        return self.root / path

    def place(self, path: str) -> Path:
        """Where a setting names a file or folder: below the project, absolute, or from `~`."""
        try:
            return self.root / Path(path).expanduser()
        except RuntimeError as error:  # ~ of a user whom the system does not know
            raise SettingsError(f"{path}: {error}", hint="write the whole path") from error

    def relative(self, path: Path) -> str:
        return path.resolve().relative_to(self.root).as_posix()

    def module(self, name: str) -> ModuleType:
        """Imports a module of the project's own, such as `pipeline`."""
        file = self.root / f"{name}.py"
        if not file.is_file():
            raise ProjectError(
                f"{file} does not exist", hint="`penstock init NAME` shows what a project holds"
            )
        if str(self.root) not in sys.path:
            sys.path.insert(0, str(self.root))
        try:
            return importlib.import_module(name)
        except PenstockError as error:  # a mistake in what is declared, and its remedy
            raise ProjectError(f"{file}: {error.message}", hint=error.hint) from error
        except Exception as error:  # whatever the user's code raises
            raise UserCodeError(
                f"{file} cannot be imported: {type(error).__name__}: {error}"
            ) from error


def open_project(
    folder: Path | None = None,
    environment: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> Project:
    """Opens the project in `folder`, or in the nearest folder above that has a penstock.toml.

    `variables` stand for those of this process.
    """
    from penstock.settings_source import load_settings

    root, environment = _root(folder), environment_of(environment)
    return Project(
        root=root,
        environment=environment,
        settings=load_settings(
            root / SETTINGS_FILE, environment, os.environ if variables is None else variables
        ),
        params=_read_params(root / "params.yaml"),
        digests=DigestMemory(root / ".penstock" / "digests.json"),
    )


def bare_project(folder: Path | None = None, environment: str | None = None) -> Project:
    """The project with default settings: for what must work though its own cannot be read."""
    from penstock.settings import Settings

    root = _root(folder)
    return Project(
        root=root,
        environment=environment_of(environment),
        settings=Settings.model_validate({"project": {"name": "project"}}),
        params={},
        digests=DigestMemory(root / ".penstock" / "digests.json"),
    )


def environment_of(given: str | None) -> str:
    """The environment of a command, where it is not given: that of PENSTOCK_ENVIRONMENT, or dev."""
    return given or os.environ.get("PENSTOCK_ENVIRONMENT") or "dev"


def project_above(file: Path) -> Path:
    """The project that a module for another tool lies in, in its `dags/` or `flows/`."""
    root = _root_above(file.resolve().parent)
    if root is None:
        raise ProjectError(
            f"no {SETTINGS_FILE} in any folder above {file}",
            hint="keep the file in its project, and link it to where the other tool looks for it",
        )
    return root


def deployed_environment() -> str:
    """The settings that other orchestrators run by, where nothing else is said: production's."""
    return os.environ.get("PENSTOCK_ENVIRONMENT") or "production"


def _root(folder: Path | None) -> Path:
    start = Path(folder or os.environ.get("PENSTOCK_PROJECT") or ".").resolve()
    root = _root_above(start) if folder is None else start
    if root is None or not (root / SETTINGS_FILE).is_file():
        raise ProjectError(
            f"no {SETTINGS_FILE} in {start}" + ("" if folder else " or any folder above it"),
            hint="change to a project's folder, name one with --project, or make one with "
            "`penstock init NAME`",
        )
    return root


def _root_above(start: Path) -> Path | None:
    return next((p for p in (start, *start.parents) if (p / SETTINGS_FILE).is_file()), None)


def _read_params(file: Path) -> Mapping[str, Any]:
    import yaml

    if not file.is_file():
        return {}
    try:
        params = yaml.load(
            file.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
    except yaml.YAMLError as error:
        raise SettingsError(f"{file}: not valid YAML: {error}") from error
    if not isinstance(params or {}, Mapping):
        raise SettingsError(f"{file}: expected 'key: value' lines, saw a {type(params).__name__}")
    return params or {}
