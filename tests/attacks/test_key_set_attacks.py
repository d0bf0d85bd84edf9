"""Attacks with a tenant's older key sets: a key that its root has removed signs on, wherever the gateway looks away.

The thief holds a signing key that one set listed and the next one does not; all sets are signed by the tenant's root.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row

from carnet import authorship, statements
from carnet.authorship import open_written
from carnet.core.errors import CarnetError, CredentialInvalid
from carnet.core.keyset import TenantKey, TenantKeySet
from carnet.core.statement import Signer
from carnet.v1 import runners_pb2
from carnet.wire import signed_from_proto, signed_to_proto
from gateway.keysets import KeySets
from gateway.storage import rows
from gateway.storage.records import JobDocuments
from gateway.storage.store import Store
from tests.fixtures.client_double import ClientDouble, chunks, header, trailer
from tests.fixtures.gateway_process import Tenant, World, gateway_at, gateway_of
from tests.fixtures.parties import SECOND, nothing
from tests.fixtures.runner_double import RunnerDouble
from tests.fixtures.waiting import waiting_for

pytestmark = [pytest.mark.opa]

THIEF = Signer.generate()


def key_set(tenant: Tenant, sequence: int, *more: Signer) -> Any:
    """A set of the tenant's, signed by its root: its own key, and these."""
    root = Signer.from_pem((tenant.home / "root.key.pem").read_bytes())
    until_ns = time.time_ns() + 3600 * SECOND
    keys = tuple(TenantKey(public=key.public_der, not_after_ns=until_ns) for key in (tenant.signer, *more))
    unsigned = TenantKeySet(payload=b"", tenant_id=tenant.tenant_id, sequence=sequence, expires_ns=until_ns, keys=keys)
    return signed_to_proto(statements.KEY_SET.sign(unsigned, root)[1])


@asynccontextmanager
async def client_of(world: World, policy_url: str) -> AsyncIterator[ClientDouble]:
    """A client of a gateway of its own: what it has seen is this test's."""
    async with gateway_of(world, policy_url) as gateway, ClientDouble(gateway) as client:
        yield client


@asynccontextmanager
async def client_at(directory: Path, world: World, policy_url: str) -> AsyncIterator[ClientDouble]:
    """A client of the gateway whose store is in a folder, with a runner to seal for."""
    async with (
        gateway_at(directory, world, policy_url) as gateway,
        ClientDouble(gateway) as client,
        RunnerDouble(gateway) as runner,
    ):
        await runner.attach(slots=0)
        yield client


async def submit(client: ClientDouble, shown: Any, *, by: Signer | None = None) -> str:
    """An honest job under this key set; its manifest may be signed by another key."""
    sealed = await client.sealed()
    if by is not None:
        signed = statements.MANIFEST.sign(sealed.manifest, by)[1]
        sealed = replace(sealed, signed=signed)
    answer = await client.send([header(sealed), *chunks(sealed), trailer(sealed, tenant_key_set=shown)])
    return str(answer.job.name)


async def refused(client: ClientDouble, shown: Any) -> str:
    """The reason of a job that a thief signed, which is refused and leaves nothing."""
    before = client.gateway.rows("jobs")
    with pytest.raises(CarnetError) as caught:
        await submit(client, shown, by=THIEF)
    assert client.gateway.rows("jobs") == before
    return caught.value.reason


async def test_a_key_that_was_removed_adds_no_recipient_under_an_older_set(
    world: World, policy_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = world.hospital
    with_thief, without = key_set(tenant, 2, THIEF), key_set(tenant, 3)
    async with client_of(world, policy_url) as client, waiting_for(client) as waiting:
        await submit(client, without)
        stolen = waiting.saying(by=THIEF)
        stolen.tenant_key_set.CopyFrom(with_thief)
        assert await waiting.refused(stolen) == "CERT_INVALID"
        # Control: a gateway that remembers no sequence takes it, and offers the job to whom the thief named.
        monkeypatch.setattr(KeySets, "seen", lambda *_: 0)
        await client.call("AddRecipients", stolen)
        assert (await waiting.attached.offer()).addenda == [], "that is the job beside it"
        assert (await waiting.attached.offer()).addenda[0] == stolen.addendum


async def test_a_set_that_came_with_an_addendum_makes_every_older_one_useless(
    world: World, policy_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = world.hospital
    with_thief, without = key_set(tenant, 2, THIEF), key_set(tenant, 3)
    async with client_of(world, policy_url) as client, waiting_for(client) as waiting:
        await client.call("AddRecipients", waiting.request(tenant_key_set=without))
        assert await refused(client, with_thief) == "CERT_INVALID"
        # Control: it is the sequence alone that tells the sets apart.
        monkeypatch.setattr(authorship, "check_key_set", nothing)
        assert await submit(client, with_thief, by=THIEF)


async def test_a_restart_does_not_bring_a_removed_key_back(
    world: World, policy_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_thief, without = key_set(world.hospital, 2, THIEF), key_set(world.hospital, 3)
    async with client_at(tmp_path, world, policy_url) as client:
        assert await submit(client, with_thief, by=THIEF), "before the set without it, the key is the tenant's"
        await submit(client, without)
    async with client_at(tmp_path, world, policy_url) as client:
        assert await refused(client, with_thief) == "CERT_INVALID"

    # Control: a gateway that begins with an empty table believes the older set once more.
    async def empty(store: Store) -> KeySets:
        return KeySets(store, {})

    monkeypatch.setattr(KeySets, "load", empty)
    async with client_at(tmp_path, world, policy_url) as client:
        assert await submit(client, with_thief, by=THIEF)


async def test_a_refused_job_raises_the_sequence_all_the_same(world: World, policy_url: str, tmp_path: Path) -> None:
    """What was seen was seen: the thief can not keep the newer set away by spoiling the job that it came with."""
    with_thief, without = key_set(world.hospital, 2, THIEF), key_set(world.hospital, 3)
    async with client_at(tmp_path, world, policy_url) as client:
        sealed, other = await client.sealed(), await client.sealed()
        with pytest.raises(CarnetError) as caught:
            await client.send([header(other), *chunks(sealed), trailer(sealed, tenant_key_set=without)])
        assert caught.value.reason == "FACTS_MISMATCH"
        assert await refused(client, with_thief) == "CERT_INVALID"


def opened(world: World, offer: runners_pb2.Offer) -> authorship.Written:
    """An offer's documents, as a runner opens them."""
    return open_written(
        signed_from_proto(offer.tenant_key_set),
        signed_from_proto(offer.manifest),
        tuple(signed_from_proto(addendum) for addendum in offer.addenda),
        tenants=world.pins.tenants,
        now_ns=time.time_ns(),
    )


async def test_an_addendum_under_a_new_key_reaches_the_runner_with_the_set_that_lists_it(
    world: World, policy_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Signer.generate()
    shown = key_set(world.hospital, 2, new)
    async with client_of(world, policy_url) as client, waiting_for(client) as waiting:
        request = waiting.saying(by=new)
        request.tenant_key_set.CopyFrom(shown)
        await client.call("AddRecipients", request)
        offer = await waiting.attached.offer()
        assert opened(world, offer).key_set.sequence == 2
        await waiting.runner.finish(waiting.runner.attempt(offer))
        # The receipt file carries it too: whoever has only the first set could not verify the addendum.
        assert (await client.client.result(waiting.name)).succeeded
    # Control: with the set of the submission every runner refuses the job that its own client extended.
    honest = rows.documents_value

    def first_set(row: Row[tuple[rows.Cell, ...]], addenda: Any) -> JobDocuments:
        return replace(honest(row, addenda), tenant_key_set=row._mapping["tenant_key_set"])

    monkeypatch.setattr(rows, "documents_value", first_set)
    async with client_of(world, policy_url) as client, waiting_for(client) as waiting:
        request = waiting.saying(by=new)
        request.tenant_key_set.CopyFrom(shown)
        await client.call("AddRecipients", request)
        with pytest.raises(CredentialInvalid, match="No live key of the tenant has this id"):
            opened(world, await waiting.attached.offer())
