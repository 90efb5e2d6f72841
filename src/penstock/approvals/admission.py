"""Whether a gateway may load a model: its endpoint's approvals, asked before a byte of it runs.

The routing table says what shall be served, and whoever can write to the database can write one.
So the gateway itself verifies the signatures of those who approved, by the policy and the pinned
keys that it was started with; in a process of its own, for its memory stays lean:

python -m penstock.approvals.admission < question.json
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock.approval_settings import ApprovalPolicy
from penstock.errors import AccessError
from penstock.processes.question import answer, ask


def require_approval(
    policy: ApprovalPolicy,
    *,
    endpoint: str,
    model: str,
    digest: str,
    state: str,
    folder: Path,
    approver_keys: Path | None,
) -> None:
    """Raises `AccessError` for a model without standing approvals, and `PenstockError` where that
    cannot be known.

    `state` and `folder`: as `penstock.state.database.open_state` takes them.
    """
    question = {
        "policy": policy.model_dump(mode="json"),
        "endpoint": endpoint,
        "model": model,
        "digest": digest,
        "state": state,
        "folder": str(folder),
        "approver_keys": str(approver_keys) if approver_keys else "",
    }
    fault = f"the approvals of {model} could not be checked"
    ask("penstock.approvals.admission", question, fault)


def check(question: dict[str, Any]) -> None:
    """The same, in this process."""
    from penstock.approvals.book import pinned_in, read_book
    from penstock.state.database import open_state

    engine = open_state(question["state"], Path(question["folder"]))
    keys, endpoint, model = question["approver_keys"], question["endpoint"], question["model"]
    pinned, digest = pinned_in(Path(keys)) if keys else None, question["digest"]
    decision = read_book(engine, pinned, digest).standing(
        ApprovalPolicy.model_validate(question["policy"]),
        digest,
        endpoint,
        datetime.now(UTC),
        model=model,
    )
    if not decision.met:
        raise AccessError(
            f"{model} ({digest[:12]}) is not approved for {endpoint}: "
            f"{'; '.join(decision.missing)}",
            hint=f"`penstock models approvals {model} --for {endpoint}` shows who said what",
        )


if __name__ == "__main__":
    answer(check)
