"""An officer of one tenant and the decisions of another: not there, whatever is asked, under whatever role."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from carnet.client import Client
from carnet.context import Context
from carnet.core.errors import NotFound
from carnet.officer import Officer
from certs import issuer
from gateway.decisions import ROLE
from tests.fixtures.gateway_process import AUDIENCE, ON_ITS_LOOP, GatewayProcess, Tenant
from tests.fixtures.parties import facts

pytestmark = ON_ITS_LOOP


def officer_of(process: GatewayProcess, tenant: Tenant, folder: Path) -> Context:
    token = folder / f"{tenant.client_id}-officer.jwt"
    token.write_text(
        issuer.mint(
            process.world.directory / "issuer",
            client_id=tenant.client_id,
            audience=AUDIENCE,
            certificate_pem=(tenant.home / "client.pem").read_bytes(),
            now=datetime.now(UTC),
            roles=(ROLE,),
        )
    )
    return replace(process.context(tenant), token=token)


async def test_attack_an_officer_reads_the_decisions_of_another_tenant(
    gateway_process: GatewayProcess, tmp_path: Path
) -> None:
    world = gateway_process.world
    async with Client(gateway_process.context(world.hospital)) as client:
        decided = (await client.prepare(facts())).decided
    digest = decided.record.digest.hex()
    name = f"tenants/{world.hospital.tenant_id.hex()}/decisions/{digest}"
    renamed = f"tenants/{world.bank.tenant_id.hex()}/decisions/{digest}"
    revision = decided.body.revisions.bundle
    async with Officer(officer_of(gateway_process, world.bank, tmp_path)) as other:
        for asked in (name, renamed):
            with pytest.raises(NotFound):
                await other.decision(asked)
        assert (await other.decisions()).decisions == ()
        assert [each async for each in other.export()] == []
        # The bundle that is live is law for all (tests/integration/test_simulate.py: and no other one is handed out).
        assert await other.bundle(revision)
    # Control: its own officer is answered each time.
    async with Officer(officer_of(gateway_process, world.hospital, tmp_path)) as own:
        assert (await own.decision(name)).body.payload == decided.body.payload
        assert (await own.decisions()).decisions[0].name == name
        assert [each.summary.name async for each in own.export()] == [name]
        assert await own.bundle(revision)
        with pytest.raises(NotFound):
            await own.decision(renamed)
