"""The highest sequence of a tenant's key set: durable first, remembered then, and never lowered."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet.core.errors import StoreUnavailable
from carnet.core.keyset import TenantKey, TenantKeySet
from gateway.keysets import KeySets
from gateway.storage import queries
from tests.fixtures.stored import TENANT, open_store

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


def key_set(sequence: int, tenant_id: bytes = TENANT) -> TenantKeySet:
    keys = (TenantKey(public=b"public", not_after_ns=2),)
    return TenantKeySet(payload=b"", tenant_id=tenant_id, sequence=sequence, expires_ns=2, keys=keys)


async def test_what_was_seen_is_there_after_a_restart_and_never_falls(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db", KEY)
    found = await KeySets.load(store)
    assert found.seen(TENANT) == 0
    for sequence in (2, 7, 3):
        await found.note(key_set(sequence))
    await found.note(key_set(1, bytes(16)))
    assert (found.seen(TENANT), found.seen(bytes(16))) == (7, 1)
    await store.close()
    store = await open_store(tmp_path / "store.db", KEY)
    again = await KeySets.load(store)
    assert (again.seen(TENANT), again.seen(bytes(16))) == (7, 1)
    await store.close()


async def test_a_sequence_that_could_not_be_kept_is_not_taken_for_kept(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db", KEY)
    found = await KeySets.load(store)
    await store.close()
    for _ in range(2):
        # The second time too: whoever was told of a failure and tries again is not let past what was never written.
        with pytest.raises(StoreUnavailable):
            await found.note(key_set(2))
    assert found.seen(TENANT) == 0


async def test_a_set_that_was_seen_costs_no_write(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db", KEY)
    found = await KeySets.load(store)
    await found.note(key_set(2))
    await store.close()
    await found.note(key_set(2))
    store = await open_store(tmp_path / "store.db", KEY)
    assert await store.read(queries.key_sequences) == {TENANT: 2}
    await store.close()
