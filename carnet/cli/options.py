"""What most commands take: where the context is, and whether a fault may show its traceback.

    async with connected(options) as client:
        page = await client.jobs()

Modules of `carnet.cli` import what is heavy (gRPC, cryptography) where it is used: `carnet --help` needs none of it.
"""

import os
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from carnet.core.errors import FieldInvalid

if TYPE_CHECKING:
    from carnet.client import Client
    from carnet.context import Context

CONTEXT_VARIABLE: Final = "CARNET_CONTEXT"

_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of every command that talks to a gateway."""

    context: Annotated[
        Path | None,
        Parameter(help="The context file; else $CARNET_CONTEXT, else ~/.config/carnet/context.json."),
    ] = None
    debug: Annotated[bool, Parameter(help="Show the traceback of an error.")] = False

    @property
    def context_path(self) -> Path:
        """Where the context is looked for."""
        named = os.environ.get(CONTEXT_VARIABLE)
        return self.context or (Path(named) if named else Path.home() / ".config" / "carnet" / "context.json")

    def load(self) -> "Context":
        """The context. Raises `FieldInvalid` where it can not be read."""
        from carnet.context import load_context

        return load_context(self.context_path)


DEFAULT: Final = Options()


@asynccontextmanager
async def connected(options: Options) -> "AsyncGenerator[Client]":
    """A client of the context's gateway."""
    from carnet.client import Client

    async with Client(options.load()) as client:
        yield client


def job_name(text: str, options: Options) -> str:
    """A job's whole name, from it or from the job's id alone. Raises `FieldInvalid`."""
    if _JOB_ID.fullmatch(text):
        return f"tenants/{options.load().tenant_id.hex()}/jobs/{text}"
    parts = text.split("/")
    if len(parts) == 4 and parts[::2] == ["tenants", "jobs"] and all(_JOB_ID.fullmatch(p) for p in parts[1::2]):
        return text
    raise FieldInvalid("A job is named tenants/ID/jobs/ID or by its id, 32 hexadecimal digits.")
