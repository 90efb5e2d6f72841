"""What a release must show before its model is loaded: checked by whoever starts it, each time.

The signature says which digest is trusted; the process that loads the model compares the digest of
the files themselves. So the check reads a few kilobytes, however large the model is. It is made in
a process of its own, for what it imports shall not stay in a gateway's memory:

python -m penstock.registry.trust < question.json
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from penstock.errors import IntegrityError, ModelError
from penstock.processes.question import answer, ask


def check_release(
    folder: Path, digest: str, label: str, keys: Path | None, admitted: Collection[str]
) -> None:
    """Raises `PenstockError` unless a trusted key signed the files that `digest` names.

    Without `keys`, a file of public ones, no signature is asked for. `admitted` are kinds of models
    that run code of their own: those are never loaded unsigned, whatever the settings say.
    """
    if keys is None:
        if admitted:
            raise ModelError(
                f"{label} would run code of its own ({', '.join(admitted)}), and signatures are "
                "switched off",
                hint="set [registry] require_signatures = true",
            )
        return
    question = {
        "signature": str(folder.with_name(f"{folder.name}.signed") / "model.sig"),
        "digest": digest,
        "label": label,
        "keys": str(keys),
    }
    ask("penstock.registry.trust", question, f"the signature of {label} could not be checked")


def check(signature: Path, digest: str, label: str, keys: Path) -> None:
    """The same, in this process. Raises `IntegrityError` and `SettingsError`."""
    from penstock.registry.model_keys import KeyFiles
    from penstock.registry.signing import signed_digest

    if not signature.is_file():
        raise unsigned(label)
    seen = signed_digest(signature.read_bytes(), KeyFiles(Path(), keys).trusted())
    if seen != digest:
        raise IntegrityError(
            f"the signature of {label} is over other files: it signs {seen[:12]}, the version is "
            f"{digest[:12]}",
            hint="the signature or the version was exchanged: do not use it",
        )


def unsigned(label: str) -> IntegrityError:
    return IntegrityError(
        f"{label} is not signed, so it is not loaded; to sign what was registered before: "
        f"penstock models sign {label} --reason '…'",
        hint="do so only if you know where it came from; `penstock models verify` looks at it",
    )


def _answered(question: dict[str, Any]) -> None:
    check(
        Path(question["signature"]), question["digest"], question["label"], Path(question["keys"])
    )


if __name__ == "__main__":
    answer(_answered)
