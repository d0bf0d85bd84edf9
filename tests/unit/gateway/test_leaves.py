"""Finding leaves again, with proofs that verify."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet.core.audit import check_logged
from carnet.core.errors import NotFound
from gateway.auditlog import AuditLog
from gateway.leaves import leaf_about, leaf_of, size_of
from gateway.storage.store import SqliteStore
from tests.fixtures import stored

KEY = Ed25519PrivateKey.generate()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await stored.open_store(tmp_path / "gateway.db", KEY)
    await store.write(stored.decided())
    yield store
    await store.close()


async def test_a_job_s_leaf_is_proven_under_the_newest_checkpoint(store: SqliteStore) -> None:
    job = stored.job()
    (written,) = (await store.write(stored.accepted(job))).logged
    await store.write(stored.accepted(stored.job()))
    found = await leaf_of(store, AuditLog(store), job.key, "job.accepted")
    assert (found.entry, found.index) == (written.entry, written.index)
    assert size_of(found.checkpoint) == 3
    check_logged(found.entry, found.index, found.path, found.checkpoint, origin=stored.ORIGIN, public=KEY.public_key())


async def test_a_leaf_is_proven_under_the_very_checkpoint_that_is_asked_for(store: SqliteStore) -> None:
    before = (await store.write(stored.accepted(stored.job()))).logged[0].checkpoint
    await store.write(stored.accepted(stored.job()))
    found = await leaf_about(store, AuditLog(store), stored.DECISION, checkpoint=before)
    assert found.checkpoint == before
    check_logged(found.entry, found.index, found.path, found.checkpoint, origin=stored.ORIGIN, public=KEY.public_key())


async def test_what_is_not_in_the_log_is_not_found(store: SqliteStore) -> None:
    job = stored.job()
    await store.write(stored.accepted(job))
    with pytest.raises(NotFound):
        await leaf_of(store, AuditLog(store), job.key, "job.outcome")
    with pytest.raises(NotFound):
        await leaf_about(store, AuditLog(store), bytes(32))
