"""Secrecy in memory: a gateway in a process of its own is searched while it takes a job in, while it runs, and after.

What is looked for: payload, result, argument, file name and the job's root, each as it is, in hex and in base64.
Reading another process's memory needs root.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from carnet import outbox, transfers
from carnet.client import Client
from carnet.core import envelope
from carnet.core.envelope import HybridPublicKey
from carnet.core.job import JobState
from carnet.core.segment import Sealer
from carnet.outbox import SealedJob, Work, WorkFile
from carnet.v1 import jobs_pb2
from demo.search import forms, in_memory
from sandbox.cage import ContainerSpec
from sandbox.outcome import Outcome
from tests.fixtures.gateway_apart import CARELESS, HONEST, GatewayApart, gateway_apart
from tests.fixtures.malicious_gateway import running
from tests.fixtures.parties import Cage, Parties, facts

MARK = secrets.token_hex(24).encode()
settle_seconds = 0.5
pytestmark = [pytest.mark.timeout(300)]


@dataclass(kw_only=True)
class Search:
    """The secrets of one job, and where each was found in a process's memory."""

    pid: int
    secrets: dict[str, bytes]
    found: dict[str, set[str]] = field(default_factory=dict)
    moments: list[str] = field(default_factory=list)

    async def look(self, moment: str) -> None:
        """Search now; one secret after the other only where there is anything."""
        self.moments.append(moment)
        # All but the root begin with the mark, so that two secrets are looked for, and not six.
        every = tuple(form for secret in (MARK, self.secrets.get("root", MARK)) for form in forms(secret))
        if not await asyncio.to_thread(lambda: any(True for _ in in_memory(self.pid, every))):
            return
        for name, secret in self.secrets.items():
            if await asyncio.to_thread(lambda of=secret: any(True for _ in in_memory(self.pid, tuple(forms(of))))):
                self.found.setdefault(name, set()).add(moment)


@dataclass(kw_only=True)
class Looking(Cage):
    """A cage that has the gateway searched while its job runs."""

    search: Search

    async def run(self, spec: ContainerSpec, **given: Any) -> Outcome:
        """Search, and then run the job."""
        await self.search.look("while it ran")
        return await Cage.run(self, spec, **given)


def job() -> tuple[Work, dict[str, bytes]]:
    """A job, and its secrets by name."""
    found = {name: MARK + secrets.token_hex(16).encode() for name in ("payload", "argument", "name", "result")}
    work = Work(
        facts=facts(),
        command=("train", found["argument"].decode()),
        files=(WorkFile(name=found["name"].decode(), source=found["payload"] * 500),),
    )
    return work, found


def watched(monkeypatch: pytest.MonkeyPatch, search: Search) -> None:
    """Have the gateway searched after each part of the submission that it was sent."""
    honest = transfers._parts

    async def parts(sealed: SealedJob) -> AsyncIterator[jobs_pb2.SubmitJobRequest]:
        async for part in honest(sealed):
            yield part
            if part.HasField("chunk"):
                await asyncio.sleep(settle_seconds)
                await search.look(f"with a chunk of object {part.chunk.object}")

    monkeypatch.setattr(transfers, "_parts", parts)


def noted(monkeypatch: pytest.MonkeyPatch, found: dict[str, bytes]) -> None:
    """Have the root of the next job among its secrets."""

    def noting(public: HybridPublicKey, root: bytearray, **names: Any) -> bytes:
        found["root"] = bytes(root)
        return envelope.wrap_root(public, root, **names)

    monkeypatch.setattr(outbox, "wrap_root", noting)


async def offered(client: Client) -> None:
    """Wait for the runner to be on the list."""
    for _ in range(200):
        if (await client.prepare(facts())).runners:
            return
        await asyncio.sleep(0.05)
    pytest.fail("no runner is offered")


async def submitted(
    parties: Parties, gateway: GatewayApart, folder: Path, search: Search, work: Work
) -> tuple[Looking, JobState, bytes]:
    """Run a job as far as it goes; its cage, how it stands, and what came home of it."""
    parties.mint()
    cage = Looking(output=b"log " + search.secrets["result"], result=search.secrets["result"], search=search)
    async with (
        running(parties, parties.runners["FR"], gateway.runner, cage, folder / "runner"),
        Client(parties.context(gateway.enterprise)) as client,
    ):
        await offered(client)
        name = await client.submit(await client.seal(work, await client.prepare(work.facts)))
        async for item in client.watch(name):
            if getattr(item, "state", None) in (JobState.SUCCEEDED, JobState.NEEDS_RECIPIENTS):
                break
        state = (await client.job(name)).state
        home = (await client.result(name)).results[0].data if state is JobState.SUCCEEDED else b""
        await search.look("after it ended")
        return cage, state, home


async def test_nothing_of_a_job_is_ever_in_the_gateways_memory(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, found = job()
    noted(monkeypatch, found)
    async with gateway_apart(parties, tmp_path / "gateway", program=HONEST) as gateway:
        search = Search(pid=gateway.pid, secrets=found)
        watched(monkeypatch, search)
        cage, state, home = await submitted(parties, gateway, tmp_path, search, work)
        assert state is JobState.SUCCEEDED
        assert home == found["result"]
        assert search.found == {}
        assert set(search.secrets) == {"payload", "argument", "name", "result", "root"}
        assert search.moments[-2:] == ["while it ran", "after it ended"]
        assert len(search.moments) == 4, "two objects, and the two moments after them"
        assert not any(form in gateway.said() for secret in found.values() for form in forms(secret))
    # Client and runner are in this process: the same search finds all of it here.
    assert found["payload"] in cage.opened[0]
    own = Search(pid=os.getpid(), secrets=found)
    await own.look("here")
    assert set(own.found) == set(found)


class PassedThrough(Sealer):
    """A sealer that seals nothing."""

    def __init__(self, root: bytes, **place: object) -> None:
        super().__init__(bytearray(32), b"")

    def update(self, data: Any) -> bytes:
        """The plaintext."""
        return self._hashed(bytes(data))

    def finish(self) -> bytes:
        """Nothing more."""
        self._finished = True
        return b""


async def test_control_what_a_client_does_not_seal_is_found_in_the_gateways_memory(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Control: the client hands everything on as it is, and the gateway does not look at its form.
    work, found = job()
    noted(monkeypatch, found)
    monkeypatch.setattr(outbox, "SegmentSealer", PassedThrough)
    monkeypatch.setattr(outbox, "self_wrap", lambda public, root, **names: bytes(root).ljust(1168, b"\0"))
    async with gateway_apart(parties, tmp_path / "gateway", program=CARELESS) as gateway:
        search = Search(pid=gateway.pid, secrets=found)
        watched(monkeypatch, search)
        _, state, _ = await submitted(parties, gateway, tmp_path, search, work)
        assert state is JobState.NEEDS_RECIPIENTS, "no runner takes what is not an envelope"
    assert {"payload", "argument", "name", "root"} <= set(search.found)
    assert "with a chunk of object 0" in search.found["argument"]
    assert "with a chunk of object 1" in search.found["payload"]
