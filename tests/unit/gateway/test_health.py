"""Health: a gateway that can not write any more says so, on each of its listeners."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from carnet.client import Client
from carnet.core.errors import StoreUnavailable
from carnet.tls import channel_credentials, open_channel
from gateway.storage.loghead import LogHead
from gateway.storage.sequencer import LogDamaged, Sequencer
from tests.fixtures.gateway_process import until
from tests.fixtures.inprocess import InProcess, gateway
from tests.fixtures.parties import Parties, facts

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = {"enterprise": ("", "carnet.v1.Jobs"), "runner": ("", "carnet.v1.Runners")}


class Asker:
    """Somebody with a certificate for each listener, who asks how the gateway is."""

    def __init__(self, parties: Parties, found: InProcess, channels: dict[str, grpc.aio.Channel]) -> None:
        self._stubs = {name: health_pb2_grpc.HealthStub(channel) for name, channel in channels.items()}
        self._metadata = (("authorization", f"Bearer {(parties.directory / 'token.jwt').read_text()}"),)

    async def said(self) -> set[int]:
        """What each listener says of the whole and of each service."""
        answers = [
            await self._stubs[listener].Check(
                health_pb2.HealthCheckRequest(service=service), timeout=5, metadata=self._metadata
            )
            for listener, services in SERVICES.items()
            for service in services
        ]
        return {answer.status for answer in answers}

    async def watched(self) -> AsyncIterator[int]:
        """What is said to somebody who watches."""
        call = self._stubs["enterprise"].Watch(health_pb2.HealthCheckRequest(), metadata=self._metadata)
        async for answer in call:
            yield answer.status


@asynccontextmanager
async def asker(parties: Parties, found: InProcess) -> AsyncIterator[Asker]:
    papers = {
        "enterprise": (found.enterprise, parties.pki / "tenant/client.pem", parties.pki / "tenant/client.key.pem"),
        "runner": (found.runner, parties.runners["FR"].config.chain, parties.runners["FR"].config.key),
    }
    channels = {}
    for name, (target, certificate, key) in papers.items():
        credentials = channel_credentials(gateway_ca=parties.pins.gateway.ca, certificate=certificate, private_key=key)
        channels[name] = open_channel(target, credentials, server_name=parties.pins.gateway.server_name)
    try:
        yield Asker(parties, found, channels)
    finally:
        for channel in channels.values():
            await channel.close()


def full_disk(self: LogHead, note: str) -> None:
    raise OSError(28, "No space left on device")


def damaged(self: Sequencer, connection: object) -> None:
    raise LogDamaged


@pytest.mark.parametrize("cause", ["the head can not be written", "the log is damaged"])
async def test_a_gateway_that_will_never_write_again_is_not_serving_when(
    cause: str, parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parties.mint()
    async with (
        gateway(parties, tmp_path, monkeypatch) as found,
        Client(parties.context(found.enterprise)) as client,
        asker(parties, found) as asked,
    ):
        await client.prepare(facts())
        assert await asked.said() == {SERVING}
        heard = asked.watched()
        assert await anext(heard) == SERVING
        if cause == "the head can not be written":
            monkeypatch.setattr(LogHead, "write", full_disk)
            await client.prepare(facts())  # it was committed, and is the last that is
        else:
            # A commit whose end is not known; then the rows are read again, and do not fit.
            with monkeypatch.context() as broken:
                broken.setattr(Sequencer, "stage", full_disk)
                with pytest.raises(StoreUnavailable):
                    await client.prepare(facts())
            assert await asked.said() == {SERVING}, "control: a commit that fails is no end"
            monkeypatch.setattr(Sequencer, "reload", damaged)
            with pytest.raises(StoreUnavailable):
                await client.prepare(facts())
        assert await asyncio.wait_for(anext(heard), 5) == NOT_SERVING

        async def all_say_so() -> bool:
            return await asked.said() == {NOT_SERVING}

        await until(all_say_so)
        with pytest.raises(StoreUnavailable):
            await client.prepare(facts())
        await heard.aclose()  # type: ignore[attr-defined]  # an asynchronous generator
