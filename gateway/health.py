"""Health: what a gateway says of itself to whoever asks (gRPC health checking protocol v1).

- A listener is SERVING once it listens, and NOT_SERVING for good once a part failed that only a restart brings back.
- It is said on every listener, for the whole and for each service, and at once to whoever watches it.

    health = Health()
    answering = health.add(server, names)
    await health.serve(answering)
    health.fail("the store has stopped")
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import grpc.aio
import structlog
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVICE_NAME: Final[str] = grpc_health.SERVICE_NAME

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """What one listener answers with, and for which services."""

    servicer: grpc_health.aio.HealthServicer
    names: tuple[str, ...]


class Health:
    """The health of one gateway process. Make it on the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._answering: list[Answering] = []
        self._failed = False

    def add(self, server: grpc.aio.Server, names: tuple[str, ...]) -> Answering:
        """Let a server answer for its health, before it starts."""
        found = Answering(servicer=grpc_health.aio.HealthServicer(), names=("", *names))
        health_pb2_grpc.add_HealthServicer_to_server(found.servicer, server)
        return found

    async def serve(self, answering: Answering) -> None:
        """It listens."""
        self._answering.append(answering)
        await self._say(answering)

    def fail(self, why: str) -> None:
        """Something failed for good. Call it from any thread."""
        _log.error("not serving any more", action="fail", why=why)
        self._failed = True
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._say_all(), name="health"))

    async def _say_all(self) -> None:
        for answering in self._answering:
            await self._say(answering)

    async def _say(self, answering: Answering) -> None:
        status = health_pb2.HealthCheckResponse
        for name in answering.names:
            await answering.servicer.set(name, status.NOT_SERVING if self._failed else status.SERVING)
