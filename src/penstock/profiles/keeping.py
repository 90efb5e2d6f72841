"""A profile as an artefact, named by its digest."""

from __future__ import annotations

from pathlib import Path

from penstock.errors import DataError, IntegrityError
from penstock.profiles.profile import Profile, profile_from
from penstock.project import Project
from penstock.state.artifacts import Artifact, keep, place_of

KIND, SUFFIX = "profile", ".json"
FOLDER, FILE = "profile", "profile.json"  # where it lies among the artefacts of a model's run


def keep_profile(project: Project, profile: Profile) -> Artifact:
    """Files it here. Its digest is that of the file."""

    def write(path: Path) -> None:
        path.write_text(profile.text, encoding="utf-8")

    return keep(project, KIND, write, suffix=SUFFIX)


def file_of(project: Project, digest: str) -> Path:
    """Where a profile is filed here, if it is."""
    return place_of(project, KIND, digest, SUFFIX)


def kept_profile(project: Project, digest: str) -> Profile | None:
    """The profile of a digest, if it is on this machine. Raises `IntegrityError`."""
    file = file_of(project, digest)
    return read_profile(file, digest) if digest and file.is_file() else None


def read_profile(file: Path, digest: str) -> Profile:
    """Raises `DataError` where it is gone, `IntegrityError` where it is not what was kept."""
    try:
        profile = profile_from(file.read_bytes(), str(file))
    except OSError as error:
        raise DataError(
            f"the profile {file} cannot be read: {error}", hint="run the step that made it again"
        ) from error
    if profile.digest != digest:
        raise IntegrityError(
            f"{file} has the digest {profile.digest[:12]}; it was kept under {digest[:12]}",
            hint="it was changed since: delete it, and run the step that made it again",
        )
    return profile
