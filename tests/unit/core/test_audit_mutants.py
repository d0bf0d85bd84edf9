"""Proofs and checkpoints at their very bounds."""

import base64
import hashlib

import pytest

from carnet.core.audit import (
    EMPTY_ROOT,
    Frontier,
    Tree,
    check_logged,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from carnet.core.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from carnet.core.errors import Bug, EnvelopeMalformed, ProofInvalid
from tests.unit.core.test_audit import LEAVES, ROOTS
from tests.unit.core.test_audit_checkpoint import CHECKPOINT, DASH, KEY, NOTE, ORIGIN, PUBLIC, refused, signed_text

FIRST, SECOND = LEAVES[0], LEAVES[1]


def test_attack_a_byte_moved_between_two_hashes_gives_the_same_node() -> None:
    root = node_hash(FIRST, SECOND)
    verify_inclusion(leaf=FIRST, index=0, size=2, path=[SECOND], root=root)
    longer, shorter = FIRST + SECOND[:1], SECOND[1:]
    assert node_hash(longer, shorter) == root, "the control: to the hash it is one"
    with pytest.raises(ProofInvalid):
        verify_inclusion(leaf=longer, index=0, size=2, path=[shorter], root=root)


def test_attack_a_byte_moved_between_the_hashes_of_a_consistency_proof() -> None:
    path = Tree(LEAVES[:4]).consistency_path(2, 4)
    verify_consistency(size_before=2, size_after=4, root_before=ROOTS[2], root_after=ROOTS[4], path=path)
    longer, shorter = ROOTS[2] + path[0][:1], path[0][1:]
    assert node_hash(longer, shorter) == ROOTS[4], "the control: to the hash it is one"
    with pytest.raises(ProofInvalid):
        verify_consistency(size_before=2, size_after=4, root_before=longer, root_after=ROOTS[4], path=[shorter])


@pytest.mark.parametrize("size", [0, 31, 33])
def test_one_hash_of_another_size_is_refused_wherever_it_stands_though_all_of_it_adds_up(size: int) -> None:
    odd = bytes(size)
    for leaf, sibling in ((odd, SECOND), (FIRST, odd)):
        with pytest.raises(ProofInvalid):
            verify_inclusion(leaf=leaf, index=0, size=2, path=[sibling], root=node_hash(leaf, sibling))
    for before, step in ((odd, SECOND), (ROOTS[2], odd)):
        with pytest.raises(ProofInvalid):
            verify_consistency(
                size_before=2, size_after=4, root_before=before, root_after=node_hash(before, step), path=[step]
            )
    with pytest.raises(ProofInvalid):
        verify_consistency(size_before=2, size_after=2, root_before=odd, root_after=odd, path=[])


def test_a_path_with_a_step_too_many_is_refused_whatever_the_step() -> None:
    for index, size in ((0, 1), (0, 2), (1, 2), (4, 5), (6, 7)):
        path = Tree(LEAVES[:size]).inclusion_path(index, size)
        for step in (LEAVES[3], ROOTS[size]):
            found = node_hash(ROOTS[size], step)
            with pytest.raises(ProofInvalid):
                verify_inclusion(leaf=LEAVES[index], index=index, size=size, path=[*path, step], root=found)
            with pytest.raises(ProofInvalid):
                verify_inclusion(
                    leaf=LEAVES[index], index=index, size=size, path=[*path, step], root=node_hash(step, ROOTS[size])
                )


def test_a_path_with_a_step_too_few_is_refused_even_for_the_node_that_it_reaches() -> None:
    path = Tree(LEAVES[:4]).inclusion_path(0, 4)
    with pytest.raises(ProofInvalid):
        verify_inclusion(leaf=FIRST, index=0, size=4, path=path[:1], root=node_hash(FIRST, path[0]))
    proof = Tree(LEAVES[:8]).consistency_path(2, 8)
    with pytest.raises(ProofInvalid):
        verify_consistency(
            size_before=2, size_after=8, root_before=ROOTS[2], root_after=node_hash(ROOTS[2], proof[0]), path=proof[:1]
        )
    with pytest.raises(ProofInvalid):
        verify_consistency(size_before=3, size_after=4, root_before=ROOTS[3], root_after=ROOTS[4], path=[])


def test_a_consistency_proof_with_a_step_too_many_is_refused() -> None:
    path = Tree(LEAVES[:4]).consistency_path(2, 4)
    for after in (node_hash(ROOTS[4], FIRST), node_hash(FIRST, ROOTS[4])):
        for before in (ROOTS[2], node_hash(FIRST, ROOTS[2])):
            with pytest.raises(ProofInvalid):
                verify_consistency(
                    size_before=2, size_after=4, root_before=before, root_after=after, path=[*path, FIRST]
                )


def test_the_longest_proof_that_a_log_can_need_is_taken() -> None:
    """From 2**62 + 1 leaves to 2**63 - 1: a step for each level, the first node, and the two roots."""
    steps = [hashlib.sha256(b"%d" % i).digest() for i in range(64)]
    before = after = steps[0]
    for step in steps[1:-1]:
        after = node_hash(after, step)
    before, after = node_hash(steps[-1], before), node_hash(steps[-1], after)
    verify_consistency(size_before=2**62 + 1, size_after=2**63 - 1, root_before=before, root_after=after, path=steps)
    with pytest.raises(ProofInvalid):
        verify_consistency(
            size_before=2**62 + 1, size_after=2**63 - 1, root_before=before, root_after=after, path=[*steps, FIRST]
        )


@pytest.mark.parametrize(("before", "after"), [(3, 4), (5, 7), (6, 8)])
def test_a_consistency_proof_that_goes_on_above_both_roots_is_refused(before: int, after: int) -> None:
    path = Tree(LEAVES[:after]).consistency_path(before, after)
    verify_consistency(
        size_before=before, size_after=after, root_before=ROOTS[before], root_after=ROOTS[after], path=path
    )
    with pytest.raises(ProofInvalid):
        verify_consistency(
            size_before=before,
            size_after=after,
            root_before=node_hash(FIRST, ROOTS[before]),
            root_after=node_hash(FIRST, ROOTS[after]),
            path=[*path, FIRST],
        )


def test_a_tree_has_no_fewer_leaves_than_none() -> None:
    with pytest.raises(EnvelopeMalformed):
        Frontier(-1, [FIRST])
    assert Tree(LEAVES).root(0) == EMPTY_ROOT
    for ask in (lambda: Tree(LEAVES).root(-1), lambda: Tree(LEAVES).inclusion_path(-1, 4)):
        with pytest.raises(Bug):
            ask()


def test_an_entry_of_65535_bytes_is_found_in_the_log_and_a_larger_one_is_refused_as_a_proof() -> None:
    for size, fits in ((65_535, True), (65_536, False)):
        root = leaf_hash(bytes(size)) if fits else FIRST
        note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=1, root=root), KEY)
        if fits:
            assert check_logged(bytes(size), 0, [], note, origin=ORIGIN, public=PUBLIC).size == 1
        else:
            with pytest.raises(ProofInvalid):
                check_logged(bytes(size), 0, [], note, origin=ORIGIN, public=PUBLIC)


def test_a_log_has_from_none_to_2_63_less_one_entries() -> None:
    for size in (1, 2**63 - 1):
        found = Checkpoint(origin=ORIGIN, size=size, root=FIRST)
        assert open_checkpoint(sign_checkpoint(found, KEY), origin=ORIGIN, public=PUBLIC) == found
    for size in (-1, 2**63):
        with pytest.raises(ProofInvalid):
            Checkpoint(origin=ORIGIN, size=size, root=FIRST)


def padded(letters: int) -> str:
    """Our note with a witness's line that makes it so long."""
    room = letters - len(NOTE)
    lines = ""
    while room:
        step = room if room <= 8000 else 6000
        encoded = (step - len(f"{DASH} w \n")) // 4 * 4
        name = "w" * (step - encoded - len(f"{DASH}  \n"))
        lines += f"{DASH} {name} {base64.b64encode(bytes(encoded // 4 * 3)).decode()}\n"
        room = letters - len(NOTE) - len(lines)
    return NOTE + lines


def test_a_note_of_16384_letters_opens_and_a_longer_one_does_not() -> None:
    assert len(padded(16_384)) == 16_384
    assert open_checkpoint(padded(16_384), origin=ORIGIN, public=PUBLIC) == CHECKPOINT
    refused(padded(16_385))


def test_attack_our_signature_under_another_name_counts_for_nothing() -> None:
    text, _, line = NOTE.partition("\n\n")
    refused(f"{text}\n\n{line.replace(ORIGIN, 'other.example/log')}")


def test_a_size_that_is_no_number_is_refused_even_when_it_is_signed() -> None:
    good = CHECKPOINT.text.split("\n")
    for size in ("x", "042", "-1", ""):
        refused(signed_text("\n".join([good[0], size, *good[2:]])))
