"""The frozen facts that one step hands to the next, each named by the digests of its content.

DatasetVersion → DataReport → FeatureSet → TrainedModel → ModelReport → ModelVersion → Release
→ IntegrationReport → Notice. All times are UTC; all paths are relative to the project's folder.
"""

from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of a JSON-like value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class Record(BaseModel):
    """A fact. It never changes; a new fact is a new record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The fields that name files this fact rests on, each with the field that holds its digest.
    artifacts: ClassVar[dict[str, str]] = {}

    def fingerprint(self) -> dict[str, str]:
        """The named parts that later steps depend on; `penstock why` compares them one by one."""
        return {"content": digest_of(self.model_dump(mode="json"))}


class Column(Record):
    name: str
    type: str  # as Arrow prints it: int64, string, timestamp[us, tz=UTC]


class DatasetVersion(Record):
    """Raw events as extracted: one Parquet file under version control."""

    artifacts: ClassVar[dict[str, str]] = {"path": "digest"}

    name: str
    path: str
    digest: str  # SHA-256 of the file
    dvc_md5: str  # the name DVC knows the same bytes by
    remote: str  # where DVC pushed them
    rows: int
    columns: tuple[Column, ...]
    first_event: datetime | None  # None: the data has no event time
    last_event: datetime | None

    def fingerprint(self) -> dict[str, str]:
        columns = "; ".join(f"{column.name}: {column.type}" for column in self.columns)
        return {"data": self.digest, "columns": columns, "path": self.path}


class Check(Record):
    """One question a gate asked, and the answer."""

    name: str  # a metric, or expectation(column)
    passed: bool
    observed: str
    expected: str
    reason: str = ""
    failed_rows: int | None = None
    sample: tuple[str, ...] = ()  # some of the offending values or rows
    interval: tuple[float, float] | None = None  # of the observed value, 95 %


class GateReport(Record):
    """All checks of one gate over one subject. It passes when every check does."""

    subject: str  # the digest of what was judged
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)


class DataReport(GateReport):
    """Great Expectations on a dataset."""

    suites: tuple[str, ...]


class FeatureSet(Record):
    """A training set: one row per label row, with the features known at its label time."""

    artifacts: ClassVar[dict[str, str]] = {"path": "digest"}

    path: str
    digest: str
    rows: int
    features: tuple[Column, ...]
    entity_keys: tuple[str, ...]
    request_columns: tuple[str, ...] = ()  # what else a request must bring
    timestamp: str  # the column that holds the label time
    label: str
    service: str  # the Feast feature service; empty: the dataset's own columns
    definitions: str  # digest of the feature definitions
    dataset: str  # digest of the dataset version
    online_until: datetime | None  # the online store holds what was known then
    profile: str = ""  # digest of what the features look like

    def fingerprint(self) -> dict[str, str]:
        features = "; ".join(f"{column.name}: {column.type}" for column in self.features)
        return {
            "training set": self.digest,
            "features": features,
            "definitions": self.definitions,
            "online until": str(self.online_until),
        }


class TrainedModel(Record):
    """A fitted model in a safe format, tracked in MLflow."""

    artifacts: ClassVar[dict[str, str]] = {"path": "digest"}

    path: str  # a folder in MLflow's model layout
    digest: str
    flavor: Literal["lightgbm", "sklearn", "pytorch", "onnx", "xgboost"]
    features: tuple[Column, ...]
    params: dict[str, Any]
    metrics: dict[str, float]  # on the validation period
    seed: int
    holdout: str  # the training set's rows from this label time on were never trained on
    mlflow_run_id: str
    training_set: str  # digest
    code: str  # digest of the code behind train()

    def fingerprint(self) -> dict[str, str]:
        return {"model": self.digest, "holdout": self.holdout, "mlflow run": self.mlflow_run_id}


class ModelReport(GateReport):
    """The held-out evaluation of a model, against thresholds and against the champion."""

    metrics: dict[str, float]
    rows: int
    champion: str = ""  # name@version it was compared with
    profile: str = ""  # digest of what the model learned from and answered


class ModelVersion(Record):
    """A version in the MLflow registry, bound to the digests of everything it came from."""

    name: str
    version: int
    digest: str  # of the model's files
    source: str  # where MLflow keeps them
    mlflow_run_id: str
    digests: dict[str, str]

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"


class Release(Record):
    """A model version behind an endpoint."""

    endpoint: str
    id: str
    url: str
    model: str  # name@version
    digest: str
    replicas: int


class IntegrationReport(GateReport):
    """The load test of an endpoint and the comparison with the offline model."""

    metrics: dict[str, float]
    requests: int


class Notice(Record):
    """What the team was told."""

    title: str
    body: str
    next_command: str
    channels: tuple[str, ...] = Field(description="where it was delivered")


class StepDone(Record):
    """A custom step ended and had nothing to hand on."""

    step: str


def to_json(record: Record) -> dict[str, Any]:
    """A record as plain JSON values that carry the record's kind."""
    return {"kind": type(record).__name__, **plain(record.model_dump(mode="json"))}


def plain(value: Any) -> Any:
    """NaN and infinities as words: PostgreSQL refuses them as JSON numbers, records read them."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def from_json(stored: dict[str, Any]) -> Record:
    """The inverse of `to_json`. Raises `KeyError` or pydantic's `ValidationError`."""
    fields = dict(stored)
    return kind_named(fields.pop("kind")).model_validate(fields)


def kind_named(name: str) -> type[Record]:
    """The record class of that name. Raises `KeyError`."""
    pending: list[type[Record]] = [Record]
    while pending:
        kind = pending.pop()
        if kind.__name__ == name:
            return kind
        pending.extend(kind.__subclasses__())
    raise KeyError(name)
