"""The profile that a version carries, from this machine or from where MLflow keeps its run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from penstock.errors import DataError, ResourceError
from penstock.profiles.keeping import (
    FILE,
    FOLDER,
    file_of,
    keep_profile,
    kept_profile,
    read_profile,
)
from penstock.profiles.profile import Profile
from penstock.project import Project
from penstock.registry.attestations import artifact
from penstock.registry.versions import Found


def reference_of(project: Project, found: Found) -> Profile:
    """Checked against the digest that the version was registered with.

    Raises `DataError` for a version that has none, `IntegrityError` where it was changed.
    """
    digest = found.digests.get("profile", "")
    if here := kept_profile(project, digest):
        return here
    with tempfile.TemporaryDirectory() as desk:
        file = artifact(project, found.run_id, f"{FOLDER}/{FILE}", Path(desk)) if digest else None
        if file is None:
            raise DataError(
                f"{found.label} carries no profile of what it was trained on",
                hint="`penstock run --rerun evaluate_model` makes a version that has one",
            )
        profile = read_profile(file, digest)
    keep_profile(project, profile)
    return profile


def profile_file(project: Project, found: Found) -> tuple[str, str]:
    """Where it lies on this machine, absolute, and its digest; two empty texts where there is none.

    Raises `IntegrityError` where it was changed.
    """
    try:
        profile = reference_of(project, found)
    except (DataError, ResourceError):  # monitoring can do without; a release need not wait
        return "", ""
    return str(file_of(project, profile.digest).absolute()), profile.digest
