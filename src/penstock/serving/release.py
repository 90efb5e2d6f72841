"""A release: a model version as an endpoint serves it; and the folder of an endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from penstock.digests import written_whole
from penstock.records import Record


class FeatureSource(Record):
    """The class that reads features by entity key, and what it is constructed with."""

    module: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")  # package.module:Class
    arguments: dict[str, Any] = Field(default_factory=dict)
    entities: tuple[str, ...] = ()  # keys and request columns that a request must bring
    requested: dict[str, str] = Field(default_factory=dict)  # types of the request columns
    warm: tuple[str, ...] = ()  # heavy modules it will import


class ReleaseSpec(Record):
    """A model version, verified by its digest, behind an endpoint."""

    id: str
    endpoint: str
    model: str  # name@version
    digest: str  # of the model's folder
    path: str  # the model's folder, absolute
    replicas: int = Field(ge=1)
    threads: int = Field(default=1, ge=1)  # of each replica
    memory: int = Field(default=0, ge=0)  # bytes a replica may take; 0: no limit
    unknown_entity: Literal["refuse", "null"] = "refuse"  # null: all its features are missing
    trusted_types: tuple[str, ...] = ()
    admitted: tuple[str, ...] = ()  # kinds with code of their own that it was waived as
    features: FeatureSource | None = None  # None: clients send the features themselves
    profile: str = ""  # file of its reference profile, absolute; "": it has none
    profile_digest: str = ""
    manifest: str = ""  # digest of all that the model rests on, see `penstock release show`


class EndpointStatus(Record):
    """What the gateway last said."""

    state: Literal["starting", "live", "failed", "stopped"]
    pid: int = 0
    url: str = ""
    grpc: str = ""  # host:port, where gRPC is spoken
    release: str = ""  # its champion
    revision: int = 0  # of the routing table that this is about
    live: str = ""  # the champion that answers; after a failed replacement, the one before
    error: str = ""
    hint: str = ""
    settings: str = ""  # digest of the settings that the gateway runs with


@dataclass(frozen=True)
class EndpointFolder:
    """Where an endpoint keeps its files."""

    path: Path
    worker: int = 0  # whose status is meant

    def of_worker(self, number: int) -> EndpointFolder:
        return EndpointFolder(self.path, number)

    @property
    def table_file(self) -> Path:
        """The routing table that was served last, for when the state database is away."""
        return self.path / "routes.json"

    @property
    def predictions(self) -> Path:
        """The prediction log."""
        return self.path / "predictions"

    @property
    def feedback(self) -> Path:
        return self.path / "feedback"

    @property
    def status_file(self) -> Path:
        return self.workers / f"{self.worker}.json" if self.worker else self.path / "status.json"

    @property
    def workers(self) -> Path:
        """What further gateway processes say, each in a file of its own."""
        return self.path / "workers"

    @property
    def lock_file(self) -> Path:
        return self.path / "gateway.lock"

    @property
    def gateway_log(self) -> Path:
        return self.path / "gateway.log"

    @property
    def replica_log(self) -> Path:
        return self.path / "replicas.log"

    def read_status(self) -> EndpointStatus:
        """What was said last, be the gateway alive or not."""
        try:
            return EndpointStatus.model_validate_json(self.status_file.read_bytes())
        except (FileNotFoundError, ValidationError):
            return EndpointStatus(state="stopped")

    def write_status(self, status: EndpointStatus) -> None:
        with written_whole(self.status_file) as part:
            part.write_text(status.model_dump_json(indent=2))
