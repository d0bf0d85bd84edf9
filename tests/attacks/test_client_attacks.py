"""A malicious client, with a real certificate and a real token, says whatever it likes to a real gateway.

Each attack is refused with its reason and leaves nothing behind: no row, no ciphertext, no upload. The control of each
is the same client, honest, through the very same code.
"""

import asyncio
import json
import secrets
import struct
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from carnet import statements
from carnet.authorship import open_written
from carnet.core import limits
from carnet.core.errors import CarnetError, NotFound
from carnet.core.facts import Resources
from carnet.core.job import Addendum, JobState, LogMode
from carnet.core.runner import Isolation
from carnet.core.statement import Signer
from carnet.outbox import SealedJob
from carnet.v1 import jobs_pb2 as pb
from carnet.wire import signed_to_proto
from gateway import intake
from tests.fixtures.client_double import (
    ClientDouble,
    Part,
    chunk,
    chunks,
    facts,
    header,
    resigned,
    submission,
    trailer,
    work,
)
from tests.fixtures.gateway_process import SECOND, GatewayProcess
from tests.fixtures.runner_double import RunnerDouble

Forge = Callable[[SealedJob], list[Part]]


@pytest.fixture
async def runner(gateway_process: GatewayProcess) -> AsyncIterator[RunnerDouble]:
    """A runner that is attached and has no room: jobs are accepted, and wait."""
    async with RunnerDouble(gateway_process) as found:
        await found.attach(slots=2)
        yield found


@pytest.fixture
async def client(gateway_process: GatewayProcess, runner: RunnerDouble) -> AsyncIterator[ClientDouble]:
    async with ClientDouble(gateway_process) as found:
        yield found


def code_of(caught: "pytest.ExceptionInfo[CarnetError]") -> str:
    return caught.value.reason


# --- the parts of a submission, and their order -------------------------------------------------------------------


def tampered(sealed: SealedJob) -> list[Part]:
    first, *rest = chunks(sealed)
    first.chunk.data = first.chunk.data[:-1] + bytes([first.chunk.data[-1] ^ 1])
    return [header(sealed), first, *rest, trailer(sealed)]


def plain(sealed: SealedJob) -> list[Part]:
    """The client signs the digest of plaintext, and sends plaintext."""
    import hashlib

    secret = b"nothing is sealed here"
    honest = sealed.manifest.objects[0]
    bare = replace(honest, size=len(secret), segment_digests=(hashlib.sha256(secret).digest(),))
    forged = resigned(sealed, sealed_by(sealed), objects=(bare, *sealed.manifest.objects[1:]))
    return [header(forged), chunk(secret), *chunks(sealed)[1:], trailer(forged)]


SIGNERS: dict[bytes, Signer] = {}


def sealed_by(sealed: SealedJob) -> Signer:
    return SIGNERS[sealed.signed.keyid]
