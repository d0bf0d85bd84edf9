"""Audit: the Merkle tree behind the log, and the proofs that anyone can check with the log's key alone.

- Hashes are those of RFC 9162 section 2.1 (RFC 6962): leaf = SHA-256(0x00 || entry), node = SHA-256(0x01 || left ||
  right); the empty tree's root is SHA-256 of nothing. An entry has at most 65,535 bytes.
- `Frontier` is what appending needs: the roots of the perfect subtrees, at most 64 hashes. `Tree` keeps every node of
  every perfect subtree (64 bytes a leaf), and answers any root and any proof in logarithmic time.
- `verify_*` raise `ProofInvalid`, and nothing else, on any values. A proof that starts from size 0 proves nothing and
  is refused; so is a path longer or shorter than it must be.
- The caller gets: this entry is in the log that the checkpoint signs. It does not get: that others see the same log,
  unless checkpoints are compared or witnessed.

    tree.append(leaf_hash(entry))
    path = tree.inclusion_path(index, size)
    checkpoint = check_logged(entry, index, path, note, origin=origin, public=public)
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from carnet.core.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from carnet.core.errors import Bug, EnvelopeMalformed, ProofInvalid

__all__ = [
    "EMPTY_ROOT",
    "Checkpoint",
    "Frontier",
    "Tree",
    "check_logged",
    "consistency_path",
    "inclusion_path",
    "leaf_hash",
    "node_hash",
    "open_checkpoint",
    "root_of",
    "sign_checkpoint",
    "verify_consistency",
    "verify_inclusion",
]

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
entry_bytes_max: Final = 2**16 - 1
hash_bytes: Final = 32
_path_max: Final = 63


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry, 32 bytes. Raises `EnvelopeMalformed` for an entry of more than 65,535 bytes."""
    if len(entry) > entry_bytes_max:
        raise EnvelopeMalformed("A log entry is too large.")
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node, 32 bytes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The perfect subtrees that a tree of `size` leaves consists of, largest first: all that appending needs."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self._hashes = list(hashes)
        if size < 0 or len(self._hashes) != size.bit_count() or any(len(h) != hash_bytes for h in self._hashes):
            raise EnvelopeMalformed("The hashes are not the frontier of a tree of this size.")

    @classmethod
    def from_leaves(cls, leaf_hashes: Iterable[bytes]) -> "Frontier":
        """The frontier after these leaf hashes."""
        frontier = cls()
        for leaf in leaf_hashes:
            frontier.append(leaf)
        return frontier

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """What to store, with `size`, to go on later."""
        return tuple(self._hashes)

    def copy(self) -> "Frontier":
        """A frontier of its own, for an append that may be rolled back."""
        return Frontier(self.size, self._hashes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        _check_leaf(leaf)
        size = self.size
        while size & 1:
            leaf = node_hash(self._hashes.pop(), leaf)
            size >>= 1
        self._hashes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root of the tree so far, 32 bytes."""
        if not self._hashes:
            return EMPTY_ROOT
        root = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            root = node_hash(left, root)
        return root


class Tree:
    """All nodes of all perfect subtrees, level by level: any earlier root, and any proof between two sizes."""

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        self._levels = [bytearray()]
        for leaf in leaf_hashes:
            self.append(leaf)

    @property
    def size(self) -> int:
        """The number of leaves."""
        return len(self._levels[0]) // hash_bytes

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash, and every node that it completes."""
        _check_leaf(leaf)
        position, level = self.size, 0
        self._levels[0] += leaf
        while position & 1:
            leaf = node_hash(self._node(level, position - 1), leaf)
            position, level = position >> 1, level + 1
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += leaf

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` leaves, 32 bytes."""
        size = self.size if size is None else size
        self._check(0 <= size <= self.size)
        return self._range(0, size) if size else EMPTY_ROOT

    def inclusion_path(self, index: int, size: int) -> tuple[bytes, ...]:
        """PATH of RFC 9162 section 2.1.3.1: from the leaf at `index` to the root of the first `size` leaves."""
        self._check(0 <= index < size <= self.size)
        path: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start = middle
        return tuple(reversed(path))

    def consistency_path(self, size_before: int, size_after: int) -> tuple[bytes, ...]:
        """PROOF of RFC 9162 section 2.1.4.1: that the first `size_before` leaves are a prefix of the later tree."""
        self._check(0 < size_before <= size_after <= self.size)
        path: list[bytes] = []
        start, end = 0, size_after
        while end != size_before:
            middle = start + _split(end - start)
            if size_before <= middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start = middle
        if start:
            path.append(self._range(start, end))
        return tuple(reversed(path))

    def _range(self, start: int, end: int) -> bytes:
        width = end - start
        if width & (width - 1) == 0:
            level = width.bit_length() - 1
            return self._node(level, start >> level)
        middle = start + _split(width)
        return node_hash(self._range(start, middle), self._range(middle, end))

    def _node(self, level: int, position: int) -> bytes:
        return bytes(self._levels[level][position * hash_bytes : (position + 1) * hash_bytes])

    def _check(self, legal: bool) -> None:
        if not legal:
            raise Bug(detail=f"a proof was asked for outside of a tree of {self.size} leaves")


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over these leaf hashes, 32 bytes."""
    return Frontier.from_leaves(leaf_hashes).root()


def inclusion_path(leaf_hashes: Sequence[bytes], index: int, size: int) -> tuple[bytes, ...]:
    """The path from one leaf to the root of the first `size`; a `Tree` answers many of these faster."""
    return Tree(leaf_hashes[:size]).inclusion_path(index, size)


def consistency_path(leaf_hashes: Sequence[bytes], size_before: int, size_after: int) -> tuple[bytes, ...]:
    """The path between two sizes of the log; a `Tree` answers many of these faster."""
    return Tree(leaf_hashes[:size_after]).consistency_path(size_before, size_after)


def verify_inclusion(*, leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Raise `ProofInvalid` unless the leaf hash is at `index` under this root (RFC 9162 section 2.1.3.2)."""
    _check_hashes((leaf, root, *path))
    if not 0 <= index < size:
        raise ProofInvalid
    node, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofInvalid
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or found != root:
        raise ProofInvalid


def verify_consistency(
    *, size_before: int, size_after: int, root_before: bytes, root_after: bytes, path: Sequence[bytes]
) -> None:
    """Raise `ProofInvalid` unless the later tree continues the earlier one (RFC 9162 section 2.1.4.2)."""
    _check_hashes((root_before, root_after, *path))
    if not 0 < size_before <= size_after:
        raise ProofInvalid
    if size_before == size_after:
        if path or root_before != root_after:
            raise ProofInvalid
        return
    steps = list(path)
    if size_before & (size_before - 1) == 0:
        steps.insert(0, root_before)
    if not steps or _replay(steps, size_before - 1, size_after - 1) != (root_before, root_after):
        raise ProofInvalid


def check_logged(
    entry: bytes, index: int, path: Sequence[bytes], checkpoint_note: str, *, origin: str, public: Ed25519PublicKey
) -> Checkpoint:
    """The checkpoint that proves this entry to be in the log. Raises `ProofInvalid`."""
    checkpoint = open_checkpoint(checkpoint_note, origin=origin, public=public)
    if len(entry) > entry_bytes_max:
        raise ProofInvalid
    verify_inclusion(leaf=leaf_hash(entry), index=index, size=checkpoint.size, path=path, root=checkpoint.root)
    return checkpoint


def _replay(steps: Sequence[bytes], node: int, last: int) -> tuple[bytes, bytes]:
    while node & 1:
        node, last = node >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise ProofInvalid
        if node & 1 or node == last:
            before, after = node_hash(step, before), node_hash(step, after)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            after = node_hash(after, step)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise ProofInvalid
    return before, after


def _split(width: int) -> int:
    """The largest power of two below `width`."""
    return 1 << ((width - 1).bit_length() - 1)


def _check_leaf(leaf: bytes) -> None:
    if len(leaf) != hash_bytes:
        raise Bug(detail="a leaf hash must be 32 bytes")


def _check_hashes(hashes: Sequence[bytes]) -> None:
    # Two hashes beside the path, three for a consistency proof.
    if len(hashes) > _path_max + 3 or any(len(h) != hash_bytes for h in hashes):
        raise ProofInvalid
