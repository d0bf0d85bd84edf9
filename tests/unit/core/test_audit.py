"""The Merkle tree: what appending keeps, and what proofs hold."""

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet.core import audit
from carnet.core.audit import (
    Checkpoint,
    Frontier,
    Tree,
    check_logged,
    consistency_path,
    inclusion_path,
    leaf_hash,
    node_hash,
    root_of,
    sign_checkpoint,
    verify_consistency,
    verify_inclusion,
)
from carnet.core.errors import Bug, EnvelopeMalformed, ProofInvalid

SIZE = 20
LEAVES = [leaf_hash(bytes([i])) for i in range(SIZE)]
ROOTS = [root_of(LEAVES[:size]) for size in range(SIZE + 1)]


def by_definition(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162 section 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(by_definition(leaves[:k]), by_definition(leaves[k:]))


def test_leaf_and_node_hashes_have_their_prefixes() -> None:
    assert leaf_hash(b"x") == hashlib.sha256(b"\0x").digest()
    assert node_hash(b"l", b"r") == hashlib.sha256(b"\1lr").digest()


def test_an_entry_of_65535_bytes_is_a_leaf_and_a_larger_one_is_not() -> None:
    assert len(leaf_hash(bytes(65_535))) == 32
    with pytest.raises(EnvelopeMalformed):
        leaf_hash(bytes(65_536))


def test_frontier_and_tree_have_the_root_of_the_definition_at_every_size() -> None:
    frontier, tree = Frontier(), Tree()
    for size in range(SIZE + 1):
        assert frontier.size == tree.size == size
        assert frontier.root() == tree.root() == by_definition(LEAVES[:size]) == ROOTS[size]
        if size < SIZE:
            frontier.append(LEAVES[size])
            tree.append(LEAVES[size])
    assert [tree.root(size) for size in range(SIZE + 1)] == ROOTS


def test_a_stored_frontier_goes_on_where_it_was() -> None:
    for size in range(SIZE):
        before = Frontier.from_leaves(LEAVES[:size])
        again = Frontier(before.size, before.hashes)
        again.append(LEAVES[size])
        assert again.root() == ROOTS[size + 1]
        assert before.root() == ROOTS[size]


def test_a_copy_of_a_frontier_may_be_thrown_away() -> None:
    frontier = Frontier.from_leaves(LEAVES[:7])
    frontier.copy().append(LEAVES[7])
    assert (frontier.size, frontier.root()) == (7, ROOTS[7])


@pytest.mark.parametrize(("size", "hashes"), [(-1, []), (1, []), (2, LEAVES[:2]), (3, LEAVES[:1]), (1, [b"short"])])
def test_hashes_that_are_no_frontier_are_refused(size: int, hashes: list[bytes]) -> None:
    with pytest.raises(EnvelopeMalformed):
        Frontier(size, hashes)


def test_every_leaf_is_proved_in_every_tree_that_holds_it() -> None:
    tree = Tree(LEAVES)
    for size in range(1, SIZE + 1):
        for index in range(size):
            path = tree.inclusion_path(index, size)
            assert path == inclusion_path(LEAVES, index, size)
            verify_inclusion(leaf=LEAVES[index], index=index, size=size, path=path, root=ROOTS[size])


def test_every_tree_is_proved_to_continue_every_earlier_one() -> None:
    tree = Tree(LEAVES)
    for after in range(1, SIZE + 1):
        for before in range(1, after + 1):
            path = tree.consistency_path(before, after)
            assert path == consistency_path(LEAVES, before, after)
            verify_consistency(
                size_before=before, size_after=after, root_before=ROOTS[before], root_after=ROOTS[after], path=path
            )


def refused_inclusion(*, leaf: bytes, index: int, size: int, path: tuple[bytes, ...], root: bytes) -> None:
    with pytest.raises(ProofInvalid):
        verify_inclusion(leaf=leaf, index=index, size=size, path=path, root=root)


def test_an_inclusion_proof_with_anything_changed_is_refused() -> None:
    for size in range(1, SIZE + 1):
        for index in range(size):
            path, leaf, root = inclusion_path(LEAVES, index, size), LEAVES[index], ROOTS[size]
            refused_inclusion(leaf=leaf_hash(b"other"), index=index, size=size, path=path, root=root)
            refused_inclusion(leaf=leaf, index=index, size=size, path=path, root=bytes(32))
            refused_inclusion(leaf=leaf, index=index, size=size, path=(*path, bytes(32)), root=root)
            refused_inclusion(leaf=leaf, index=size, size=size, path=path, root=root)
            refused_inclusion(leaf=leaf, index=-1, size=size, path=path, root=root)
            for i in range(len(path)):
                refused_inclusion(leaf=leaf, index=index, size=size, path=path[:i] + path[i + 1 :], root=root)
                flipped = (*path[:i], bytes(32), *path[i + 1 :])
                refused_inclusion(leaf=leaf, index=index, size=size, path=flipped, root=root)
            for other in set(range(size)) - {index}:
                refused_inclusion(leaf=leaf, index=other, size=size, path=path, root=root)


def refused_consistency(before: int, after: int, path: tuple[bytes, ...], roots: tuple[bytes, bytes]) -> None:
    with pytest.raises(ProofInvalid):
        verify_consistency(size_before=before, size_after=after, root_before=roots[0], root_after=roots[1], path=path)


def test_a_consistency_proof_with_anything_changed_is_refused() -> None:
    for after in range(1, SIZE + 1):
        for before in range(1, after + 1):
            path, roots = consistency_path(LEAVES, before, after), (ROOTS[before], ROOTS[after])
            refused_consistency(before, after, path, (bytes(32), roots[1]))
            refused_consistency(before, after, path, (roots[0], bytes(32)))
            refused_consistency(before, after, (*path, bytes(32)), roots)
            for i in range(len(path)):
                refused_consistency(before, after, path[:i] + path[i + 1 :], roots)
                refused_consistency(before, after, (*path[:i], bytes(32), *path[i + 1 :]), roots)


def test_a_consistency_proof_from_nothing_or_backwards_is_refused() -> None:
    refused_consistency(0, 4, (), (ROOTS[0], ROOTS[4]))
    refused_consistency(0, 0, (), (ROOTS[0], ROOTS[0]))
    refused_consistency(4, 3, (), (ROOTS[4], ROOTS[3]))
    refused_consistency(-1, 3, (), (ROOTS[3], ROOTS[3]))


def test_a_hash_of_another_length_is_refused() -> None:
    refused_inclusion(leaf=LEAVES[0], index=0, size=2, path=(LEAVES[1] + b"x",), root=ROOTS[2])
    refused_inclusion(leaf=LEAVES[0], index=0, size=1, path=(), root=LEAVES[0] + b"x")
    refused_consistency(1, 2, (LEAVES[1][:31],), (ROOTS[1], ROOTS[2]))


def test_an_endless_path_is_refused() -> None:
    refused_inclusion(leaf=LEAVES[0], index=0, size=2**62, path=(bytes(32),) * 10_000, root=ROOTS[1])


def test_an_inner_node_does_not_pass_for_an_entry() -> None:
    inside = LEAVES[0] + LEAVES[1]
    key = Ed25519PrivateKey.generate()
    note = sign_checkpoint(Checkpoint(origin="log", size=2, root=ROOTS[4]), key)
    path = (node_hash(LEAVES[2], LEAVES[3]),)
    with pytest.raises(ProofInvalid):
        check_logged(inside, 0, path, note, origin="log", public=key.public_key())
    # Control: the shorter path does lead to the root, and only the prefix of the hash tells the two apart.
    verify_inclusion(leaf=node_hash(LEAVES[0], LEAVES[1]), index=0, size=2, path=path, root=ROOTS[4])


def test_an_entry_is_proved_by_its_path_and_a_signed_checkpoint() -> None:
    key = Ed25519PrivateKey.generate()
    checkpoint = Checkpoint(origin="gateway.example/log", size=SIZE, root=ROOTS[SIZE])
    note = sign_checkpoint(checkpoint, key)
    where: dict[str, Any] = {"origin": "gateway.example/log", "public": key.public_key()}
    path = inclusion_path(LEAVES, 5, SIZE)
    assert check_logged(bytes([5]), 5, path, note, origin=checkpoint.origin, public=key.public_key()) == checkpoint
    for entry, index in ((bytes([6]), 5), (bytes([5]), 6), (bytes(65_536), 5)):
        with pytest.raises(ProofInvalid):
            check_logged(entry, index, path, note, **where)
    other = Ed25519PrivateKey.generate().public_key()
    with pytest.raises(ProofInvalid):
        check_logged(bytes([5]), 5, path, note, origin=checkpoint.origin, public=other)


def test_a_proof_that_nobody_can_make_is_a_bug_of_the_caller() -> None:
    tree = Tree(LEAVES[:4])
    for ask in (
        lambda: tree.inclusion_path(4, 4),
        lambda: tree.inclusion_path(0, 5),
        lambda: tree.consistency_path(0, 4),
        lambda: tree.consistency_path(3, 5),
        lambda: tree.root(5),
        lambda: tree.append(b"not a hash"),
        lambda: Frontier().append(b"not a hash"),
    ):
        with pytest.raises(Bug):
            ask()


def test_the_public_names_are_where_they_are_promised() -> None:
    assert all(hasattr(audit, name) for name in audit.__all__)
