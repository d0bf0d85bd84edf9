"""Any bytes as an answer of the gateway, over TLS, to a real client and a real runner: the peer's fault, never a crash.

A double with the gateway's certificate and keys serves each method honestly but for bytes that are drawn or changed.
- A client raises a `PeerError`, or takes the gateway for unavailable where a stream only ended.
- A runner drops the stream and dials again. It goes on: what it holds under a lease it keeps, and an honest job that
  comes afterwards is brought home.
"""

import asyncio
import contextlib
import itertools
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from carnet import client as clients
from carnet import patience, rpc, transfers
from carnet.client import Client
from carnet.core.errors import CarnetError, GatewayUnavailable, PeerError
from carnet.core.facts import parse_facts
from carnet.outbox import SealedJob, seal
from carnet.v1 import runners_pb2
from sandbox import delivery, link, payload
from tests.fixtures.gateway_process import bounded
from tests.fixtures.malicious_gateway import Held, MaliciousGateway, perform, running, serving
from tests.fixtures.parties import TEMPLATE, Cage, Parties, facts, work
from tests.fixtures.twist import Change, Twist
from tests.fuzz.methods import METHODS
from tests.fuzz.shapes import messages, recipes

# One double and one runner's name for all: in one worker, in the order of this file.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900), pytest.mark.xdist_group("answers")]

GARBAGE = b"\xff\xff\xff"
memory_kib_max = 200 * 1024
settle_seconds = 0.5


@pytest.fixture(scope="module", autouse=True)
def _in_a_hurry() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "pause_seconds", 0.01)
        for module in (clients, transfers):
            patch.setattr(module, "silence_seconds_max", 0.05)
        for module in (delivery, payload, link):
            patch.setattr(module, "pause_seconds", 0.01)
        patch.setattr(link, "pause_seconds_max", 0.02)
        yield


@pytest.fixture(scope="module")
def ended(parties: Parties, tmp_path_factory: pytest.TempPathFactory) -> Held:
    """A job that ran in France, with all that was said of it."""
    return asyncio.run(perform(parties, "FR", state=tmp_path_factory.mktemp("ended")))[0]


@dataclass(kw_only=True)
class Stage:
    """The double, what twists its answers, and a job of each kind."""

    parties: Parties
    double: MaliciousGateway
    twist: Twist
    ended: Held
    waiting: Held
    home: Path
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def sealed(self) -> SealedJob:
        """A job for France that could be run in Germany too."""
        return for_two_places(self.parties)


def for_two_places(parties: Parties) -> SealedJob:
    """A job that is sealed for the French runner, under a decision that permits the German one too."""
    told = parse_facts(facts())
    return seal(
        work(),
        parties.decided(told, "FR", "DE"),
        (parties.runners["FR"].vetted(parties.pins),),
        keys=parties.tenant,
        facts=told,
        template_digest=TEMPLATE,
        directory=parties.directory / "outbox",
        now_ns=parties.clock(),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(parties: Parties, ended: Held, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    twist = Twist()
    async with serving(parties, None, (ended,), twist) as double:
        waiting = double.take(for_two_places(parties))
        yield Stage(
            parties=parties,
            double=double,
            twist=twist,
            ended=ended,
            waiting=waiting,
            home=tmp_path_factory.mktemp("runner"),
        )


# --- what is drawn -----------------------------------------------------------------------------------------------


def changes(name: str) -> "st.SearchStrategy[Change]":
    """Raw bytes, any message of the method's own, or the honest answer changed."""
    made = messages(METHODS[name].answer).map(lambda message: message.SerializeToString())
    return (st.binary(max_size=120) | made).map(lambda data: lambda _: data) | recipes()


def drawn(name: str) -> "st.SearchStrategy[tuple[Change, int]]":
    """A change, and the number of the answer that it is done to; only a stream has more than one."""
    return st.tuples(changes(name), st.integers(0, 4 if METHODS[name].streams_out else 0))


# --- the client ----------------------------------------------------------------------------------------------------

Ask = Callable[[Client, Stage], Awaitable[object]]


async def submitted(client: Client, stage: Stage) -> object:
    stage.double.jobs = {held.name: held for held in (stage.ended, stage.waiting)}  # or the list would fill up
    return await client.submit(await asyncio.to_thread(stage.sealed))


async def looked_at(client: Client, stage: Stage) -> object:
    return await client.job(stage.ended.name), await client.written(stage.ended.name)


async def watched(client: Client, stage: Stage) -> object:
    return [item async for item in client.watch(stage.ended.name)]


async def fetched(client: Client, stage: Stage) -> object:
    return await client.receipt(stage.ended.name), await client.result(stage.ended.name)


ASKED: dict[str, Ask] = {
    "Jobs.PrepareJob": lambda client, stage: client.prepare(facts()),
    "Jobs.SubmitJob": submitted,
    "Jobs.GetJob": looked_at,
    "Jobs.ListJobs": lambda client, stage: client.jobs(),
    "Jobs.CancelJob": lambda client, stage: client.cancel(stage.ended.name),
    "Jobs.WatchJob": watched,
    "Jobs.FetchResult": fetched,
    "Jobs.AddRecipients": lambda client, stage: client.add_recipients(stage.waiting.name),
    "Jobs.ApproveJob": lambda client, stage: client.approve(stage.waiting.name),
    "Jobs.RefuseJob": lambda client, stage: client.refuse(stage.waiting.name),
}
# The double speaks to clients and runners; what officers are told is in test_officer_answer_fuzz.py.
OF_OFFICERS = ("Decisions.", "Policies.")
HEARD = ("Runners.Attach", "Runners.FetchPayload", "Runners.DeliverResult")


async def test_every_method_that_is_answered_is_fuzzed() -> None:
    assert {name for name in METHODS if not name.startswith(OF_OFFICERS)} == {*ASKED, *HEARD}


async def told(stage: Stage, name: str) -> CarnetError | None:
    """What a client of its own raises, if anything. Raises whatever is not Carnet's."""
    async with Client(stage.parties.context(stage.double.address)) as client, asyncio.timeout(20):
        try:
            await ASKED[name](client, stage)
        except CarnetError as error:
            return error
    return None


def memory_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("name", ASKED)
async def test_a_client_blames_the_gateway_for_any_bytes_that_answer(stage: Stage, name: str) -> None:
    assert await told(stage, name) is None, "control: the honest answer is taken"
    loop, before, said = asyncio.get_running_loop(), memory_kib(), set[str]()

    @bounded(normal=40, full=5000)
    @given(drawn(name))
    def check(change: tuple[Change, int]) -> None:
        with stage.twist.some(name, change[0], first=change[1]):
            error = asyncio.run_coroutine_threadsafe(told(stage, name), loop).result(30)
        assert error is None or isinstance(error, PeerError | GatewayUnavailable), repr(error)
        said.add(error.reason if error is not None else "OK")

    await asyncio.to_thread(check)
    assert said - {"OK"}, "control: something was refused"
    assert memory_kib() - before < memory_kib_max
    assert await told(stage, name) is None


@pytest.mark.parametrize("name", ASKED)
async def test_bytes_that_are_no_message_are_the_gateways_fault(
    stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage.twist.every(name, lambda _: GARBAGE):
        error = await told(stage, name)
        assert isinstance(error, rpc.AnswerMalformed)
        assert stage.twist.twisted
        # Control: gRPC's own reader answers with nothing at all, which is an error of Python's where it is looked at.
        monkeypatch.setattr(clients, "strict", lambda channel: channel)
        with pytest.raises(AttributeError):
            await told(stage, name)


# --- the runner ----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def runner_of(stage: Stage, cage: Cage) -> AsyncIterator[None]:
    """A real agent, attached. Leaving the block raises what ended it, if anything did."""
    party = stage.parties.runners["FR"]
    stage.double.free.discard(party.name)
    stage.double.attached.pop(party.name, None)
    async with running(stage.parties, party, stage.double.address, cage, stage.home / str(next(stage.numbers))):
        await stage.double.until_attached(party)
        yield


async def offered(stage: Stage) -> Held:
    """A job, offered to the French runner once it has room."""
    party = stage.parties.runners["FR"]
    await stage.double.until_attached(party)
    held = stage.double.take(await asyncio.to_thread(stage.parties.sealed, "FR"))
    await stage.double.offer(held, party)
    return held


async def comes_home(stage: Stage) -> None:
    """The control: the runner still does its work."""
    held = await offered(stage)
    await stage.double.until(held.done.is_set)


async def stormed(stage: Stage) -> None:
    """Offer a job into the storm, and look a while at what becomes of it."""
    held = await offered(stage)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(settle_seconds):
            await stage.double.until(lambda: held.done.is_set() or stage.double.ended or stage.double.refused)
    stage.double.ended.clear()
    stage.double.refused.clear()


async def calm(stage: Stage) -> None:
    """The runner is there, with room: it says so when it hears that it is attached."""
    name = stage.parties.runners["FR"].name
    async with asyncio.timeout(20):
        while name not in stage.double.free:
            attached = runners_pb2.AttachResponse.Attached(time_ns=1)
            stage.double.attached[name].put_nowait(runners_pb2.AttachResponse(attached=attached))
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("name", HEARD)
async def test_a_runner_works_on_after_any_bytes_that_answer(stage: Stage, name: str) -> None:
    loop, before = asyncio.get_running_loop(), memory_kib()

    @bounded(normal=15, full=1000)
    @given(drawn(name))
    def check(change: tuple[Change, int]) -> None:
        with stage.twist.some(name, change[0], first=change[1]):
            asyncio.run_coroutine_threadsafe(stormed(stage), loop).result(30)
        asyncio.run_coroutine_threadsafe(calm(stage), loop).result(30)

    async with runner_of(stage, Cage()):
        await comes_home(stage)
        await asyncio.to_thread(check)
        await comes_home(stage)
    assert memory_kib() - before < memory_kib_max


@dataclass(kw_only=True)
class Patient(Cage):
    """A job that runs until it is let go."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, *args: object, **named: object) -> object:  # type: ignore[override]
        """Wait, and then run."""
        self.begun.set()
        await self.go.wait()
        return await super().run(*args, **named)  # type: ignore[arg-type]


async def test_a_runner_keeps_its_job_when_garbage_ends_its_stream(stage: Stage) -> None:
    cage = Patient()
    async with runner_of(stage, cage):
        held = await offered(stage)
        await asyncio.wait_for(cage.begun.wait(), 10)
        was = stage.double.attached[stage.parties.runners["FR"].name]
        with stage.twist.some("Runners.Attach", lambda _: GARBAGE, first=0):
            was.put_nowait(runners_pb2.AttachResponse())
            await stage.double.until(lambda: stage.double.attached[stage.parties.runners["FR"].name] is not was)
        cage.go.set()
        await stage.double.until(held.done.is_set)
    assert len(cage.opened) == 1, "it went on, and was not begun anew"


@pytest.mark.parametrize("name", ["Runners.FetchPayload", "Runners.DeliverResult"])
async def test_a_runner_takes_up_what_garbage_broke(stage: Stage, name: str) -> None:
    async with runner_of(stage, Cage()):
        with stage.twist.some(name, lambda _: GARBAGE, first=0, count=2):
            held = await offered(stage)
            await stage.double.until(held.done.is_set)
            assert stage.twist.twisted == 2
            assert stage.double.ended == []


LIES = {
    "a receipt accepted that there is not": runners_pb2.DeliverResultResponse(accepted=True),
    "more records than were sent": runners_pb2.DeliverResultResponse(log_sequence_next=1000),
    "more bytes than a segment has": runners_pb2.DeliverResultResponse(offset=2**64 - 1),
}


@pytest.mark.parametrize("name", LIES)
async def test_a_runner_delivers_again_after(stage: Stage, name: str) -> None:
    async with runner_of(stage, Cage()):
        with stage.twist.some("Runners.DeliverResult", lambda _: LIES[name].SerializeToString(), first=0):
            held = await offered(stage)
            await stage.double.until(held.done.is_set)
            assert stage.twist.twisted == 1
            assert stage.double.ended == []


async def test_a_runner_leaves_a_stream_that_does_not_begin_by_attaching_it(stage: Stage) -> None:
    mute = runners_pb2.AttachResponse(revoked=runners_pb2.AttachResponse.Revoked(grant_digest=bytes(32)))
    with stage.twist.some("Runners.Attach", lambda _: mute.SerializeToString(), first=0, count=3):
        async with runner_of(stage, Cage()):
            assert stage.twist.twisted == 3
            await comes_home(stage)
