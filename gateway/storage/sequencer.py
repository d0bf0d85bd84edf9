"""The one that gives the log's leaves their places: inside the store's transaction, in its writer's thread.

Rules:
- Leaves are numbered from 0 without gaps, in the order in which their batches are committed.
- One signature a group: `stage` writes leaves, hashes and one checkpoint, and gives each leaf its path under it.
- A note leaves this process only after its commit; until `settle` nothing in memory has moved.
- `open` reads the whole log before it is used: every leaf, every stored hash, the newest checkpoint's signature and
  root, and the head file. What does not fit raises `LogDamaged`, and the gateway does not start: it must never sign two
  roots for one size. This takes about a second for half a million leaves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from carnet.core.audit import EMPTY_ROOT, Frontier, leaf_hash
from carnet.core.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from carnet.core.errors import ProofInvalid, StoreUnavailable
from carnet.wire import Logged
from gateway.storage import changes, logtree, queries
from gateway.storage.loghead import LogHead
from gateway.storage.records import NewEntry

_chunk_leaves: Final = 512


class LogDamaged(StoreUnavailable):
    """The audit log does not fit its last checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """What a group adds to the log, once it is committed."""

    frontier: Frontier
    logged: tuple[Logged, ...]
    note: str


class Sequencer:
    """The writer's side of the log. `origin` names the log in its checkpoints; `key` signs them."""

    def __init__(self, *, origin: str, key: Ed25519PrivateKey, head: LogHead) -> None:
        self._origin = origin
        self._key = key
        self._head = head
        self._frontier = Frontier()

    @property
    def size(self) -> int:
        """The number of leaves that are committed."""
        return self._frontier.size

    def open(self, connection: Connection) -> None:
        """Read the log and hold it against its last checkpoint. Raises `LogDamaged`."""
        checkpoint = self._newest(connection)
        leaves, nodes = queries.log_counts(connection)
        if checkpoint.size != leaves or nodes != 2 * leaves - leaves.bit_count():
            raise LogDamaged(detail=f"the checkpoint is for {checkpoint.size} leaves, there are {leaves}")
        self._open_head(checkpoint)
        frontier = self._reread(connection, checkpoint.size)
        if frontier.root() != checkpoint.root:
            raise LogDamaged(detail="the leaves do not give the root that was signed")
        self._check_head(connection, checkpoint)
        self._frontier = frontier

    def reload(self, connection: Connection) -> None:
        """Take the state from the rows again, after a transaction whose end is not known. Raises `LogDamaged`."""
        checkpoint = self._newest(connection)
        places = logtree.range_places(0, checkpoint.size)
        nodes = queries.nodes(connection, places)
        if logtree.root_of_range(places, nodes) != checkpoint.root:
            raise LogDamaged(detail="the hashes do not give the root that was signed")
        self._frontier = Frontier(checkpoint.size, [nodes[place] for place in places])

    def stage(self, connection: Connection, entries: Sequence[NewEntry]) -> Staged:
        """Write these leaves and a checkpoint over them; the leaf of each entry, in order."""
        if not entries:
            return Staged(frontier=self._frontier, logged=(), note="")
        first = self._frontier.size
        frontier, added = logtree.grown(self._frontier, [leaf_hash(entry.data) for entry in entries])
        checkpoint = Checkpoint(origin=self._origin, size=frontier.size, root=frontier.root())
        note = sign_checkpoint(checkpoint, self._key)
        changes.append_leaves(connection, first, entries, added)
        changes.add_checkpoint(connection, frontier.size, note)
        # A leaf's path needs only what is new and the roots that were there before.
        before = zip(logtree.range_places(0, first), self._frontier.hashes, strict=True)
        nodes = {**dict(before), **added}
        logged = tuple(self._logged(entry, first + i, nodes, frontier.size, note) for i, entry in enumerate(entries))
        return Staged(frontier=frontier, logged=logged, note=note)

    def settle(self, staged: Staged) -> None:
        """What was staged is committed. Raises OSError where the head can not be written."""
        self._frontier = staged.frontier
        if staged.note:
            self._head.write(staged.note)

    def close(self) -> None:
        """Close the head."""
        self._head.close()

    def _logged(self, entry: NewEntry, index: int, nodes: Mapping[int, bytes], size: int, note: str) -> Logged:
        path = logtree.path_hashes(logtree.path_places(index, size), nodes)
        return Logged(entry=entry.data, index=index, path=path, checkpoint=note)

    def _newest(self, connection: Connection) -> Checkpoint:
        found = queries.checkpoint(connection)
        if found is None:
            return Checkpoint(origin=self._origin, size=0, root=EMPTY_ROOT)
        size, note = found
        try:
            checkpoint = open_checkpoint(note, origin=self._origin, public=self._key.public_key())
        except ProofInvalid as error:
            raise LogDamaged(detail="the newest checkpoint is not signed by the log's key") from error
        if checkpoint.size != size:
            raise LogDamaged(detail="the newest checkpoint is for another size")
        return checkpoint

    def _open_head(self, checkpoint: Checkpoint) -> None:
        if not self._head.exists:
            if checkpoint.size:
                raise LogDamaged(detail="the head file of the log is missing")
            self._head.create(sign_checkpoint(checkpoint, self._key))
        self._head.open()

    def _check_head(self, connection: Connection, checkpoint: Checkpoint) -> None:
        heads = self._head.read(origin=self._origin, public=self._key.public_key())
        if not heads:
            raise LogDamaged(detail="the head file of the log does not hold a checkpoint of its key")
        for head in heads:
            if head.size > checkpoint.size:
                raise LogDamaged(detail=f"the database has {checkpoint.size} leaves, {head.size} were signed")
            places = logtree.range_places(0, head.size)
            if logtree.root_of_range(places, queries.nodes(connection, places)) != head.root:
                raise LogDamaged(detail="the database is of another history than the head file")

    def _reread(self, connection: Connection, size: int) -> Frontier:
        frontier = Frontier()
        while frontier.size < size:
            start = frontier.size
            leaves = queries.entries(connection, start=start, limit=_chunk_leaves)
            if not leaves or [leaf.index for leaf in leaves] != list(range(start, start + len(leaves))):
                raise LogDamaged(detail="a leaf is missing")
            frontier, added = logtree.grown(frontier, [leaf_hash(leaf.data) for leaf in leaves])
            self._compare(connection, added)
        return frontier

    def _compare(self, connection: Connection, added: dict[int, bytes]) -> None:
        places = iter(added)
        while some := list(islice(places, _chunk_leaves)):
            if queries.nodes(connection, some) != {place: added[place] for place in some}:
                raise LogDamaged(detail="a stored hash of the log is another")
