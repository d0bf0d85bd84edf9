"""The gateway, put together: its parts come up (parts.py), then it listens (listeners.py), then it tidies (tidying.py).

    gateway = await Gateway.start(config)
    await gateway.serve(stop)

Nothing listens before everything that it needs is there.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Final, Self

import structlog

from gateway import retention
from gateway.config import GatewayConfig
from gateway.listeners import Addresses, Listeners
from gateway.parts import Parts
from gateway.storage import queries
from gateway.storage.decisionlog import ForgetEvents
from gateway.storage.operations import Batch, ForgetRequests
from gateway.storage.wraps import day_of
from gateway.tidying import Tidying

request_seconds: Final = 24 * 3600

_log = structlog.get_logger(__name__)


class Gateway:
    """One gateway process."""

    def __init__(self, stack: AsyncExitStack, addresses: Addresses, tidy: "asyncio.Task[None]") -> None:
        self._stack = stack
        self._tidy = tidy
        self.addresses = addresses

    @classmethod
    async def start(cls, config: GatewayConfig, *, clock: Callable[[], int] = time.time_ns) -> Self:
        """Join everything, and listen. Raises what the first part that does not come up raises."""
        async with AsyncExitStack() as stack:
            parts = await Parts.open(config, stack, clock=clock)
            addresses = await Listeners(parts, config, stack).open()
            tidy = asyncio.create_task(_tidying(parts).run(), name="tidy")
            _log.info("gateway ready", action="start", **asdict(addresses))
            return cls(stack.pop_all(), addresses, tidy)

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until told to stop."""
        await stop.wait()
        await self.close()

    async def close(self) -> None:
        """Take no more calls, let what is under way end, write what waits."""
        self._tidy.cancel()
        await self._stack.aclose()


def _tidying(parts: Parts) -> Tidying:
    kept, clock = parts.kept, parts.clock

    async def sweep_wrap_keys() -> None:
        days = await kept.store.read(queries.wrap_days)
        await asyncio.to_thread(kept.wraps.sweep, needed=days, today=day_of(clock()))

    async def forget() -> None:
        before_ns = clock() - request_seconds * 10**9
        forgotten = (ForgetRequests(before_ns=before_ns), ForgetEvents(now_ns=clock()))
        await kept.store.write(Batch(operations=forgotten))

    steps = {
        "ciphertext": lambda: retention.sweep(kept.store, kept.blobs, now_ns=clock()),
        "wrap keys": sweep_wrap_keys,
        "requests and events": forget,
    }
    return Tidying(steps, failed=parts.metrics.task_failures.inc)
