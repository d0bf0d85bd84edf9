"""Lives: one way to change a job, whole, under its lock, as it is stored."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet.core.errors import IllegalTransition, LeaseLost
from carnet.core.job import JobState
from carnet.core.lease import grant_lease
from carnet.core.lifecycle import (
    AttemptClosed,
    AttemptLost,
    CancelAsked,
    Claimed,
    DeadlinePassed,
    DeniedForAll,
    Effect,
    Enqueue,
    Event,
    RecipientDenied,
    RecipientGone,
)
from gateway.bells import Bells
from gateway.lives import Lives, kind_of
from gateway.metrics import Metrics
from gateway.storage import queries
from gateway.storage.operations import Batch, CountVolumes
from gateway.storage.records import Conflict, StoredJob, StoredVolume
from gateway.storage.store import SqliteStore
from tests.fixtures import stored


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await stored.open_store(tmp_path / "gateway.db", Ed25519PrivateKey.generate())
    await store.write(stored.decided())
    yield store
    await store.close()


@pytest.fixture
def lives(store: SqliteStore) -> Lives:
    return Lives(store, Bells(), Metrics(), clock=lambda: 5)


async def accepted(store: SqliteStore, lives: Lives) -> StoredJob:
    job = (await store.write(stored.accepted(stored.job()))).jobs[0]
    lives.adopt(job)
    return job


async def test_a_step_is_a_row_an_event_and_a_leaf(store: SqliteStore, lives: Lives) -> None:
    job = await accepted(store, lives)
    seen: list[tuple[JobState, JobState, tuple[Effect, ...]]] = []
    lives.on_step = lambda before, after, effects: seen.append((before.life.state, after.life.state, effects))
    written = await lives.step(job.key, Claimed(spiffe_id=stored.RUNNER))
    assert written.jobs[0] == await store.job(job.key) == lives.find(job.key)
    events = await store.read(queries.events, job.key, start=0, limit=10)
    assert [event.event.kind for event in events] == ["accepted", "claimed"]
    entries = await store.read(queries.entries_of, job.key)
    assert [entry.kind for entry in entries] == ["job.accepted", "job.claimed"]
    assert seen[0][:2] == (JobState.QUEUED, JobState.DISPATCHING)


async def test_a_lost_attempt_says_why_in_its_event(store: SqliteStore, lives: Lives) -> None:
    job = await accepted(store, lives)
    job = replace(job, life=replace(job.life, contenders=(job.life.contenders[0],)))
    await lives.step(job.key, Claimed(spiffe_id=stored.RUNNER))
    await lives.step(job.key, AttemptLost(reason="LEASE_EXPIRED"))
    events = await store.read(queries.events, job.key, start=0, limit=10)
    assert events[-1].event.reason == "LEASE_EXPIRED"


async def test_a_fence_is_held_before_anything_else(store: SqliteStore, lives: Lives) -> None:
    job = await accepted(store, lives)

    def fence(_: StoredJob) -> None:
        raise LeaseLost

    with pytest.raises(LeaseLost):
        await lives.step(job.key, CancelAsked(), fence=fence)
    assert lives.find(job.key) == await store.job(job.key) == job


async def test_an_ended_job_takes_no_step_and_leaves_no_lock(store: SqliteStore, lives: Lives) -> None:
    job = await accepted(store, lives)
    await lives.step(job.key, CancelAsked())
    for _ in range(2):
        with pytest.raises(IllegalTransition):
            await lives.step(job.key, CancelAsked())
    assert lives.all() == ()
    assert not lives._locks


async def test_a_caller_that_hangs_up_in_a_step_leaves_memory_and_rows_alike(store: SqliteStore, lives: Lives) -> None:
    job = await accepted(store, lives)
    task = asyncio.create_task(lives.step(job.key, CancelAsked()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    row = await store.job(job.key)
    assert row is not None
    assert row.life.state is JobState.CANCELLED
    assert lives.find(job.key) is None


async def test_what_another_hand_changed_is_read_again(store: SqliteStore, lives: Lives) -> None:
    job = await accepted(store, lives)
    await store.write(stored.stepped(job, JobState.NEEDS_RECIPIENTS))
    with pytest.raises(Conflict):
        await lives.step(job.key, Claimed(spiffe_id=stored.RUNNER))
    assert lives.find(job.key) == await store.job(job.key)
    await lives.step(job.key, CancelAsked())


async def test_steps_of_one_job_take_turns(store: SqliteStore, lives: Lives) -> None:
    job = await accepted(store, lives)
    results = await asyncio.gather(
        *(lives.step(job.key, Claimed(spiffe_id=stored.RUNNER)) for _ in range(5)), return_exceptions=True
    )
    assert [isinstance(result, IllegalTransition) for result in results].count(True) == 4


async def test_a_grant_leads_to_its_job_for_as_long_as_it_is_held(store: SqliteStore, lives: Lives) -> None:
    job = await accepted(store, lives)
    await lives.step(job.key, Claimed(spiffe_id=stored.RUNNER))
    lease = grant_lease(attempt=1, spiffe_id=stored.RUNNER, grant_digest=b"g" * 32, permit_until_ns=10**18, now_ns=1)
    await lives.amend(job.key, lambda current: (replace(current, lease=lease), ()))
    assert lives.of_grant(b"g" * 32).key == job.key
    with pytest.raises(LeaseLost):
        lives.of_grant(b"h" * 32)
    await lives.step(job.key, AttemptLost(reason="LEASE_EXPIRED"))
    with pytest.raises(LeaseLost):
        lives.of_grant(b"g" * 32)


async def test_after_a_start_every_job_that_has_not_ended_is_there(store: SqliteStore, lives: Lives) -> None:
    first, second = await accepted(store, lives), await accepted(store, lives)
    await lives.step(second.key, CancelAsked())
    again = Lives(store, Bells(), Metrics(), clock=lambda: 6)
    assert [job.key for job in await again.load()] == [first.key]


@pytest.mark.parametrize(
    ("events", "left"),
    [
        ((CancelAsked(),), 0),
        ((DeniedForAll(),), 0),
        ((DeadlinePassed(),), 0),
        ((RecipientDenied(spiffe_id=stored.RUNNER), CancelAsked()), 0),
        ((RecipientDenied(spiffe_id=stored.RUNNER),), 7),
        ((Claimed(spiffe_id=stored.RUNNER), AttemptLost(reason="RUNNER_GONE"), CancelAsked()), 7),
        ((Claimed(spiffe_id=stored.RUNNER), CancelAsked(), AttemptClosed()), 7),
    ],
    ids=["cancelled", "denied", "expired", "nobody, cancelled", "waits", "cancelled after an attempt", "stopped"],
)
async def test_what_a_job_counted_is_taken_back_where_it_ends_without_an_attempt(
    store: SqliteStore, lives: Lives, events: tuple[Event, ...], left: int
) -> None:
    job = await accepted(store, lives)
    volume = StoredVolume(counterparty="gpu-fr.example", category="health", records=7, created_ns=5)
    await store.write(Batch(operations=(CountVolumes(key=job.key, volumes=(volume,)),)))
    for event in events:
        await lives.step(job.key, event)
    assert sum(v.records for v in await store.read(queries.volumes, job.key.tenant_id, since_ns=0)) == left


async def test_an_end_that_is_not_written_takes_nothing_back(store: SqliteStore, lives: Lives) -> None:
    job = await accepted(store, lives)
    volume = StoredVolume(counterparty="gpu-fr.example", category="health", records=7, created_ns=5)
    await store.write(Batch(operations=(CountVolumes(key=job.key, volumes=(volume,)),)))
    await store.write(stored.stepped(job, JobState.NEEDS_RECIPIENTS))
    with pytest.raises(Conflict):
        await lives.step(job.key, CancelAsked())
    assert sum(v.records for v in await store.read(queries.volumes, job.key.tenant_id, since_ns=0)) == 7
    await lives.step(job.key, CancelAsked())
    assert await store.read(queries.volumes, job.key.tenant_id, since_ns=0) == ()


def test_events_are_named_in_words() -> None:
    assert kind_of(AttemptLost(reason="x")) == "attempt_lost"
    assert kind_of(RecipientGone(spiffe_id="x")) == "recipient_gone"
    assert Enqueue() == Enqueue()
