"""Which engine: named, or found once at the start. Never chosen again: an OPA that dies later is no reason for another.

- `auto` takes an OPA server by URL, else an OPA binary (`CARNET_OPA`, else `opa` on the path), else the embedded one.
- Another bundle gets another engine of the same kind. A server by URL gets bundles by itself: the gateway offers them,
  and waits until the server answers from the one that is asked for.
- OPA's HTTP client is loaded where an OPA is asked: most commands of an officer ask none, and need not wait for it.

    engine = await opened(EngineName.AUTO, bundle=Bundle.load())
    policy = await CurrentPolicy.open(chosen(EngineName.AUTO), bundle=bundle, publish=publish)
"""

import asyncio
import os
import shutil
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from carnet.core.errors import FieldInvalid, PolicyEngineUnavailable
from policy import gate
from policy.bundle import Bundle
from policy.engine import PolicyEngine
from policy.engines.current import Starter
from policy.engines.embedded import EmbeddedEngine

if TYPE_CHECKING:
    from policy.engines.child import SupervisedOpa
    from policy.engines.opa import Endpoint, OpaServer

follow_seconds_max: Final = 60.0
poll_seconds: Final = 0.05


class EngineName(StrEnum):
    """`policy.engine` of the configuration, and `--engine`."""

    AUTO = "auto"
    OPA = "opa"
    EMBEDDED = "embedded"


def find_opa() -> Path | None:
    """The OPA binary: `CARNET_OPA`, else `opa` on the path."""
    found = shutil.which(os.environ.get("CARNET_OPA") or "opa")
    return Path(found).absolute() if found else None


class ServerByUrl:
    """A `Starter` for an OPA that others run. It may come up later than we do, and follows what is published."""

    def __init__(self, endpoint: "Endpoint", *, follow_seconds: float = follow_seconds_max) -> None:
        self._endpoint = endpoint
        self._follow_seconds = follow_seconds

    async def first(self, bundle: Bundle) -> PolicyEngine:
        """The server as it is: until it runs this bundle, every question is `PolicyEngineUnavailable`."""
        from policy.engines.opa import OpaServer

        return OpaServer(endpoint=self._endpoint, bundle=bundle)

    async def another(self, bundle: Bundle) -> PolicyEngine:
        """The server, once it runs this bundle. Raises `PolicyEngineUnavailable` where it does not come to that."""
        from policy.engines.opa import OpaServer

        try:
            await asyncio.to_thread(gate.check, bundle.rules)
        except FieldInvalid as error:
            raise PolicyEngineUnavailable(detail=f"the rules do not pass the gate: {error.text}") from error
        server = OpaServer(endpoint=self._endpoint, bundle=bundle)
        try:
            async with asyncio.timeout(self._follow_seconds):
                await _followed(server)
        except TimeoutError as error:
            await server.close()
            raise PolicyEngineUnavailable(detail=f"OPA did not take the bundle {bundle.revision}") from error
        except asyncio.CancelledError:
            await server.close()
            raise
        return server


async def _followed(server: "OpaServer") -> None:
    while True:
        if await server.is_serving():
            return
        await asyncio.sleep(poll_seconds)


class OwnEngine:
    """A `Starter` for engines of our own: a child OPA where there is a binary, else the embedded one."""

    def __init__(self, binary: Path | None) -> None:
        self._binary = binary

    async def first(self, bundle: Bundle) -> PolicyEngine:
        """An engine that serves this bundle. Raises `PolicyEngineUnavailable`."""
        engine = _child(self._binary, bundle) if self._binary else EmbeddedEngine(bundle=bundle)
        try:
            await engine.start()
        except (PolicyEngineUnavailable, asyncio.CancelledError):
            await engine.close()
            raise
        return engine

    async def another(self, bundle: Bundle) -> PolicyEngine:
        """The same."""
        return await self.first(bundle)


def _child(binary: Path, bundle: Bundle) -> "SupervisedOpa":
    from policy.engines.child import SupervisedOpa

    return SupervisedOpa(binary=binary, bundle=bundle)


def chosen(name: EngineName, *, url: str | None = None, binary: Path | None = None) -> Starter:
    """The kind of engine, from now on. Raises `PolicyEngineUnavailable` where there is none of the kind asked for."""
    if name is not EngineName.EMBEDDED and url is not None:
        from policy.engines.opa import Endpoint

        return ServerByUrl(Endpoint.of(url))
    found = None if name is EngineName.EMBEDDED else binary or find_opa()
    if found is None and name is EngineName.OPA:
        raise PolicyEngineUnavailable(
            "No OPA: put `opa` on the path, or its file in CARNET_OPA; or ask the embedded engine."
        )
    return OwnEngine(found)


async def opened(
    name: EngineName, *, bundle: Bundle, url: str | None = None, binary: Path | None = None
) -> PolicyEngine:
    """An engine that has started. Raises `PolicyEngineUnavailable` where the one that is asked for does not."""
    return await chosen(name, url=url, binary=binary).first(bundle)
