"""How a reader checks what a document says, in the words that every form of it ends with."""

from __future__ import annotations

from penstock.compliance.evidence import Evidence, Proof

HOW = (
    "A statement cites evidence: E1, E2 and so on. A piece of evidence is an entry of the ledger, "
    "or a file that one entry names by its SHA-256.",
    "An entry is proven to be in the ledger by the hashes of its path: from the leaf, SHA-256 over "
    "a zero byte and the entry's bytes, they lead to the root (RFC 9162, section 2.1.3). The root "
    "is signed with the ledger's key (C2SP tlog-checkpoint, Ed25519).",
    "The evidence bundle has all of it, and a verifier in one file: python verify.py BUNDLE --key "
    "ledger.pub. It needs no network. Take the public key from somebody whom you trust.",
)


def lines_of(one: Evidence) -> list[str]:
    """What a piece of evidence is compared with: an entry's lead from its bytes to the root."""
    lines = [f"SHA-256 {one.digest}"]
    if one.proof and one.name == f"entry/{one.proof.sequence}":
        return [*lines, *_proof(one.proof)]
    return [*lines, f"named by entry {one.proof.sequence} of the ledger"] if one.proof else lines


def _proof(proof: Proof) -> list[str]:
    signed = "signed" if proof.signed else "not signed yet"
    return [
        f"id {proof.entry_id}",
        f"leaf {proof.leaf}",
        f"path {' '.join(proof.path) or '(none: it is the whole tree)'}",
        f"root {proof.root} of {proof.size} entries, {signed}",
    ]
