"""What an endpoint shall serve, and what it says of itself: two small files in its folder.

`release.json` is written by whoever deploys and read by the gateway; `status.json` the other way
round. Both appear whole or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from penstock.digests import written_whole
from penstock.errors import ServingError
from penstock.records import Record


class FeatureSource(Record):
    """The class that reads features by entity key, and what it is constructed with."""

    module: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")  # package.module:Class
    arguments: dict[str, Any] = Field(default_factory=dict)
    warm: tuple[str, ...] = ()  # heavy modules it will import


class ReleaseSpec(Record):
    """A model version, verified by its digest, behind an endpoint."""

    id: str
    endpoint: str
    model: str  # name@version
    digest: str  # of the model's folder
    path: str  # the model's folder, absolute
    replicas: int = Field(ge=1)
    trusted_types: tuple[str, ...] = ()
    features: FeatureSource | None = None  # None: clients send the features themselves


class EndpointStatus(Record):
    """What the gateway last said."""

    state: Literal["starting", "live", "failed", "stopped"]
    pid: int = 0
    url: str = ""
    release: str = ""  # the release this is about
    revision: int = 0  # of release.json
    live: str = ""  # the release that answers; after a failed replacement, the one before
    error: str = ""
    hint: str = ""
    settings: str = ""  # digest of the settings that the gateway runs with


@dataclass(frozen=True)
class EndpointFolder:
    """Where an endpoint keeps its files."""

    path: Path

    @property
    def release_file(self) -> Path:
        return self.path / "release.json"

    @property
    def status_file(self) -> Path:
        return self.path / "status.json"

    @property
    def lock_file(self) -> Path:
        return self.path / "gateway.lock"

    @property
    def gateway_log(self) -> Path:
        return self.path / "gateway.log"

    @property
    def replica_log(self) -> Path:
        return self.path / "replicas.log"

    def revision(self) -> int:
        """Changes with every deployment; 0 when there was none."""
        try:
            return self.release_file.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def read_release(self) -> ReleaseSpec:
        """Raises `ServingError` when the file is damaged."""
        try:
            return ReleaseSpec.model_validate_json(self.release_file.read_bytes())
        except (OSError, ValidationError) as error:
            raise ServingError(
                f"{self.release_file} cannot be read: {error}", hint="deploy the release again"
            ) from error

    def write_release(self, spec: ReleaseSpec) -> int:
        """Returns the revision that the file has now."""
        with written_whole(self.release_file) as part:
            part.write_text(spec.model_dump_json(indent=2))
        return self.revision()

    def read_status(self) -> EndpointStatus:
        """What was said last, be the gateway alive or not."""
        try:
            return EndpointStatus.model_validate_json(self.status_file.read_bytes())
        except (FileNotFoundError, ValidationError):
            return EndpointStatus(state="stopped")

    def write_status(self, status: EndpointStatus) -> None:
        with written_whole(self.status_file) as part:
            part.write_text(status.model_dump_json(indent=2))
