"""Lines that are cut in the middle of a stream: the real gateway, client and runner go on at the byte where it broke.

What each stream asks for is written down as the gateway hears it; the bytes that arrive are those that were sent.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from carnet.answers import Event, Outcome
from carnet.client import Client
from carnet.core import limits
from carnet.core.errors import StoreUnavailable
from carnet.core.job import JobState
from carnet.inbox import ResultReader
from carnet.outbox import Work, WorkFile
from gateway import intake
from gateway.deliveries import Deliveries
from gateway.returns import Returns
from gateway.storage.blobs import BlobStore, ResultUpload
from gateway.storage.segments import Position
from sandbox.spool import SegmentFile
from tests.fixtures.cutter import Cutter, cutter
from tests.fixtures.gateway_process import until
from tests.fixtures.inprocess import InProcess, gateway
from tests.fixtures.malicious_gateway import running
from tests.fixtures.parties import MIB, Cage, Parties, facts

SIZE = 16 * MIB
PARTS = 6


@dataclass(kw_only=True)
class Play:
    """A real gateway, with a line to it for the client and one for the runner."""

    parties: Parties
    found: InProcess
    client: Client
    up: Cutter
    down: Cutter
    home: Path
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(SIZE))

    @contextlib.asynccontextmanager
    async def runner(self, cage: Cage) -> AsyncIterator[None]:
        """The French runner at the end of its line, offered to clients."""
        async with running(self.parties, self.parties.runners["FR"], self.down.address, cage, self.home):

            async def offered() -> bool:
                return bool((await self.client.prepare(facts())).runners)

            await until(offered)
            yield

    async def submitted(self) -> str:
        """A job of sixteen MiB."""
        task = Work(facts=facts(), command=("true",), files=(WorkFile(name="data", source=self.secret),))
        return await self.client.submit(await self.client.seal(task, await self.client.prepare(facts())))

    async def ended(self, name: str) -> Event:
        """The last event of a job."""
        async with asyncio.timeout(60):
            return [item async for item in self.client.watch(name) if isinstance(item, Event)][-1]


@pytest.fixture
async def play(parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Play]:
    parties.mint()
    async with (
        gateway(parties, tmp_path / "gateway", monkeypatch) as found,
        cutter(found.enterprise) as up,
        cutter(found.runner) as down,
        Client(parties.context(up.address)) as client,
    ):
        found.policy.places = ("FR",)
        yield Play(parties=parties, found=found, client=client, up=up, down=down, home=tmp_path / "runner")


def heard(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[tuple[Any, dict[str, Any]]]:
    """The arguments of each call of a method, which does what it does."""
    calls: list[tuple[Any, dict[str, Any]]] = []
    method = getattr(owner, name)

    def noted(self: object, *args: Any, **named: Any) -> Any:
        calls.append((args, named))
        return method(self, *args, **named)

    monkeypatch.setattr(owner, name, noted)
    return calls


def cut_after(monkeypatch: pytest.MonkeyPatch, line: Cutter, owner: type, name: str) -> None:
    """Cut a line once the receiver has called this method so many times."""
    method, calls = getattr(owner, name), count(1)

    def noted(self: object, *args: Any) -> Any:
        if next(calls) == PARTS:
            line.cut()
        return method(self, *args)

    monkeypatch.setattr(owner, name, noted)


def has_all(outcome: Outcome, cage: Cage) -> bool:
    return [result.data for result in outcome.results] == [cage.result]


async def test_a_cut_fetch_of_results_goes_on_at_its_byte(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    cage = Cage(result=secrets.token_bytes(SIZE))
    async with play.runner(cage):
        name = await play.submitted()
        assert (await play.ended(name)).state is JobState.SUCCEEDED
    asked = heard(monkeypatch, Returns, "fetch")
    cut_after(monkeypatch, play.up, ResultReader, "take")
    outcome = await play.client.result(name)
    assert has_all(outcome, cage)
    first, second = (args[1] for args, _ in asked)
    assert (first, play.up.cuts) == (Position(), 1)
    assert (second.object_id, second.segment) == (1, 0)
    assert (PARTS - 2) * limits.chunk_bytes < second.offset < SIZE


async def test_a_cut_fetch_of_the_payload_goes_on_at_its_byte(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    cage, asked = Cage(), heard(monkeypatch, Deliveries, "fetch")
    cut_after(monkeypatch, play.down, SegmentFile, "add")
    async with play.runner(cage):
        name = await play.submitted()
        last = await play.ended(name)
    assert (last.state, last.attempt, play.down.cuts) == (JobState.SUCCEEDED, 1, 1)
    (opened,) = cage.opened
    assert {opened.count(play.secret[at : at + 64]) for at in range(0, SIZE, MIB)} == {1}
    places = [(args[1].object, args[1].segment, args[1].offset) for args, _ in asked]
    assert places[:2] == [(0, 0, 0), (1, 0, 0)]
    object_id, segment, offset = places[2]
    assert (object_id, segment, len(places)) == (1, 0, 3)
    assert (PARTS - 2) * limits.chunk_bytes < offset < SIZE


async def test_a_cut_delivery_of_results_goes_on_at_its_byte(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    cage = Cage(result=secrets.token_bytes(SIZE))
    opened, writes = heard(monkeypatch, BlobStore, "results"), heard(monkeypatch, ResultUpload, "write")
    cut_after(monkeypatch, play.down, ResultUpload, "write")
    async with play.runner(cage):
        name = await play.submitted()
        last = await play.ended(name)
    assert (last.state, last.attempt, play.down.cuts, len(opened)) == (JobState.SUCCEEDED, 1, 1, 2)
    assert has_all(await play.client.result(name), cage)
    sent = [(args[0], len(args[1])) for args, _ in writes]
    for (before, size), (after, _) in pairwise(sent[1:]):
        assert after == Position(object_id=1, segment=0, offset=before.offset + size), "no byte came twice"
    assert len(cage.opened) == 1


@dataclass(kw_only=True)
class Held(Cage):
    """A job that goes on until it is let go."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, *args: Any, **named: Any) -> Any:
        """Wait, then run."""
        self.begun.set()
        await self.go.wait()
        return await super().run(*args, **named)


async def test_a_cut_watch_goes_on_at_its_event(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    cage, asked = Held(), heard(monkeypatch, Returns, "watch")
    async with play.runner(cage):
        name, events = await play.submitted(), list[Event]()
        await cage.begun.wait()
        async for item in play.client.watch(name):
            events += [item] if isinstance(item, Event) else []
            if events[-1].state is JobState.RUNNING and not play.up.cuts:
                play.up.cut()
                cage.go.set()
    assert events[-1].state is JobState.SUCCEEDED
    assert [event.index for event in events] == list(range(len(events)))
    seen = next(event.index for event in events if event.state is JobState.RUNNING) + 1
    assert [named["event_index"] for _, named in asked] == [0, seen]


# --- a store that is busy for a moment -----------------------------------------------------------------------------


def busy_once(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, *, at: int = 0) -> list[int]:
    """One call of a method finds the store busy; how often it was called."""
    method, calls = getattr(owner, name), [0]

    async def busy(self: object, *args: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == at + 1:
            raise StoreUnavailable("The store is busy; try again.")
        return await method(self, *args, **named)

    monkeypatch.setattr(owner, name, busy)
    return calls


async def test_a_store_that_is_busy_once_in_mid_delivery_costs_no_attempt(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    cage = Cage(result=secrets.token_bytes(SIZE))
    calls = busy_once(monkeypatch, ResultUpload, "write", at=PARTS)
    async with play.runner(cage):
        name = await play.submitted()
        last = await play.ended(name)
    assert (last.state, last.attempt) == (JobState.SUCCEEDED, 1)
    assert calls[0] > PARTS + 1
    assert has_all(await play.client.result(name), cage)


@pytest.mark.parametrize("name", ["_take_log", "_take_receipt", "_open"])
async def test_a_store_that_is_busy_once_costs_no_attempt_at(
    name: str, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = busy_once(monkeypatch, Deliveries, name)
    async with play.runner(Cage()):
        last = await play.ended(await play.submitted())
    assert (last.state, last.attempt) == (JobState.SUCCEEDED, 1)
    assert calls[0] > 1


async def test_a_store_that_is_busy_once_does_not_fail_a_submission_or_a_fetch(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    cage = Cage()
    async with play.runner(cage):
        calls = busy_once(monkeypatch, intake.Intake, "_accept")
        name = await play.submitted()
        assert calls[0] == 2
        await play.ended(name)
    calls = busy_once(monkeypatch, Returns, "receipt_file")
    assert has_all(await play.client.result(name), cage)
    assert calls[0] == 2
