"""Roots and proofs of RFC 6962 trees, against published vectors and by their definition."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.audit import merkle
from penstock.audit.merkle import Frontier, ProofError, leaf_hash, node_hash, root_of

VECTORS = Path(__file__).parent.parent / "vectors" / "merkle"
INCLUSION: dict[str, Any] = json.loads((VECTORS / "inclusion.json").read_text())
CONSISTENCY: dict[str, Any] = json.loads((VECTORS / "consistency.json").read_text())
# The inputs that RFC 6962's reference code tests with.
LEAVES = [
    bytes.fromhex(data)
    for data in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
HASHES = [leaf_hash(bytes([number])) for number in range(140)]
sizes = st.integers(1, len(HASHES))


def decoded(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def hash_of(begin: int, end: int) -> bytes:
    """A root by its definition: RFC 6962, section 2.1."""
    return _defined(tuple(HASHES[begin:end]))


@cache
def _defined(leaves: tuple[bytes, ...]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(_defined(leaves[:split]), _defined(leaves[split:]))


@pytest.mark.parametrize(
    ("size", "root"), [(0, "e3b0c442"), (1, "6e340b9c"), (3, "aeb6bcfe"), (8, "5dc9da79")]
)
def test_the_published_roots(size: int, root: str) -> None:
    assert root_of(leaf_hash(leaf) for leaf in LEAVES[:size]).hex()[:8] == root


def test_there_are_98_vectors_of_each_kind() -> None:
    assert (len(INCLUSION), len(CONSISTENCY)) == (98, 98)


@pytest.mark.parametrize("name", INCLUSION)
def test_published_inclusion_proofs(name: str) -> None:
    case = INCLUSION[name]
    proof = [decoded(one) for one in case["proof"] or ()]
    leaf, root = decoded(case["leafHash"]), decoded(case["root"])
    if case["wantErr"]:
        with pytest.raises(ProofError):
            merkle.verify_inclusion(leaf, case["leafIdx"], case["treeSize"], proof, root)
    else:
        merkle.verify_inclusion(leaf, case["leafIdx"], case["treeSize"], proof, root)


@pytest.mark.parametrize("name", CONSISTENCY)
def test_published_consistency_proofs(name: str) -> None:
    case = CONSISTENCY[name]
    proof = [decoded(one) for one in case["proof"] or ()]
    root1, root2 = decoded(case["root1"]), decoded(case["root2"])
    if case["wantErr"]:
        with pytest.raises(ProofError):
            merkle.verify_consistency(case["size1"], case["size2"], proof, root1, root2)
    else:
        merkle.verify_consistency(case["size1"], case["size2"], proof, root1, root2)


def test_an_empty_first_tree_is_refused_whatever_follows() -> None:
    for size in range(4):
        with pytest.raises(ProofError, match="goes on with none of 0"):
            merkle.verify_consistency(0, size, [], merkle.EMPTY_ROOT, root_of(HASHES[:size]))
        with pytest.raises(ProofError):
            merkle.consistency_ranges(0, size)


@given(sizes)
def test_a_frontier_has_the_root_by_definition_at_every_size(size: int) -> None:
    frontier = Frontier().with_all(HASHES[:size])
    assert frontier.root() == hash_of(0, size)
    assert frontier.hashes == tuple(
        hash_of(place << level, place + 1 << level)
        for level, place in merkle.complete_subtrees(0, size)
    )


def test_each_complete_subtree_is_told_once() -> None:
    frontier, told = Frontier(), list[merkle.Node]()
    for leaf in HASHES[:64]:
        frontier, completed = frontier.add(leaf)
        told += completed
    assert {(one.level, one.place) for one in told} == {
        (level, place) for level in range(1, 7) for place in range(64 >> level)
    }
    assert len(told) == 63
    for one in told:
        assert one.hash == hash_of(one.place << one.level, one.place + 1 << one.level)


@given(st.data(), sizes)
def test_an_inclusion_proof_holds_and_no_other_does(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, root = merkle.inclusion_proof(index, size, hash_of), hash_of(0, size)
    assert len(proof) <= (size - 1).bit_length()
    merkle.verify_inclusion(HASHES[index], index, size, proof, root)

    other = data.draw(st.integers(0, size - 1).filter(lambda one: one != index) | st.just(-1))
    wrong = [(HASHES[other], index, size, proof, root), (HASHES[index], other, size, proof, root)]
    wrong += [(HASHES[index], index, size, one, root) for one in damaged(data, proof)]
    for arguments in wrong:
        with pytest.raises(ProofError):
            merkle.verify_inclusion(*arguments)


@given(st.data(), sizes)
def test_a_consistency_proof_holds_and_no_other_does(data: st.DataObject, size2: int) -> None:
    size1 = data.draw(st.integers(1, size2))
    proof = merkle.consistency_proof(size1, size2, hash_of)
    root1, root2 = hash_of(0, size1), hash_of(0, size2)
    merkle.verify_consistency(size1, size2, proof, root1, root2)

    rewritten = flipped(data, root1), flipped(data, root2)
    wrong = [(proof, rewritten[0], root2), (proof, root1, rewritten[1])]
    wrong += [(one, root1, root2) for one in damaged(data, proof)]
    for arguments in wrong:
        with pytest.raises(ProofError):
            merkle.verify_consistency(size1, size2, *arguments)


def damaged(data: st.DataObject, proof: list[bytes]) -> list[list[bytes]]:
    """The proof with a hash too many, and where there are any with one less and one changed."""
    if not proof:
        return [[HASHES[0]]]
    at = data.draw(st.integers(0, len(proof) - 1))
    changed = [*proof[:at], flipped(data, proof[at]), *proof[at + 1 :]]
    return [[*proof, HASHES[0]], proof[:-1], proof[1:], changed]


def flipped(data: st.DataObject, value: bytes) -> bytes:
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    return (int.from_bytes(value) ^ 1 << bit).to_bytes(len(value))
