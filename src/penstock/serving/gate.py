"""What a model must show before a gateway loads it: its signature, and that people approved it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from penstock.approvals.admission import require_approval
from penstock.errors import ModelError
from penstock.registry.trust import check_release
from penstock.serving.config import GatewayConfig, Trust
from penstock.serving.release import ReleaseSpec


class Gate:
    """Of one gateway. `served` gives the digests of what was served last."""

    def __init__(self, config: GatewayConfig, served: Callable[[], Collection[str]]) -> None:
        self._config = config
        self._served = served

    def admit(self, spec: ReleaseSpec) -> None:
        """Raises `PenstockError` for a model that must not be loaded here."""
        admit(spec, self._config.trust)
        self._require_approval(spec)

    def _require_approval(self, spec: ReleaseSpec) -> None:
        """What serves already is started again whatever became of its approvals: one that ends
        lets nothing more in, but takes nothing down.
        """
        config = self._config
        if config.trust.approval is None or spec.digest in self._served():
            return
        require_approval(
            config.trust.approval,
            endpoint=config.endpoint,
            model=spec.model,
            digest=spec.digest,
            state=config.state,
            folder=config.folder,
            approver_keys=config.trust.approver_keys,
        )


def admit(spec: ReleaseSpec, trust: Trust) -> None:
    """Raises `PenstockError` for a model that nobody signed, or that brings code of its own.

    Its signature is over the digest with which each replica compares the files that it reads.
    """
    refused = [kind for kind in spec.admitted if kind not in trust.admit]
    if refused:
        raise ModelError(
            f"{spec.model} is released as {', '.join(refused)}, which this gateway does not admit",
            hint="see [registry] admit",
        )
    check_release(Path(spec.path), spec.digest, spec.model, trust.keys, spec.admitted)
