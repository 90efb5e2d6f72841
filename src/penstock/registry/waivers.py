"""Who allowed a version to be loaded though it brings code of its own: a fold of the ledger.

A waiver is for exact bytes and one kind of model, and only where `[registry] admit` names the kind.
"""

from __future__ import annotations

from sqlalchemy import Engine

from penstock.audit.ledger import Ledger
from penstock.errors import ModelError
from penstock.project import Project
from penstock.registry.versions import Found, fetch

WAIVED, WITHDRAWN = "model.waived", "model.waiver_withdrawn"


def waive(
    project: Project, engine: Engine, found: Found, flavour: str, *, reason: str, allow: bool = True
) -> int:
    """Records that a signed version may be loaded as `flavour`, or not any more.

    Returns the entry's number. Raises `IntegrityError` for a version that is not signed,
    `ModelError` for a kind that the settings do not admit.
    """
    if allow:
        if flavour not in project.settings.registry.admit:
            raise ModelError(
                f"the settings of {project.environment} do not admit {flavour} models",
                hint=f'write admit = ["{flavour}"] below [registry] in penstock.toml; such a model '
                "runs its own code in the endpoint's processes",
            )
        fetch(project, found.version, found.digest)
    action = WAIVED if allow else WITHDRAWN
    return Ledger(engine).append(
        action, found.label, digest=found.digest, reason=reason, details={"flavour": flavour}
    )


def waived(engine: Engine, digest: str) -> frozenset[str]:
    """The kinds that these bytes may be loaded as, by the ledger."""
    ledger = Ledger(engine)
    entries = [*ledger.entries(WAIVED), *ledger.entries(WITHDRAWN)]
    found: set[str] = set()
    for entry in sorted(entries, key=lambda entry: entry.sequence):
        if entry.digest == digest:
            flavour = str(entry.details.get("flavour", ""))
            (found.add if entry.action == WAIVED else found.discard)(flavour)
    return frozenset(found)


def admitted(project: Project, engine: Engine, digest: str) -> tuple[str, ...]:
    """What a release of these bytes may be loaded as, beyond the safe formats."""
    admit = project.settings.registry.admit
    return tuple(sorted(waived(engine, digest) & set(admit))) if admit else ()
