"""The manifest of a release: everything that a model rests on, by digest. Pure.

Its own digest, SHA-256 over the canonical JSON (RFC 8785), is the name of the release.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from pydantic import Field

from penstock.audit.canonical import SAFE_INTEGER, canonical
from penstock.records import Record, plain
from penstock.settings import Settings

# Sections of the settings that decide what is trained, let through and served.
SECTIONS = (
    *("data", "features", "training", "gates", "registry", "serving", "load_test", "rollout"),
)
UNKNOWN = ""  # what another tool's registry does not tell


class Code(Record):
    """The project's code as it was when the model was made."""

    commit: str = UNKNOWN  # of git
    dirty: bool = False  # the checkout had changes that were not committed
    train: str = UNKNOWN  # digest of the code behind train()
    bundle: str = UNKNOWN  # SHA-256 of the archive of the project's own small files
    left_out: tuple[str, ...] = ()  # files that were too large for it


class Data(Record):
    """What was learnt from."""

    name: str = UNKNOWN
    path: str = UNKNOWN
    digest: str = UNKNOWN  # SHA-256 of the dataset
    dvc: str = UNKNOWN  # its revision: the MD5 that DVC knows it by
    remote: str = UNKNOWN
    rows: int = 0
    training_set: str = UNKNOWN  # digest
    training_rows: int = 0


class Features(Record):
    """What the model is asked with."""

    service: str = UNKNOWN  # of Feast; empty: clients send the features
    definitions: str = UNKNOWN  # digest of the code that declares them
    entity_keys: tuple[str, ...] = ()
    requested: dict[str, str] = Field(default_factory=dict)  # what a request must bring, and types
    columns: tuple[str, ...] = ()


class Expectations(Record):
    """The suites that the data passed."""

    suites: tuple[str, ...] = ()
    digest: str = UNKNOWN  # over their files


class Training(Record):
    """How the model was fitted, and how it fared."""

    run: str = UNKNOWN  # Penstock's
    mlflow_run: str = UNKNOWN
    as_of: str = UNKNOWN  # RFC 3339, UTC
    seed: int | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict)  # on the held-out period
    environment: str = UNKNOWN  # SHA-256 of the list of what was installed


class Manifest(Record):
    """A release."""

    format: Literal[1] = 1
    model: str  # name@version in MLflow
    digest_of_model: str  # of the model's files
    flavor: str = UNKNOWN
    code: Code = Code()
    data: Data = Data()
    features: Features = Features()
    expectations: Expectations = Expectations()
    training: Training = Training()
    settings: dict[str, Any] = Field(default_factory=dict)  # by section, without secrets
    adopted: bool = False  # another tool made the model; what is empty is not known

    @property
    def document(self) -> dict[str, Any]:
        """All of it as JSON. Numbers that canonical JSON cannot hold are words."""
        return dict(_in_words(plain(self.model_dump(mode="json"))))

    @property
    def content(self) -> bytes:
        """The bytes that the digest is of."""
        return canonical(self.document)

    @property
    def digest(self) -> str:
        """The name of the release (hex)."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def digests(self) -> dict[str, str]:
        """Every digest that it names, by what it is of."""
        named = {
            "model": self.digest_of_model,
            "dataset": self.data.digest,
            "dataset_dvc_md5": self.data.dvc,
            "training_set": self.data.training_set,
            "definitions": self.features.definitions,
            "expectations": self.expectations.digest,
            "code": self.code.train,
            "source": self.code.bundle,
            "git_commit": self.code.commit,
            "environment": self.training.environment,
            "settings": settings_digest(self.settings),
        }
        return {what: digest for what, digest in named.items() if digest}


def _in_words(value: Any) -> Any:
    if isinstance(value, int | float) and abs(value) > SAFE_INTEGER:
        return repr(value)
    if isinstance(value, dict):
        return {key: _in_words(inner) for key, inner in value.items()}
    return [_in_words(inner) for inner in value] if isinstance(value, list) else value


def settings_of(settings: Settings) -> dict[str, Any]:
    """The sections that matter, as JSON; secrets are asterisks."""
    document: dict[str, Any] = settings.model_dump(mode="json", include=set(SECTIONS))
    return dict(_in_words(plain(document)))


def settings_digest(document: dict[str, Any]) -> str:
    """Names the settings of a release; "" where they are not known."""
    return hashlib.sha256(canonical(document)).hexdigest() if document else ""
