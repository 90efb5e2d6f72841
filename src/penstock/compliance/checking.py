"""How a reader checks what a document says, in the words that every form of it ends with."""

from __future__ import annotations

HOW = (
    "A statement cites evidence: E1, E2 and so on. A piece of evidence is an entry of the ledger, "
    "or a file that one entry names by its SHA-256.",
    "An entry is proven to be in the ledger by the hashes of its path: from the leaf, SHA-256 over "
    "a zero byte and the entry's bytes, they lead to the root (RFC 9162, section 2.1.3). The root "
    "is signed with the ledger's key (C2SP tlog-checkpoint, Ed25519).",
    "The evidence bundle has all of it, and a verifier in one file: python verify.py BUNDLE --key "
    "ledger.pub. It needs no network. Take the public key from somebody whom you trust.",
)
