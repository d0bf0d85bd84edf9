"""Key sets: the highest sequence of each tenant's that this gateway has seen, one table for all that takes them.

- A set that is older than one seen, by whichever call it came, is refused: a key that was removed does not come back.
- It is durable before anything is taken in under the set, and read again at a start; a restart forgets nothing.
- Only a set that its tenant's pinned root signed raises the number.

    written = open_written(..., sequence_seen=key_sets.seen(tenant_id))
    await key_sets.note(written.key_set)
"""

from typing import Self

from carnet.core.keyset import TenantKeySet
from gateway.storage import queries
from gateway.storage.operations import Batch, RaiseKeySequence
from gateway.storage.store import Store


class KeySets:
    """The table of one gateway process."""

    def __init__(self, store: Store, sequences: dict[bytes, int]) -> None:
        self._store = store
        self._sequences = sequences

    @classmethod
    async def load(cls, store: Store) -> Self:
        """The table as it was left."""
        return cls(store, await store.read(queries.key_sequences))

    def seen(self, tenant_id: bytes) -> int:
        """The highest sequence that was seen of a tenant; 0 where there was none."""
        return self._sequences.get(tenant_id, 0)

    async def note(self, key_set: TenantKeySet) -> None:
        """Remember a verified set; it is durable on return. Raises `StoreUnavailable`."""
        tenant_id, sequence = key_set.tenant_id, key_set.sequence
        if sequence > self.seen(tenant_id):
            await self._store.write(Batch(operations=(RaiseKeySequence(tenant_id=tenant_id, sequence=sequence),)))
            self._sequences[tenant_id] = max(sequence, self.seen(tenant_id))
