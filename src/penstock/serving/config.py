"""What a gateway's process is started with. It comes through standard input: it holds secrets."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from penstock.approval_settings import ApprovalPolicy
from penstock.records import Record, digest_of
from penstock.settings import ServingSettings

# What is a matter of each release, and can change without another gateway.
OF_RELEASES = frozenset({"replicas", "threads", "memory"})


class Ahead(Record):
    """Why a gateway runs before there is a release for it."""

    revision: int  # of the routing table when it was started: only a newer one is served
    modules: tuple[str, ...]  # that the release will need
    owner: int  # the process that will deploy it; without it the gateway ends


class Trust(Record):
    """What a model must show to a gateway before it is loaded."""

    keys: Path | None = None  # public keys of those who sign; None: no signature is asked for
    admit: tuple[str, ...] = ()  # kinds of models that run code of their own, where waived
    approval: ApprovalPolicy | None = None  # None: nobody must agree to what is loaded
    approver_keys: Path | None = None  # a file; where it is there, only its keys count


class GatewayConfig(Record):
    """One endpoint, as a gateway serves it."""

    endpoint: str
    folder: Path
    settings: ServingSettings
    state: str = ""  # URL of the state database; empty: SQLite in the folder
    trust: Trust = Trust()
    ahead: Ahead | None = None
    worker: int = 0  # 0: the lead, or the only process
    lead: int = 0  # of a worker: the process without which it ends

    def plain(self) -> dict[str, Any]:
        """Values of JSON, secrets included."""
        return dict(revealed(self.model_dump()))


def settings_digest(settings: ServingSettings, trust: Trust | None = None) -> str:
    """Names the settings that a gateway keeps for life."""
    kept = settings.model_dump(exclude=set(OF_RELEASES))
    if trust is not None and trust != Trust():
        kept["trust"] = trust.model_dump()
    return digest_of(revealed(kept))


def revealed(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {name: revealed(inner) for name, inner in value.items()}
    return [revealed(inner) for inner in value] if isinstance(value, list | tuple) else value
