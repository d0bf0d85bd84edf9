"""The durable log: proofs of any leaf at any checkpoint, its places, its head, its key."""

import secrets
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from carnet.core.audit import Frontier, Tree, check_logged, leaf_hash
from carnet.core.checkpoint import Checkpoint, sign_checkpoint
from carnet.core.errors import Bug, NotFound, StoreUnavailable
from gateway.auditlog import AuditLog, load_log_key
from gateway.storage import logtree, queries
from gateway.storage.loghead import LogHead, slot_bytes
from gateway.storage.operations import Batch
from gateway.storage.records import NewEntry
from tests.fixtures.stored import ORIGIN, open_store

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(i.to_bytes(4, "big")) for i in range(count)]


def test_roots_and_paths_are_those_of_the_tree_in_core() -> None:
    hashes = leaves(70)
    tree = Tree(hashes)
    frontier, nodes = logtree.grown(Frontier(), hashes)
    assert len(nodes) == 2 * 70 - (70).bit_count()
    assert frontier.root() == tree.root()
    for size in range(71):
        assert logtree.root_of_range(logtree.range_places(0, size), nodes) == tree.root(size)
        for index in range(size):
            path = logtree.path_hashes(logtree.path_places(index, size), nodes)
            assert path == tree.inclusion_path(index, size)


def test_nodes_are_the_same_however_the_leaves_are_grouped() -> None:
    hashes = leaves(37)
    whole, nodes = logtree.grown(Frontier(), hashes)
    frontier, found = Frontier(), dict[int, bytes]()
    for some in (hashes[:1], hashes[1:1], hashes[1:20], hashes[20:37]):
        frontier, added = logtree.grown(frontier, some)
        assert not added.keys() & found.keys()
        found |= added
    assert (frontier.hashes, found) == (whole.hashes, nodes)


def test_a_path_needs_few_hashes() -> None:
    size = 10**6 - 1
    for index in (0, 1, 2**19, size - 1):
        assert sum(map(len, logtree.path_places(index, size))) <= 2 * size.bit_length()


def test_what_is_not_in_the_tree_is_refused() -> None:
    with pytest.raises(Bug):
        logtree.path_places(5, 5)
    with pytest.raises(Bug):
        logtree.range_places(1, 4)
    with pytest.raises(Bug):
        logtree.root_of_range((0, 2), {0: bytes(32)})


async def test_any_leaf_is_proven_at_any_checkpoint(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db", KEY)
    log = AuditLog(store)
    with pytest.raises(NotFound):
        await log.checkpoint()
    sizes, size = [], 0
    for count in (1, 2, 5, 1, 64, 7):
        entries = tuple(NewEntry(kind="x", data=secrets.token_bytes(20)) for _ in range(count))
        await store.write(Batch(entries=entries))
        size += count
        sizes.append(size)
    for at in sizes:
        for index in range(at):
            found = await log.prove(index, at)
            checkpoint = check_logged(
                found.entry, index, found.path, found.checkpoint, origin=ORIGIN, public=KEY.public_key()
            )
            assert checkpoint.size == at
    assert (await log.prove(0)).checkpoint == await log.checkpoint()
    absent: tuple[tuple[int, int | None], ...] = ((0, 4), (3, 3), (80, None), (-1, None))
    for index, not_signed in absent:
        with pytest.raises(NotFound):
            await log.prove(index, not_signed)
    await store.close()


async def test_leaves_are_found_by_their_job_and_subject(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db", KEY)
    subject = secrets.token_bytes(32)
    entries = (NewEntry(kind="a", data=b"1", subject=subject), NewEntry(kind="b", data=b"2"))
    await store.write(Batch(entries=entries))
    (found,) = await store.read(queries.entries_about, subject)
    assert (found.index, found.kind, found.data) == (0, "a", b"1")
    assert [e.data for e in await store.read(queries.entries, start=1)] == [b"2"]
    await store.close()


def test_a_slot_that_was_cut_off_counts_for_nothing(tmp_path: Path) -> None:
    def note(size: int) -> str:
        return sign_checkpoint(Checkpoint(origin=ORIGIN, size=size, root=bytes(32)), KEY)

    path = tmp_path / "head"
    head = LogHead(path)
    head.create(note(1))
    head.open()
    head.write(note(2))
    head.write(note(3))
    assert {c.size for c in head.read(origin=ORIGIN, public=KEY.public_key())} == {2, 3}
    head.close()
    data = bytearray(path.read_bytes())
    data[slot_bytes + 50 :] = bytes(slot_bytes - 50)
    path.write_bytes(data)
    head.open()
    assert {c.size for c in head.read(origin=ORIGIN, public=KEY.public_key())} == {2}
    head.close()


def pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_the_key_is_ed25519_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "log.key.pem"
    path.write_bytes(pem(KEY))
    path.chmod(0o600)
    assert load_log_key(path).private_bytes_raw() == KEY.private_bytes_raw()
    path.chmod(0o640)
    with pytest.raises(StoreUnavailable):
        load_log_key(path)
    path.chmod(0o600)
    for other in (pem(ec.generate_private_key(ec.SECP256R1())), b"no key"):
        path.write_bytes(other)
        with pytest.raises(StoreUnavailable):
            load_log_key(path)
    with pytest.raises(StoreUnavailable):
        load_log_key(tmp_path / "missing")
