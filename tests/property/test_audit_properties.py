"""Trees, proofs and checkpoints hold for any log, and nothing but the truth is ever proved."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from carnet.core.audit import (
    Frontier,
    Tree,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from carnet.core.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from carnet.core.errors import ProofInvalid

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
relaxed = settings(deadline=None, max_examples=2 * settings().max_examples)
entries = st.lists(st.binary(max_size=8), min_size=1, max_size=70)
hashes = st.binary(min_size=32, max_size=32)


@relaxed
@given(entries, st.data())
def test_tree_and_frontier_agree_and_every_proof_between_two_sizes_verifies(
    log: list[bytes], data: st.DataObject
) -> None:
    leaves = [leaf_hash(entry) for entry in log]
    tree = Tree(leaves)
    after = data.draw(st.integers(1, len(leaves)))
    before = data.draw(st.integers(1, after))
    index = data.draw(st.integers(0, after - 1))
    frontier = Frontier.from_leaves(leaves[:before])
    resumed = Frontier(frontier.size, frontier.hashes)
    for leaf in leaves[before:after]:
        resumed.append(leaf)
    assert resumed.root() == tree.root(after) == root_of(leaves[:after])
    root, path = tree.root(after), tree.inclusion_path(index, after)
    verify_inclusion(leaf=leaves[index], index=index, size=after, path=path, root=root)
    verify_consistency(
        size_before=before,
        size_after=after,
        root_before=tree.root(before),
        root_after=root,
        path=tree.consistency_path(before, after),
    )


@relaxed
@given(entries, entries, st.data())
def test_two_logs_that_differ_are_never_proved_consistent(
    log: list[bytes], other: list[bytes], data: st.DataObject
) -> None:
    before = data.draw(st.integers(1, len(log)))
    leaves, others = [leaf_hash(entry) for entry in log], [leaf_hash(entry) for entry in other]
    longer = others + [leaf_hash(b"more")] * max(0, before - len(others))
    if longer[:before] == leaves[:before]:
        return
    tree = Tree(longer)
    for path in (tree.consistency_path(before, tree.size), tuple(data.draw(st.lists(hashes, max_size=8)))):
        with pytest.raises(ProofInvalid):
            verify_consistency(
                size_before=before,
                size_after=tree.size,
                root_before=root_of(leaves[:before]),
                root_after=tree.root(),
                path=path,
            )


sizes = st.integers(-2, 2**64)
anything = st.one_of(hashes, st.binary(max_size=40))


@relaxed
@given(anything, sizes, sizes, st.lists(anything, max_size=70), anything)
def test_any_values_are_no_inclusion_proof(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> None:
    if (leaf, index, size, path) == (root, 0, 1, []):
        return
    with pytest.raises(ProofInvalid):
        verify_inclusion(leaf=leaf, index=index, size=size, path=path, root=root)


@relaxed
@given(sizes, sizes, anything, anything, st.lists(anything, max_size=70))
def test_any_values_are_no_consistency_proof(
    before: int, after: int, root_before: bytes, root_after: bytes, path: list[bytes]
) -> None:
    if before == after and root_before == root_after:
        return
    with pytest.raises(ProofInvalid):
        verify_consistency(
            size_before=before, size_after=after, root_before=root_before, root_after=root_after, path=path
        )


origins = st.from_regex(r"[a-z0-9./-]{1,60}", fullmatch=True)
checkpoints = st.builds(Checkpoint, origin=origins, size=st.integers(1, 2**63 - 1), root=hashes)


@relaxed
@given(checkpoints)
def test_a_checkpoint_comes_back(checkpoint: Checkpoint) -> None:
    note = sign_checkpoint(checkpoint, KEY)
    assert open_checkpoint(note, origin=checkpoint.origin, public=KEY.public_key()) == checkpoint


@relaxed
@given(st.text(max_size=300), st.data())
def test_any_text_is_a_checkpoint_that_was_signed_or_raises_the_one_error(text: str, data: st.DataObject) -> None:
    real = Checkpoint(origin="log", size=7, root=hashlib.sha256(b"root").digest())
    note = sign_checkpoint(real, KEY)
    start = data.draw(st.integers(0, len(note)))
    changed = note[:start] + text[: data.draw(st.integers(0, 9))] + note[start + data.draw(st.integers(0, 9)) :]
    for candidate in (text, changed):
        try:
            found = open_checkpoint(candidate, origin="log", public=KEY.public_key())
        except ProofInvalid:
            continue
        assert found == real
