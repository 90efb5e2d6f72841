"""The evidence bundle of a version: one archive, verified anywhere with the public key alone.

```
README.txt            what this is, and how to verify it
technical-file.html   and .pdf: EU AI Act, Annex IV
model-card.html       and .md
records/, rollouts/   the evidence: reports of gates and tests, provenance, bill of materials, …
ledger/               the entries that it rests on, each with its proof, and the signed root
manifest.json         every file by its SHA-256
manifest.dsse.json    the manifest, signed with the ledger's key
verify.py             the verifier: one file; needs Python and `cryptography`
```

The same facts give the same bytes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from penstock.audit.bundle import export
from penstock.audit.dsse import sign, to_document
from penstock.audit.signing_keys import LedgerKeys
from penstock.compliance import verify_bundle
from penstock.compliance.annex_iv import technical_file
from penstock.compliance.evidence import sha256
from penstock.compliance.forms import as_html, as_markdown, as_pdf
from penstock.compliance.issuing import Issue
from penstock.compliance.model_card import model_card
from penstock.compliance.verify_bundle import KIND, MANIFEST, SIGNED, archived
from penstock.digests import written_whole
from penstock.errors import SettingsError
from penstock.project import Project

README = """\
Evidence about {label}, put on record in entry {entry} of the ledger {origin}.

Verify it with a public key that you have from somebody whom you trust, not from here:

    python verify.py BUNDLE.zip --key ledger.pub

verify.py is one file, to be read before it is run; it needs Python 3.10 and the package
`cryptography`. Take it from a source that you trust, too: its SHA-256 is in manifest.json.
Where Penstock is installed: penstock audit verify --bundle BUNDLE.zip --key ledger.pub
"""


@dataclass(frozen=True)
class Written:
    file: Path
    digest: str  # SHA-256 (hex) of the archive
    files: int
    entries: int
    missing: int


def write_bundle(project: Project, engine: Engine, issue: Issue, file: Path) -> Written:
    """Raises `SettingsError` where the ledger's private key is not here."""
    key = LedgerKeys.of(project).signing_key()
    contents = _contents(engine, issue)
    manifest = _manifest(issue, contents)
    envelope = to_document(sign(KIND, manifest, key.sign, str(key.verifying)))
    contents[MANIFEST] = manifest
    contents[SIGNED] = json.dumps(envelope, indent=1).encode()
    archive = archived(contents)
    with written_whole(file) as part:
        part.write_bytes(archive)
    entries = len(issue.facts.material.entries) + 1
    missing = len(technical_file(issue.facts).missing)
    return Written(file, sha256(archive), len(contents), entries, missing)


def _contents(engine: Engine, issue: Issue) -> dict[str, bytes]:
    facts = issue.facts
    if issue.signed is None or facts.issued is None:
        raise SettingsError(
            "the ledger is not signed up to what this version rests on",
            hint="penstock audit checkpoint, where the private key is",
        )
    document, card = technical_file(facts), model_card(facts)
    readme = README.format(
        label=facts.label,
        entry=facts.issued.sequence,
        origin=issue.signed.checkpoint.origin,
    )
    return {
        "README.txt": readme.encode(),
        "technical-file.html": as_html(document),
        "technical-file.pdf": as_pdf(document),
        "model-card.html": as_html(card),
        "model-card.md": as_markdown(card),
        "verify.py": Path(verify_bundle.__file__).read_bytes(),
        **facts.material.files,
        **_ledger(engine, issue),
    }


def _ledger(engine: Engine, issue: Issue) -> dict[str, bytes]:
    """The entries, their proofs and the note, as `penstock audit export` writes them."""
    assert issue.signed is not None
    assert issue.facts.issued is not None
    numbers = [entry.sequence for entry in issue.facts.material.entries.values()]
    with tempfile.TemporaryDirectory() as desk:
        folder = Path(desk) / "ledger"
        only = [*numbers, issue.facts.issued.sequence]
        export(engine, folder, issue.signed, issue.keys, only=only)
        return {f"ledger/{one.name}": one.read_bytes() for one in folder.iterdir()}


def _manifest(issue: Issue, contents: Mapping[str, bytes]) -> bytes:
    facts = issue.facts
    assert facts.issued is not None
    document = {
        "format": 1,
        "model": facts.label,
        "digest": facts.digest,
        "issued": facts.issued.sequence,
        "files": {name: sha256(content) for name, content in sorted(contents.items())},
    }
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"
