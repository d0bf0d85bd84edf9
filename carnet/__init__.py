"""Carnet: a secure cross-border job execution gateway. `carnet.Client` is the way in for Python."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carnet.client import Client as Client


def __getattr__(name: str) -> Any:
    # PEP 562: the runner, the gateway and the command import parts of this package, and need no client for that.
    if name == "Client":
        from carnet.client import Client

        return Client
    raise AttributeError(f"module 'carnet' has no attribute {name!r}")
