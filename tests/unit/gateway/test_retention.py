"""Results stay as long as the decision allows, and no longer; payloads of ended jobs go at once."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet.core import limits
from carnet.core.decision import Enforcer, Obligation
from carnet.core.job import JobState
from gateway import retention
from gateway.retention import DAY_NS, days_of
from gateway.storage.blobs import BlobStore, Payload, Result
from gateway.storage.operations import Batch, InsertDecision
from gateway.storage.records import JobKey, StoredJob
from gateway.storage.segments import Position
from gateway.storage.store import SqliteStore
from tests.fixtures.stored import accepted, decision, job, open_store, stepped
from tests.unit.core.test_decision_mutants import encoded

DAYS = 3


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A store and its blobs, under a decision that lets results be kept for three days."""

    store: SqliteStore
    blobs: BlobStore
    folder: Path

    async def job(self, state: JobState | None) -> StoredJob:
        """A job with a payload and the results of one attempt; ended, where a state is given."""
        found = (await self.store.write(accepted(job()))).jobs[0]
        found = replace(found, life=replace(found.life, attempt=1))
        (self.folder / Payload(key=found.key, manifest_digest=found.manifest_digest).path).mkdir(parents=True)
        upload = await self.blobs.results(Result(key=found.key, attempt=1))
        await upload.write(Position(), b"sealed")
        await upload.close()
        return found if state is None else (await self.store.write(stepped(found, state))).jobs[0]

    async def sweep(self, found: StoredJob, days: float) -> int:
        """A sweep so many days after a job was last heard of."""
        return await retention.sweep(self.store, self.blobs, now_ns=found.updated_ns + int(days * DAY_NS))

    def has(self, found: StoredJob) -> tuple[bool, bool]:
        """Whether payload and results of a job are there."""
        payload = Payload(key=found.key, manifest_digest=found.manifest_digest)
        return (self.folder / payload.path).exists(), (self.folder / Result(key=found.key, attempt=1).path).exists()


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    store = await open_store(tmp_path / "store.db", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    duties = [
        {"type": "retention_days_max", "value": DAYS, "rule": "R1", "citations": [], "enforcer": "gateway"},
    ]
    body = encoded(obligations=duties)
    await store.write(Batch(operations=(InsertDecision(decision=replace(decision(), body=body)),)))
    blobs = BlobStore(tmp_path / "blobs")
    yield Kept(store=store, blobs=blobs, folder=tmp_path / "blobs")
    blobs.close()
    await store.close()


async def test_the_payload_of_an_ended_job_goes_at_once_and_its_results_when_their_days_are_over(kept: Kept) -> None:
    found = await kept.job(JobState.FAILED)
    assert await kept.blobs.jobs() == (found.key,)
    assert await kept.sweep(found, DAYS - 0.01) == 0
    assert kept.has(found) == (False, True)
    assert await kept.sweep(found, DAYS) == 1
    assert kept.has(found) == (False, False)
    assert await kept.blobs.jobs() == ()
    assert not list(kept.folder.glob("payloads/*/*")), "nothing is left of it, not even its folder"


async def test_a_job_that_goes_on_keeps_all_that_it_has_however_old(kept: Kept) -> None:
    found = await kept.job(None)
    assert await kept.sweep(found, 1000) == 0
    assert kept.has(found) == (True, True)


async def test_what_belongs_to_no_stored_job_is_another_sweep_s_matter(kept: Kept) -> None:
    coming = Payload(key=JobKey(tenant_id=bytes(16), job_id=b"\1" * 16), manifest_digest=bytes(32))
    (kept.folder / coming.path).mkdir(parents=True)
    found = await kept.job(JobState.FAILED)
    await kept.sweep(found, DAYS)
    assert (kept.folder / coming.path).exists(), "its job may be stored a moment later"


def duty(days: int) -> Obligation:
    return Obligation(type="retention_days_max", value=days, rule="R", citations=("C",), enforcer=Enforcer.GATEWAY)


def test_without_a_duty_results_stay_for_the_default() -> None:
    assert days_of(()) == limits.retention_days


def test_the_shortest_duty_wins() -> None:
    assert days_of((duty(7), duty(3))) == 3


def test_a_longer_duty_does_not_lengthen_the_default() -> None:
    assert days_of((duty(3650),)) == limits.retention_days
