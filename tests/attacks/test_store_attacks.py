"""Attacks through the store's front door: another tenant's rows, another job's place, a second writer."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import bindparam, update

from carnet.core.errors import JobIdTaken, StoreUnavailable
from carnet.core.job import JobState
from gateway.storage import changes, queries, tables
from gateway.storage import store as storing
from gateway.storage.gathering import Gathering
from gateway.storage.operations import Batch, InsertAttempt, InsertJob, SetReceipt, UpdateJob, Written
from gateway.storage.records import Conflict, StoredJob
from gateway.storage.store import SqliteStore
from tests.fixtures.stored import TENANT, accepted, attempt, decided, documents, job, open_store, stepped

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER = b"\xff" * 16


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    found = await open_store(tmp_path / "store.db", KEY)
    await found.write(decided())
    yield found
    await found.close()


async def accept(store: SqliteStore, found: StoredJob) -> StoredJob:
    return (await store.write(accepted(found))).jobs[0]


async def test_a_job_id_of_another_tenant_reads_nothing(store: SqliteStore) -> None:
    stored = await accept(store, job())
    await store.write(Batch(operations=(InsertAttempt(attempt=attempt(stored.key)),)))
    foreign = replace(stored.key, tenant_id=OTHER)
    assert await store.job(foreign) is None
    assert await store.documents(foreign) is None
    assert await store.attempt(foreign, 1) is None
    assert await store.read(queries.events, foreign) == ()
    assert await store.read(queries.jobs_of, OTHER) == ()
    # Control: with the right tenant all of it is there.
    assert await store.job(stored.key) == stored
    assert await store.documents(stored.key) == documents()
    assert await store.read(queries.jobs_of, TENANT) == (stored,)


async def test_the_same_job_id_of_another_tenant_is_another_job(store: SqliteStore) -> None:
    mine = await accept(store, job())
    theirs = await accept(store, job(mine.key.job_id, tenant_id=OTHER, manifest=b"other"))
    assert await store.job(mine.key) == mine
    assert await store.job(theirs.key) == theirs


async def test_a_second_manifest_can_not_take_a_jobs_place(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = await accept(store, job())
    intruder = accepted(replace(mine, manifest_digest=bytes(32), version=0, events_next=0))
    with pytest.raises(JobIdTaken):
        await store.write(intruder)
    assert await store.job(mine.key) == mine
    # It is the check that refuses it by name; behind it stands the key of the table.
    monkeypatch.setattr(changes, "repeated", lambda *_: None)
    with pytest.raises(Conflict):
        await store.write(intruder)

    # Control: a store that takes the last manifest of a job for its manifest gives the job away.
    def replacing(gathering: Gathering, operation: InsertJob) -> StoredJob:
        mine = tables.jobs.c.job_id == operation.job.key.job_id
        values = {"manifest_digest": operation.job.manifest_digest}
        gathering.connection.execute(update(tables.jobs).where(mine).values(values))
        return operation.job

    monkeypatch.setattr(changes, "_insert_job", replacing)
    await store.write(intruder)
    stored = await store.job(mine.key)
    assert stored is not None
    assert stored.manifest_digest == bytes(32)


async def test_of_two_racing_steps_one_wins(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def race(stored: StoredJob) -> list[Written | BaseException]:
        states = (JobState.CANCELLED, JobState.SUCCEEDED)
        steps = (store.write(stepped(stored, state)) for state in states)
        return await asyncio.gather(*steps, return_exceptions=True)

    outcomes = await race(await accept(store, job()))
    assert sorted(type(o).__name__ for o in outcomes) == ["Conflict", "Written"]

    # Control: an UPDATE that does not look at the version lets both through, and the job ends twice.
    where = update(tables.jobs).where(tables.jobs.c.job_id == bindparam("of_job_id"))
    loose = where.where(bindparam("of_tenant_id") != b"", bindparam("of_version") > 0)
    monkeypatch.setattr(changes, "_UPDATE_JOB", loose)
    monkeypatch.setattr(changes, "_insert_events", lambda *_: None)
    outcomes = await race(await accept(store, job()))
    assert [type(o).__name__ for o in outcomes] == ["Written", "Written"]


async def test_a_late_receipt_can_not_replace_the_first(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    key = (await accept(store, job())).key
    first = SetReceipt(key=key, attempt=1, receipt=b"first")
    await store.write(Batch(operations=(InsertAttempt(attempt=attempt(key)), first)))
    with pytest.raises(Conflict):
        await store.write(Batch(operations=(replace(first, receipt=b"late"),)))
    found = await store.attempt(key, 1)
    assert found is not None
    assert found.receipt == b"first"
    # Control: a store that does not look at what is there lets the last one be the outcome.
    honest = changes._attempt
    monkeypatch.setattr(changes, "_attempt", lambda *names: replace(honest(*names), receipt=b""))
    await store.write(Batch(operations=(replace(first, receipt=b"late"),)))
    found = await store.attempt(key, 1)
    assert found is not None
    assert found.receipt == b"late"


async def test_a_failed_batch_leaves_neither_rows_nor_leaves(store: SqliteStore) -> None:
    stored = await accept(store, job())
    fine = accepted(job())
    inserted = fine.operations[0]
    late = UpdateJob(job=replace(stored, version=99))
    with pytest.raises(Conflict):
        await store.write(replace(fine, operations=(inserted, late)))
    assert await store.job(inserted.job.key) is None  # type: ignore[union-attr]
    assert len(await store.read(queries.entries)) == 2
    # Control: without the part that fails, all of it is there.
    await store.write(fine)
    assert await store.job(inserted.job.key) is not None  # type: ignore[union-attr]
    assert len(await store.read(queries.entries)) == 3


async def test_a_second_writer_of_one_log_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    first = await open_store(path, KEY)
    with pytest.raises(StoreUnavailable, match="Another gateway"):
        await open_store(path, KEY)
    # Control: it is the lock that refuses; without it a second gateway would sign the same sizes of the same log.
    with monkeypatch.context() as patched:
        patched.setattr(storing, "_locked", lambda found: os.open(found, os.O_RDONLY))
        await (await open_store(path, KEY)).close()
    await first.close()
    await (await open_store(path, KEY)).close()


async def test_secrets_and_values_are_not_in_errors(store: SqliteStore) -> None:
    stored = await accept(store, job())
    batch = Batch(operations=(InsertAttempt(attempt=replace(attempt(stored.key), grant=b"canary-grant")),) * 2)
    with pytest.raises(Conflict) as caught:
        await store.write(batch)
    assert "canary" not in caught.value.detail + caught.value.text + str(caught.value.__context__)
