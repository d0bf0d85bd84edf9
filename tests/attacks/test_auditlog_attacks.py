"""Attacks on the log at rest: who alters the database must not get a gateway that signs on.

Each attack is refused at start; its control takes the named check away and shows that the gateway would have started.
"""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet.core.audit import EMPTY_ROOT, Frontier, leaf_hash
from carnet.core.checkpoint import Checkpoint, sign_checkpoint
from carnet.core.errors import StoreUnavailable
from gateway.storage import logtree, queries
from gateway.storage.operations import Batch
from gateway.storage.records import NewEntry
from gateway.storage.sequencer import LogDamaged, Sequencer
from tests.fixtures.stored import ORIGIN, open_store

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
LEAVES = 21


async def fill(path: Path, *, first: int = 0, count: int = LEAVES) -> None:
    store = await open_store(path, KEY)
    for i in range(first, first + count):
        await store.write(Batch(entries=(NewEntry(kind="x", data=b"leaf %d" % i),)))
    await store.close()


async def opens(path: Path) -> None:
    await (await open_store(path, KEY)).close()


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    found = tmp_path / "store.db"
    await fill(found)
    await opens(found)
    return found


def sql(path: Path, *statements: tuple[str, tuple[object, ...]]) -> None:
    connection = sqlite3.connect(path)
    for statement, values in statements:
        assert connection.execute(statement, values).rowcount
    connection.commit()
    connection.close()


def without(monkeypatch: pytest.MonkeyPatch, check: str, instead: Callable[..., object]) -> None:
    assert hasattr(Sequencer, check)
    monkeypatch.setattr(Sequencer, check, instead)


def trusting_reread(_: Sequencer, connection: object, size: int) -> Frontier:
    """What a start that only reads the stored hashes would do."""
    places = logtree.range_places(0, size)
    nodes = queries.nodes(connection, places)  # type: ignore[arg-type]
    return Frontier(size, [nodes[place] for place in places])


async def test_an_altered_leaf_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sql(path, ("UPDATE entries SET data = ? WHERE leaf_index = 7", (b"leaf 7, altered",)))
    with pytest.raises(LogDamaged):
        await opens(path)
    without(monkeypatch, "_reread", trusting_reread)
    await opens(path)


async def test_an_altered_hash_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = logtree.place(1, 2)
    sql(path, ("UPDATE nodes SET hash = ? WHERE place = ?", (bytes(32), place)))
    with pytest.raises(LogDamaged):
        await opens(path)
    without(monkeypatch, "_compare", lambda *_: None)
    await opens(path)


async def test_two_leaves_that_changed_places_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sql(
        path,
        ("UPDATE entries SET data = ? WHERE leaf_index = 3", (b"leaf 4",)),
        ("UPDATE entries SET data = ? WHERE leaf_index = 4", (b"leaf 3",)),
    )
    with pytest.raises(LogDamaged):
        await opens(path)
    without(monkeypatch, "_reread", trusting_reread)
    await opens(path)


async def test_a_missing_leaf_is_refused(path: Path) -> None:
    sql(path, ("DELETE FROM entries WHERE leaf_index = 7", ()))
    with pytest.raises(LogDamaged):
        await opens(path)
    sql(path, ("INSERT INTO entries (leaf_index, kind, data) VALUES (7, 'x', ?)", (b"leaf 7",)))
    await opens(path)


async def test_a_leaf_that_was_slipped_in_is_refused(path: Path) -> None:
    sql(path, ("INSERT INTO entries (leaf_index, kind, data) VALUES (?, 'x', ?)", (LEAVES, b"slipped in")))
    with pytest.raises(LogDamaged):
        await opens(path)
    sql(path, ("DELETE FROM entries WHERE leaf_index = ?", (LEAVES,)))
    await opens(path)


async def test_a_whole_history_signed_by_another_key_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = [leaf_hash(b"leaf %d" % i) for i in range(LEAVES)]
    root = Frontier.from_leaves(hashes).root()
    forged = sign_checkpoint(Checkpoint(origin=ORIGIN, size=LEAVES, root=root), Ed25519PrivateKey.generate())
    sql(path, ("UPDATE checkpoints SET note = ? WHERE size = ?", (forged, LEAVES)))
    with pytest.raises(LogDamaged):
        await opens(path)
    honest = Checkpoint(origin=ORIGIN, size=LEAVES, root=root)
    without(monkeypatch, "_newest", lambda *_: honest)
    await opens(path)


async def roll_back(path: Path) -> None:
    """Put the database back as it was, with its own last checkpoint: nothing in it contradicts itself."""
    copy = path.with_name("older.db")
    shutil.copy(path, copy)
    await fill(path, first=LEAVES, count=3)
    for journal in ("-wal", "-shm"):
        path.with_name(path.name + journal).unlink(missing_ok=True)
    shutil.copy(copy, path)


async def test_a_database_rolled_back_to_an_older_copy_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await roll_back(path)
    with pytest.raises(LogDamaged):
        await opens(path)
    without(monkeypatch, "_check_head", lambda *_: None)
    await opens(path)


async def test_a_database_rolled_back_and_grown_again_to_the_same_size_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = path.with_name(path.name + ".head")
    kept = path.with_name("kept.head")
    before = path.with_name("before.head")
    shutil.copy(head, before)
    await roll_back(path)
    shutil.copy(head, kept)
    shutil.copy(before, head)
    await fill(path, first=100, count=3)
    shutil.copy(kept, head)
    with pytest.raises(LogDamaged):
        await opens(path)
    without(monkeypatch, "_check_head", lambda *_: None)
    await opens(path)


async def test_an_emptied_log_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sql(path, ("DELETE FROM entries", ()), ("DELETE FROM nodes", ()), ("DELETE FROM checkpoints", ()))
    with pytest.raises(LogDamaged):
        await opens(path)
    without(monkeypatch, "_check_head", lambda *_: None)
    await opens(path)


async def test_a_log_whose_head_was_removed_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = path.with_name(path.name + ".head")
    kept = head.read_bytes()
    head.unlink()
    with pytest.raises(LogDamaged):
        await opens(path)
    head.write_bytes(bytes(len(kept)))
    with pytest.raises(LogDamaged):
        await opens(path)
    head.write_bytes(kept)
    await opens(path)


async def test_a_head_signed_by_another_key_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = path.with_name(path.name + ".head")
    note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=0, root=EMPTY_ROOT), Ed25519PrivateKey.generate())
    head.write_bytes(note.encode().ljust(4096, b"\0") * 2)
    with pytest.raises(LogDamaged):
        await opens(path)
    without(monkeypatch, "_check_head", lambda *_: None)
    await opens(path)


async def test_another_log_key_is_refused(path: Path) -> None:
    with pytest.raises(LogDamaged):
        await open_store(path, Ed25519PrivateKey.generate())
    await opens(path)


async def test_a_leaf_slipped_in_while_the_gateway_runs_stops_the_log(path: Path) -> None:
    store = await open_store(path, KEY)
    sql(path, ("INSERT INTO entries (leaf_index, kind, data) VALUES (?, 'x', ?)", (LEAVES, b"slipped in")))
    with pytest.raises(StoreUnavailable):
        await store.write(Batch(entries=(NewEntry(kind="x", data=b"next"),)))
    assert await store.read(queries.checkpoint, LEAVES + 1) is None
    # Control: without that leaf the log goes on from where it was.
    sql(path, ("DELETE FROM entries WHERE leaf_index = ?", (LEAVES,)))
    assert (await store.write(Batch(entries=(NewEntry(kind="x", data=b"next"),)))).logged[0].index == LEAVES
    await store.close()


async def test_checkpoints_altered_while_the_gateway_runs_stop_it_after_a_failed_commit(path: Path) -> None:
    store = await open_store(path, KEY)
    sql(
        path,
        ("INSERT INTO entries (leaf_index, kind, data) VALUES (?, 'x', ?)", (LEAVES, b"slipped in")),
        ("UPDATE checkpoints SET note = 'none' WHERE size = ?", (LEAVES,)),
    )
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await store.write(Batch(entries=(NewEntry(kind="x", data=b"next"),)))
    sql(path, ("DELETE FROM entries WHERE leaf_index = ?", (LEAVES,)))
    with pytest.raises(StoreUnavailable):
        await store.write(Batch(entries=(NewEntry(kind="x", data=b"next"),)))
    await store.close()
