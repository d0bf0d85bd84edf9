"""What the store promises, on real SQLite files."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from carnet.core import limits
from carnet.core.audit import check_logged
from carnet.core.errors import (
    FieldInvalid,
    JobIdTaken,
    NotFound,
    QuotaExceeded,
    RequestIdReused,
    StoreUnavailable,
)
from carnet.core.job import JobState
from carnet.core.lease import Lease
from gateway.storage import queries, tables
from gateway.storage import writer as writing
from gateway.storage.operations import (
    AppendLog,
    Batch,
    CountVolumes,
    DeleteWraps,
    ForgetRequests,
    InsertAddendum,
    InsertAttempt,
    InsertDecision,
    InsertWraps,
    Operation,
    RaiseKeySequence,
    ReleaseVolumes,
    RememberRequest,
    SetReceipt,
    SetStart,
    UpdateJob,
)
from gateway.storage.records import (
    Conflict,
    JobKey,
    NewEntry,
    NewEvent,
    NewLogRecord,
    SealedWrap,
    StoredJob,
    StoredVolume,
)
from gateway.storage.store import SqliteStore
from tests.fixtures.stored import (
    DECISION,
    ORIGIN,
    RUNNER,
    TENANT,
    accepted,
    attempt,
    decided,
    decision,
    documents,
    job,
    open_store,
    stepped,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    found = await open_store(tmp_path / "store.db", KEY)
    await found.write(decided())
    yield found
    await found.close()


def open_to_others(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.stat().st_mode & 0o077]


async def accept(store: SqliteStore, found: StoredJob) -> StoredJob:
    return (await store.write(accepted(found))).jobs[0]


async def do(store: SqliteStore, *operations: Operation) -> None:
    await store.write(Batch(operations=operations))


async def test_a_job_reads_back_as_it_was_written(store: SqliteStore) -> None:
    stored = await accept(store, job())
    assert (stored.version, stored.events_next) == (1, 1)
    assert await store.job(stored.key) == stored
    assert await store.documents(stored.key) == documents()
    assert await store.decision(DECISION) == decision()
    (event,) = await store.read(queries.events, stored.key)
    assert (event.index, event.event) == (0, NewEvent.of("accepted", stored.life, time_ns=1))


async def test_a_lease_and_a_cause_read_back(store: SqliteStore) -> None:
    stored = await accept(store, job())
    lease = Lease(attempt=1, spiffe_id=RUNNER, grant_digest=bytes(32), deadline_ns=5, permit_until_ns=6)
    life = replace(stored.life, state=JobState.CANCELLING, attempt=1, runner=RUNNER, cause=JobState.DENIED, reason="X")
    written = await store.write(Batch(operations=(UpdateJob(job=replace(stored, life=life, lease=lease)),)))
    assert await store.job(stored.key) == written.jobs[0]
    assert written.jobs[0].lease == lease
    assert written.jobs[0].life == life


async def test_the_tables_are_those_of_the_newest_migration(store: SqliteStore) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))

    assert await store.read(differences) == []


async def test_the_database_syncs_every_commit_and_only_its_owner_reads_it(store: SqliteStore, tmp_path: Path) -> None:
    def pragma(connection: Connection, name: str) -> object:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()

    assert await store.read(pragma, "journal_mode") == "wal"
    assert await store.read(pragma, "synchronous") == 2
    assert await store.read(pragma, "foreign_keys") == 1
    assert open_to_others(tmp_path) == []


async def test_the_same_job_again_changes_nothing(store: SqliteStore) -> None:
    found = job()
    first = await store.write(accepted(found))
    again = await store.write(accepted(found))
    assert (first.applied, again.applied) == (True, False)
    assert again.jobs == first.jobs
    assert again.logged == ()
    assert len(await store.read(queries.events, found.key)) == 1
    assert len(await store.read(queries.entries_of, found.key)) == 1


async def test_another_manifest_under_the_same_id_is_refused_and_nothing_of_it_is_kept(store: SqliteStore) -> None:
    stored = await accept(store, job())
    other = replace(stored, manifest_digest=bytes(32), version=0, events_next=0)
    with pytest.raises(JobIdTaken):
        await store.write(accepted(other))
    assert await store.job(stored.key) == stored
    assert len(await store.read(queries.entries_of, stored.key)) == 1


async def test_an_update_of_an_old_reading_conflicts(store: SqliteStore) -> None:
    stored = await accept(store, job())
    await store.write(stepped(stored, JobState.DISPATCHING))
    with pytest.raises(Conflict):
        await store.write(stepped(stored, JobState.CANCELLED))
    found = await store.job(stored.key)
    assert found is not None
    assert (found.life.state, found.version, found.events_next) == (JobState.DISPATCHING, 2, 2)
    with pytest.raises(NotFound):
        await store.write(stepped(job(), JobState.RUNNING))


async def test_events_are_numbered_without_gaps(store: SqliteStore) -> None:
    stored = await accept(store, job())
    for state in (JobState.DISPATCHING, JobState.RUNNING, JobState.SUCCEEDED):
        stored = (await store.write(stepped(stored, state))).jobs[0]
    found = await store.read(queries.events, stored.key)
    assert [event.index for event in found] == [0, 1, 2, 3]
    assert [e.event.kind for e in await store.read(queries.events, stored.key, start=3)] == ["succeeded"]


async def test_a_request_is_answered_from_memory_for_a_day(store: SqliteStore) -> None:
    day = limits.request_id_seconds * 10**9
    asked = RememberRequest(
        tenant_id=TENANT, request_id=bytes(16), body_digest=bytes(32), response=b"first", created_ns=7
    )
    entry = NewEntry(kind="x", data=b"x")
    assert (await store.write(Batch(operations=(asked,), entries=(entry,)))).applied
    again = await store.write(Batch(operations=(replace(asked, response=b"2", created_ns=8),), entries=(entry,)))
    assert (again.applied, again.response, again.logged) == (False, b"first", ())
    with pytest.raises(RequestIdReused):
        await do(store, replace(asked, body_digest=b"\1" * 32))
    assert await store.read(queries.request, TENANT, bytes(16)) == (bytes(32), b"first")
    late = replace(asked, body_digest=b"\1" * 32, response=b"new", created_ns=7 + day)
    assert (await store.write(Batch(operations=(late,)))).applied
    await do(store, ForgetRequests(before_ns=8 + day))
    assert await store.read(queries.request, TENANT, bytes(16)) is None


async def test_start_and_receipt_are_written_once(store: SqliteStore) -> None:
    key = (await accept(store, job())).key
    await do(store, InsertAttempt(attempt=attempt(key)))
    assert await store.attempt(key, 1) == attempt(key)
    await do(store, SetStart(key=key, attempt=1, start=b"start"))
    await do(store, SetStart(key=key, attempt=1, start=b"start"), SetReceipt(key=key, attempt=1, receipt=b"receipt"))
    with pytest.raises(Conflict):
        await do(store, SetStart(key=key, attempt=1, start=b"another"))
    with pytest.raises(Conflict):
        await do(store, SetReceipt(key=key, attempt=1, receipt=b"another"))
    with pytest.raises(NotFound):
        await do(store, SetStart(key=key, attempt=2, start=b"start"))
    with pytest.raises(Conflict):
        await do(store, InsertAttempt(attempt=attempt(key)))
    found = await store.read(queries.attempt_by_grant, attempt(key).grant_digest)
    assert found == replace(attempt(key), start=b"start", receipt=b"receipt")


def record(sequence: int, *, final: bool = False, size: int = 10) -> NewLogRecord:
    return NewLogRecord(sequence=sequence, stream=0 if final else 1, final=final, ciphertext=bytes([sequence]) * size)


async def test_a_log_resumes_where_it_is_durable_and_goes_on_over_attempts(store: SqliteStore) -> None:
    key = (await accept(store, job())).key
    await do(store, InsertAttempt(attempt=attempt(key)), InsertAttempt(attempt=attempt(key, 2)))
    await do(store, AppendLog(key=key, attempt=1, records=(record(0), record(1))))
    await do(store, AppendLog(key=key, attempt=1, records=(record(1), record(2))))
    with pytest.raises(FieldInvalid):
        await do(store, AppendLog(key=key, attempt=1, records=(record(4),)))
    await do(store, AppendLog(key=key, attempt=2, records=(record(0), record(1, final=True))))
    with pytest.raises(Conflict):
        await do(store, AppendLog(key=key, attempt=2, records=(record(2),)))
    found = await store.read(queries.log_records, key)
    assert [(r.index, r.attempt, r.record.sequence) for r in found] == [
        (0, 1, 0),
        (1, 1, 1),
        (2, 1, 2),
        (3, 2, 0),
        (4, 2, 1),
    ]
    assert found[4].record == record(1, final=True)
    stored = await store.attempt(key, 1)
    assert stored is not None
    assert (stored.log_next, stored.log_bytes) == (3, 30)


async def test_a_log_has_a_bound(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "log_bytes_max", 50)
    key = (await accept(store, job())).key
    await do(store, InsertAttempt(attempt=attempt(key)))
    await do(store, AppendLog(key=key, attempt=1, records=(record(0, size=100),)))
    with pytest.raises(QuotaExceeded):
        await do(store, AppendLog(key=key, attempt=1, records=(record(1, size=1),)))


async def test_wraps_are_there_until_they_are_deleted(store: SqliteStore) -> None:
    key = (await accept(store, job())).key
    day = date(2026, 11, 22)
    wraps = tuple(SealedWrap(kid=bytes([i]) * 32, day=day, data=bytes([i])) for i in range(2))
    await do(store, InsertWraps(key=key, wraps=wraps))
    assert await store.wrap(key, wraps[1].kid) == wraps[1]
    assert await store.read(queries.wrap_days) == {day}
    await do(store, DeleteWraps(key=key))
    assert await store.wrap(key, wraps[1].kid) is None
    assert await store.read(queries.wrap_days) == frozenset()


async def test_what_a_job_counted_is_there_until_it_is_taken_back(store: SqliteStore) -> None:
    kept, released = [(await accept(store, job())).key for _ in range(2)]
    volume = StoredVolume(counterparty="a.example", category="health", records=5, created_ns=1)
    for key in (kept, released):
        await do(store, CountVolumes(key=key, volumes=(volume,)))
    assert [v.records for v in await store.read(queries.volumes, kept.tenant_id, since_ns=0)] == [10]
    for _ in range(2):
        await do(store, ReleaseVolumes(key=released))
        assert [v.records for v in await store.read(queries.volumes, kept.tenant_id, since_ns=0)] == [5]


async def test_addenda_come_with_the_documents_in_order(store: SqliteStore) -> None:
    key = (await accept(store, job())).key
    one = InsertAddendum(key=key, sequence=1, statement=b"one", tenant_key_set=b"first set")
    await do(store, one)
    await do(store, replace(one, sequence=2, statement=b"two", tenant_key_set=b"newest set"))
    with pytest.raises(Conflict):
        await do(store, replace(one, sequence=2, statement=b"three"))
    # The key set is the one that came last: every addendum is signed by a key of it, or is refused.
    assert await store.documents(key) == replace(documents(), addenda=(b"one", b"two"), tenant_key_set=b"newest set")


async def test_the_highest_sequence_of_a_key_set_is_kept_for_each_tenant(store: SqliteStore) -> None:
    for tenant_id, sequence in ((TENANT, 3), (bytes(16), 1), (TENANT, 2), (TENANT, 5), (TENANT, 5)):
        await do(store, RaiseKeySequence(tenant_id=tenant_id, sequence=sequence))
    assert await store.read(queries.key_sequences) == {TENANT: 5, bytes(16): 1}


async def test_jobs_are_listed_newest_first_page_by_page(store: SqliteStore) -> None:
    made = [await accept(store, job(created_ns=1 + i // 2)) for i in range(7)]
    await accept(store, job(tenant_id=b"\1" * 16, created_ns=99))
    expected = sorted(made, key=lambda j: (j.created_ns, j.key.job_id), reverse=True)
    found: list[StoredJob] = []
    while len(found) < 7:
        after = queries.After(created_ns=found[-1].created_ns, job_id=found[-1].key.job_id) if found else None
        page = await store.read(queries.jobs_of, TENANT, after=after, limit=3)
        assert 0 < len(page) <= 3
        found += page
    assert found == expected


async def test_recovery_finds_every_job_that_has_not_ended(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "page_size_max", 3)
    made = [await accept(store, job()) for _ in range(7)]
    await store.write(stepped(made[0], JobState.CANCELLED))
    states = {state for state in JobState if not state.terminal}
    found = await store.jobs_in_states(states)
    assert {j.key for j in found} == {j.key for j in made[1:]}
    waiting = await store.read(queries.jobs_waiting_for, RUNNER, limit=100)
    assert {j.key for j in waiting} <= {j.key for j in made[1:]}
    assert len(waiting) == 3


async def test_every_leaf_is_proven_by_what_the_write_returned(store: SqliteStore) -> None:
    written = await asyncio.gather(*(store.write(accepted(job())) for _ in range(50)))
    assert sorted(w.logged[0].index for w in written) == list(range(1, 51))
    for found in written:
        logged = found.logged[0]
        check_logged(logged.entry, logged.index, logged.path, logged.checkpoint, origin=ORIGIN, public=KEY.public_key())
        assert logged.entry == b"accepted " + found.jobs[0].key.job_id


async def test_batches_that_wait_together_share_one_checkpoint(store: SqliteStore) -> None:
    written = await asyncio.gather(*(store.write(accepted(job())) for _ in range(100)))
    assert len({w.logged[0].checkpoint for w in written}) < 50


async def test_a_batch_that_fails_does_not_fail_its_neighbours(store: SqliteStore) -> None:
    taken = await accept(store, job())
    batches = []
    for i in range(60):
        broken = replace(taken, manifest_digest=bytes(32)) if i % 3 == 0 else job()
        orphan = Batch(
            operations=(*accepted(job()).operations, InsertAttempt(attempt=replace(attempt(taken.key), kid=bytes(32)))),
            entries=(NewEntry(kind="x", data=b"never"),),
        )
        batches += [accepted(broken), orphan if i == 7 else accepted(job())]
    await do(store, InsertAttempt(attempt=attempt(taken.key)))
    outcomes = await asyncio.gather(*map(store.write, batches), return_exceptions=True)
    failed = [type(o) for o in outcomes if isinstance(o, BaseException)]
    assert sorted(f.__name__ for f in failed) == ["Conflict"] + ["JobIdTaken"] * 20
    leaves = await store.read(queries.entries, start=0, limit=1000)
    assert [leaf.index for leaf in leaves] == list(range(2 + 120 - 21))
    assert b"never" not in [leaf.data for leaf in leaves]
    for outcome, batch in zip(outcomes, batches, strict=True):
        inserted = batch.operations[0]
        if not isinstance(outcome, BaseException):
            assert await store.job(inserted.job.key) == outcome.jobs[0]  # type: ignore[union-attr]


async def test_a_full_queue_is_said_at_once(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "store_queue_max", 8)
    outcomes = await asyncio.gather(*(store.write(accepted(job())) for _ in range(500)), return_exceptions=True)
    refused = [o for o in outcomes if isinstance(o, StoreUnavailable)]
    done = [o for o in outcomes if not isinstance(o, BaseException)]
    assert refused
    assert done
    assert len(refused) + len(done) == 500
    assert len(await store.read(queries.entries, limit=1000)) == 1 + len(done)


async def test_what_waits_is_bounded_in_bytes(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "queue_bytes_max", 10)
    with pytest.raises(StoreUnavailable):
        await store.write(accepted(job()))


async def test_a_caller_that_goes_away_leaves_its_batch(store: SqliteStore) -> None:
    found = job()
    task = asyncio.ensure_future(store.write(accepted(found)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.write(accepted(job()))
    assert await store.job(found.key) is not None


async def test_closing_writes_what_waits_and_takes_nothing_more(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db", KEY)
    await store.write(decided())
    waiting = [asyncio.ensure_future(store.write(accepted(job()))) for _ in range(40)]
    await asyncio.sleep(0)
    await store.close()
    assert len({w.logged[0].index for w in await asyncio.gather(*waiting)}) == 40
    with pytest.raises(StoreUnavailable):
        await store.write(accepted(job()))
    with pytest.raises(StoreUnavailable):
        await store.job(JobKey(tenant_id=TENANT, job_id=bytes(16)))


async def test_a_store_opens_again_with_all_that_it_had(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db", KEY)
    await store.write(decided())
    stored = await accept(store, job())
    await store.close()
    again = await open_store(tmp_path / "store.db", KEY)
    assert await again.job(stored.key) == stored
    assert (await again.write(accepted(job()))).logged[0].index == 2
    await again.close()


async def test_a_database_that_another_process_keeps_locked_is_unavailable_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.storage.store._busy_ms", 50)
    store = await open_store(tmp_path / "store.db", KEY)
    await store.write(decided())
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        await store.write(accepted(job()))
    other.execute("ROLLBACK")
    other.close()
    assert (await store.write(accepted(job()))).logged[0].index == 1
    await store.close()


async def test_an_unknown_decision_is_refused(store: SqliteStore) -> None:
    with pytest.raises(Conflict):
        await store.write(accepted(replace(job(), decision_digest=bytes(32))))
    await do(store, InsertDecision(decision=decision(bytes(32))))
    assert (await store.write(accepted(replace(job(), decision_digest=bytes(32))))).applied


async def test_a_batch_is_bounded() -> None:
    with pytest.raises(FieldInvalid):
        Batch(entries=(NewEntry(kind="x", data=b""),) * 65)
    with pytest.raises(FieldInvalid):
        Batch(operations=(*accepted(job()).operations, *accepted(job()).operations))
    with pytest.raises(FieldInvalid):
        NewEntry(kind="x", data=bytes(65_536))
