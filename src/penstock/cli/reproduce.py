"""`penstock reproduce`."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.cli.opening import project_of
from penstock.cli.output import print_json, table
from penstock.cli.progress import progress_of
from penstock.errors import StepError, UsageError

if TYPE_CHECKING:
    from penstock.orchestrators.reproduction import Reproduction


def reproduce(options: argparse.Namespace) -> int:
    from penstock.orchestrators.reproduction import record, reproduce
    from penstock.releases.history import release_named
    from penstock.state.database import open_database

    project = project_of(options)
    engine = open_database(project)
    made = release_named(engine, options.model)
    folder = _folder(options.into)
    try:
        with progress_of(options) as progress:
            found = reproduce(project, made.manifest, folder, progress)
    except StepError as error:
        raise StepError(error.message, hint=f"{error.hint}; see {folder}".lstrip("; ")) from error
    record(engine, made, found)
    if options.into is None:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        said = [asdict(one) | {"same": one.same} for one in found.compared]
        print_json(asdict(found) | {"equal": found.equal, "compared": said})
    else:
        _tell(found, folder if options.into else None)
    return 0 if found.equal else 1


def _folder(into: str | None) -> Path:
    if into is None:
        return Path(tempfile.mkdtemp(prefix="penstock-reproduce-"))
    folder = Path(into).resolve()
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", hint="name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _tell(found: Reproduction, kept: Path | None) -> None:
    rows = [
        (
            "✓" if one.same else "✗" if one.decides else "!",
            one.name,
            one.before[:12],
            "" if one.same else one.now[:12],
        )
        for one in found.compared
    ]
    print(table(("", "", "was", "is"), rows))
    print(f"{found.model} is " + ("reproduced: the same model" if found.equal else "another model"))
    if kept:
        print(f"  all of it is in {kept}")
