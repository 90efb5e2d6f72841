"""The project's own small files, kept with a release: code that nobody committed can be had again.

An archive whose bytes depend on names and contents alone. What git ignores, hidden files and keys
are not in it; data is DVC's, of which the notes are.
"""

from __future__ import annotations

import fnmatch
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from penstock import git
from penstock.digests import file_digest
from penstock.errors import IntegrityError
from penstock.project import Project
from penstock.registry.attestations import artifact
from penstock.state.artifacts import Artifact, keep, place_of

KIND, ENDING = "source", ".zip"
ARTIFACTS, SOURCE = "release", "source.zip"  # where it lies among the artefacts of a run
LARGEST, MOST = 1 << 20, 32 << 20  # bytes of a file, and of all
NAMED = 20  # files that are told of those left out
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a ZIP archive can name
MADE = ("__pycache__/*", "*/__pycache__/*", "mlruns/*", "*.pyc")
SECRET = ("*.key", "*.pem", "*.p12", "*.pfx")
DVC = (".dvc/config", ".dvcignore", ".gitignore", "*/.gitignore")


def bundle(project: Project) -> tuple[Artifact, tuple[str, ...]]:
    """Keeps the project's files as they are now, the small ones first; and names those left out."""
    files = {file.relative_to(project.root).as_posix(): file for file in own_files(project.root)}
    taken, left, total = dict[str, Path](), list[str](), 0
    for size, name in sorted((file.stat().st_size, name) for name, file in files.items()):
        total += size
        if size <= LARGEST and total <= MOST:
            taken[name] = files[name]
        else:
            left.append(name)
    kept = keep(project, KIND, lambda path: _write(path, taken), suffix=ENDING)
    more = (f"and {len(left) - NAMED:,} more",) if len(left) > NAMED else ()
    return kept, (*sorted(left)[:NAMED], *more)


def own_files(root: Path) -> Iterator[Path]:
    """The files that are the project's own, whether they are committed or not."""
    for name in sorted(_listed(root)):
        path = PurePosixPath(name)
        hidden = any(part.startswith(".") for part in path.parts) and not _like(name, DVC)
        if not hidden and not _like(name, SECRET) and (root / path).is_file():
            yield root / path


def bundle_file(project: Project, digest: str) -> Path | None:
    """Where the archive of that digest is on this machine; None where it is not, or is damaged."""
    file = place_of(project, KIND, digest, ENDING)
    return file if digest and file.is_file() and file_digest(file) == digest else None


def obtained(project: Project, digest: str, mlflow_run: str) -> Path | None:
    """The same; fetched from beside the model in MLflow where it is not here."""
    if (file := bundle_file(project, digest)) or not digest or not mlflow_run:
        return file
    with tempfile.TemporaryDirectory() as desk:
        arrived = artifact(project, mlflow_run, f"{ARTIFACTS}/{SOURCE}", Path(desk))
        if arrived is None or file_digest(arrived) != digest:
            return None
        content = arrived.read_bytes()
    keep(project, KIND, lambda path: _copy(content, path), suffix=ENDING)
    return bundle_file(project, digest)


def unpack(file: Path, folder: Path) -> None:
    """Writes the archive's files below a folder. Raises `IntegrityError` for one that lies beside.

    Of an archive that is not Penstock's, names could lead anywhere.
    """
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise IntegrityError(f"{file} holds {name!r}, which leads out of its folder")
        archive.extractall(folder)


def _listed(root: Path) -> list[str]:
    """What git tracks, or would; without git, all files but those that DVC tracks."""
    listed = git.said(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is not None:
        return [name for name in listed.split("\0") if name and not _like(name, MADE)]
    files = (path for path in root.rglob("*") if path.is_file())
    own = (path for path in files if not path.with_name(f"{path.name}.dvc").exists())
    names = [path.relative_to(root).as_posix() for path in own]
    return [name for name in names if not _like(name, MADE)]


def _like(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _copy(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _write(path: Path, files: dict[str, Path]) -> None:
    # Stored as they are: what a compressor gives depends on its version.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, file in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), file.read_bytes())
