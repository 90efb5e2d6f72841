"""Merkle trees over a list of leaves: roots, and proofs that need only a few hashes.

Hashes are SHA-256, leaves and nodes are told apart by their first byte, and a tree of n leaves is
parted at the largest power of two below n: RFC 6962, section 2.1, and RFC 9162, section 2.1. All of
it is pure; where the hashes of a stored tree come from is the caller's `HashOf`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

from penstock.errors import IntegrityError

Range = tuple[int, int]  # leaves [begin, end), from 0
HashOf = Callable[[int, int], bytes]  # the root over leaves [begin, end)

_sha256 = hashlib.sha256
HASH_BYTES = 32
EMPTY_ROOT = _sha256(b"").digest()


class ProofError(IntegrityError):
    """A proof does not lead to the root that it is held against."""


def leaf_hash(data: bytes) -> bytes:
    return _sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return _sha256(b"\x01" + left + right).digest()


def joined(hashes: Sequence[bytes]) -> list[bytes]:
    """The level above an even number of hashes of one level."""
    pairs = zip(hashes[::2], hashes[1::2], strict=True)
    return [_sha256(b"\x01" + left + right).digest() for left, right in pairs]


@dataclass(frozen=True)
class Node:
    """The root of a complete subtree."""

    level: int  # it stands over 2**level leaves
    place: int  # which of its level, from 0
    hash: bytes


@dataclass(frozen=True)
class Frontier:
    """All that is needed of a tree to add leaves: the roots of its largest complete subtrees.

    There is one for each bit that is set in the size, the largest first.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def add(self, leaf: bytes) -> tuple[Frontier, list[Node]]:
        """The tree with one more leaf hash, and the subtrees above it that are complete now."""
        hashes, completed, level = [*self.hashes, leaf], list[Node](), 0
        while self.size >> level & 1:
            right = hashes.pop()
            hashes[-1] = node_hash(hashes[-1], right)
            level += 1
            completed.append(Node(level, self.size >> level, hashes[-1]))
        return Frontier(self.size + 1, tuple(hashes)), completed

    def with_all(self, leaves: Iterable[bytes]) -> Frontier:
        frontier = self
        for leaf in leaves:
            frontier, _ = frontier.add(leaf)
        return frontier

    def root(self) -> bytes:
        """The root hash; of an empty tree the hash of nothing."""
        if not self.hashes:
            return EMPTY_ROOT
        return reduce(lambda right, left: node_hash(left, right), reversed(self.hashes))


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over leaf hashes."""
    return Frontier().with_all(leaves).root()


def complete_subtrees(begin: int, end: int) -> list[tuple[int, int]]:
    """(level, place) of the largest complete subtrees that make up a range, from the left.

    `begin` is a multiple of the largest power of two that is not above `end - begin`.
    """
    found = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        found.append((level, begin >> level))
        begin += 1 << level
    return found


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Whose roots prove that leaf `index` is in a tree: RFC 9162, section 2.1.3.1.

    Raises `ProofError` where the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ProofError(f"a tree of {size} entries has no entry at {index}, counted from 0")
    ranges: list[Range] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin = middle
    return ranges[::-1]


def consistency_ranges(size1: int, size2: int) -> list[Range]:
    """Whose roots prove that a tree goes on with a smaller one: RFC 9162, section 2.1.4.1.

    Raises `ProofError` for a first tree that is empty, or larger than the second.
    """
    if not 0 < size1 <= size2:
        raise ProofError(f"a tree of {size2} entries goes on with none of {size1}")
    ranges: list[Range] = []
    begin, end, whole = 0, size2, True  # whole: the first tree begins where the range does
    while size1 != end:
        middle = begin + _split(end - begin)
        if size1 <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin, whole = middle, False
    if not whole:
        ranges.append((begin, end))
    return ranges[::-1]


def inclusion_proof(index: int, size: int, hash_of: HashOf) -> list[bytes]:
    return [hash_of(*part) for part in inclusion_ranges(index, size)]


def consistency_proof(size1: int, size2: int, hash_of: HashOf) -> list[bytes]:
    return [hash_of(*part) for part in consistency_ranges(size1, size2)]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """RFC 9162, section 2.1.3.2. Raises `ProofError` unless the proof leads to the root."""
    _require_hashes(leaf, root, *proof)
    if not 0 <= index < size:
        raise ProofError(f"a tree of {size} entries has no entry at {index}, counted from 0")
    inner = (index ^ (size - 1)).bit_length()  # levels on which the path leaves the right edge
    if len(proof) != inner + (index >> inner).bit_count():
        raise ProofError(f"{len(proof)} hashes cannot prove entry {index} of {size}")
    found = _climbed(leaf, proof[:inner], index)
    for left in proof[inner:]:
        found = node_hash(left, found)
    _require_same(found, root, size)


def verify_consistency(
    size1: int, size2: int, proof: Sequence[bytes], root1: bytes, root2: bytes
) -> None:
    """RFC 9162, section 2.1.4.2. Raises `ProofError` unless the second tree goes on with the first.

    A first tree of size 0 says nothing of the second, and is refused.
    """
    if not 0 < size1 <= size2:
        raise ProofError(f"a tree of {size2} entries goes on with none of {size1}")
    _require_hashes(*proof)
    if size1 == size2:
        if proof:
            raise ProofError("two trees of one size need no proof")
        return _require_same(root1, root2, size2)
    level = (size1 & -size1).bit_length() - 1  # of the first tree's last complete subtree
    hashes = [root1, *proof] if size1 == 1 << level else list(proof)
    index = (size1 - 1) >> level
    inner = (index ^ ((size2 - 1) >> level)).bit_length()
    if len(hashes) != 1 + inner + (index >> inner).bit_count():
        raise ProofError(f"{len(proof)} hashes cannot prove a tree of {size1} to go on to {size2}")
    seed, path, border = hashes[0], hashes[1 : 1 + inner], hashes[1 + inner :]
    before, after = _climbed_left(seed, path, index), _climbed(seed, path, index)
    for left in border:
        before, after = node_hash(left, before), node_hash(left, after)
    _require_same(before, root1, size1)
    _require_same(after, root2, size2)
    return None


def _split(size: int) -> int:
    """The largest power of two below a size of at least two."""
    return 1 << (size - 1).bit_length() - 1


def _climbed(seed: bytes, path: Sequence[bytes], index: int) -> bytes:
    for level, other in enumerate(path):
        left = index >> level & 1
        seed = node_hash(other, seed) if left else node_hash(seed, other)
    return seed


def _climbed_left(seed: bytes, path: Sequence[bytes], index: int) -> bytes:
    """The same without what is to the right: the older tree had it not."""
    for level, other in enumerate(path):
        if index >> level & 1:
            seed = node_hash(other, seed)
    return seed


def _require_hashes(*hashes: bytes) -> None:
    if wrong := [one for one in hashes if len(one) != HASH_BYTES]:
        raise ProofError(f"{wrong[0].hex()!r} is no SHA-256 hash")


def _require_same(found: bytes, root: bytes, size: int) -> None:
    if found != root:
        raise ProofError(
            f"the proof leads to {found.hex()[:16]}…, not to the root {root.hex()[:16]}… "
            f"of the tree of {size} entries"
        )
