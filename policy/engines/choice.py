"""Which engine: named, or found once at the start. Never chosen again: an OPA that dies later is no reason for another.

`auto` takes an OPA server by URL, else an OPA binary (`CARNET_OPA`, else `opa` on the path), else the embedded engine.

    engine = await opened(EngineName.AUTO, bundle=Bundle.load())
"""

import os
import shutil
from enum import StrEnum
from pathlib import Path

from carnet.core.errors import PolicyEngineUnavailable
from policy.bundle import Bundle
from policy.engine import PolicyEngine
from policy.engines.child import SupervisedOpa
from policy.engines.embedded import EmbeddedEngine
from policy.engines.opa import Endpoint, OpaServer


class EngineName(StrEnum):
    """`policy.engine` of the configuration, and `--engine`."""

    AUTO = "auto"
    OPA = "opa"
    EMBEDDED = "embedded"


def find_opa() -> Path | None:
    """The OPA binary: `CARNET_OPA`, else `opa` on the path."""
    found = shutil.which(os.environ.get("CARNET_OPA") or "opa")
    return Path(found).absolute() if found else None


async def opened(
    name: EngineName, *, bundle: Bundle, url: str | None = None, binary: Path | None = None
) -> PolicyEngine:
    """An engine that has started. Raises `PolicyEngineUnavailable` where the one that is asked for does not."""
    if name is not EngineName.EMBEDDED and url is not None:
        return OpaServer(endpoint=Endpoint.of(url), bundle=bundle)
    found = None if name is EngineName.EMBEDDED else binary or find_opa()
    if found is None and name is EngineName.OPA:
        raise PolicyEngineUnavailable(
            "No OPA: put `opa` on the path, or its file in CARNET_OPA; or ask the embedded engine."
        )
    engine = SupervisedOpa(binary=found, bundle=bundle) if found else EmbeddedEngine(bundle=bundle)
    await engine.start()
    return engine
