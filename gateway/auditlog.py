"""The durable audit log, as it is read: proofs for anyone, under the checkpoints that were signed.

Leaves are added by `Store.write` only, in the transaction of what they are about (`gateway/storage/sequencer.py`).

Rules:
- A proof is made from at most 2 log2(n) stored hashes; no leaf is read but the one that is proven.
- A checkpoint exists for the sizes at which a group of writes was committed, and for no others.
- The log's key is Ed25519, in a PEM file that only its owner can read.

    log = AuditLog(store)
    logged = await log.prove(index)
"""

import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from sqlalchemy import Connection

from carnet.core.errors import NotFound, StoreUnavailable
from carnet.wire import Logged
from gateway.storage import logtree, queries
from gateway.storage.store import Store


class AuditLog:
    """Reads the log of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def prove(self, index: int, size: int | None = None) -> Logged:
        """Leaf `index` and its path under the checkpoint for `size`, or the newest. Raises `NotFound`."""
        return await self._store.read(_prove, index, size)

    async def checkpoint(self) -> str:
        """The newest signed note. Raises `NotFound` while the log is empty."""
        found = await self._store.read(queries.checkpoint)
        if found is None:
            raise NotFound
        return found[1]


def load_log_key(path: Path) -> Ed25519PrivateKey:
    """The log's key from a PKCS8 PEM file of mode 0600. Raises `StoreUnavailable`."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise StoreUnavailable(detail="others may read the log's key file")
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise StoreUnavailable(detail="the log's key can not be read") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise StoreUnavailable(detail="the log's key is not Ed25519")
    return key


def _prove(connection: Connection, index: int, size: int | None) -> Logged:
    found = queries.checkpoint(connection, size)
    if found is None or not 0 <= index < found[0]:
        raise NotFound
    signed, note = found
    entry = queries.entry(connection, index)
    if entry is None:
        raise NotFound
    steps = logtree.path_places(index, signed)
    nodes = queries.nodes(connection, {place for step in steps for place in step})
    return Logged(entry=entry.data, index=index, path=logtree.path_hashes(steps, nodes), checkpoint=note)
