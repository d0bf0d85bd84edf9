"""Intake: what was accepted goes on, also where the gateway was told that its commit had failed."""

import asyncio
import time
from pathlib import Path

import pytest

from carnet import client as sdk
from carnet import transfers
from carnet.client import Client
from carnet.core.errors import GatewayUnavailable, StoreUnavailable
from carnet.core.facts import parse_facts
from carnet.core.job import JobState
from carnet.outbox import SealedJob, seal
from gateway.storage.operations import Batch, InsertJob, Written
from gateway.storage.store import SqliteStore
from tests.fixtures.inprocess import gateway
from tests.fixtures.malicious_gateway import running
from tests.fixtures.parties import TEMPLATE, Cage, Parties, facts, work


async def sealed(parties: Parties, client: Client) -> SealedJob:
    """A job for the French runner, once it is offered."""
    data = facts()
    for _ in range(200):
        prepared = await client.prepare(data)
        if prepared.runners:
            break
        await asyncio.sleep(0.05)
    return seal(
        work(data),
        prepared.decided,
        prepared.runners[:1],
        keys=parties.tenant,
        facts=parse_facts(data),
        template_digest=TEMPLATE,
        directory=parties.directory / "outbox",
        now_ns=time.time_ns(),
    )


async def test_a_job_that_could_not_be_sent_is_sent_by_another_process_of_the_client(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: object) -> None:
        raise GatewayUnavailable

    parties.mint()
    async with gateway(parties, tmp_path / "gateway", monkeypatch) as found, asyncio.timeout(60):
        found.policy.places = ("FR",)
        async with (
            Client(parties.context(found.enterprise)) as client,
            running(parties, parties.runners["FR"], found.runner, Cage(), tmp_path / "runner"),
        ):
            job = await sealed(parties, client)
            with monkeypatch.context() as patch:
                patch.setattr(sdk, "send", silent)
                with pytest.raises(GatewayUnavailable):
                    await client.submit(job)
            folder, digest = job.directory, job.manifest.digest
            del job
            async with Client(parties.context(found.enterprise)) as other:
                name = await other.submit(await other.load(folder))
            assert (await client.written(name)).manifest.digest == digest
            assert not folder.exists()


@pytest.mark.parametrize("again", [True, False], ids=["sent again", "not sent again"])
async def test_a_job_whose_commit_was_reported_as_failed_is_run_all_the_same(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    write, lost = SqliteStore.write, 0

    async def write_and_lose(store: SqliteStore, batch: Batch) -> Written:
        nonlocal lost
        written = await write(store, batch)
        if any(isinstance(operation, InsertJob) for operation in batch.operations) and not lost:
            lost += 1
            raise StoreUnavailable(detail="the disk answered too late")
        return written

    parties.mint()
    monkeypatch.setattr(SqliteStore, "write", write_and_lose)
    async with gateway(parties, tmp_path / "gateway", monkeypatch) as found, asyncio.timeout(60):
        found.policy.places = ("FR",)
        async with (
            Client(parties.context(found.enterprise)) as client,
            running(parties, parties.runners["FR"], found.runner, Cage(), tmp_path / "runner"),
        ):
            job = await sealed(parties, client)
            if again:
                await client.submit(job)
            else:
                monkeypatch.setattr(transfers, "AGAIN", ())
                with pytest.raises(StoreUnavailable):
                    await client.submit(job)
            name = f"tenants/{job.manifest.tenant_id.hex()}/jobs/{job.manifest.job_id.hex()}"
            for _ in range(400):
                if (found_state := (await client.job(name)).state).terminal:
                    break
                await asyncio.sleep(0.05)
            assert found_state is JobState.SUCCEEDED
    assert lost == 1
