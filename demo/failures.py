"""The demo's worst day: a runner dies, a runner hangs, the gateway is killed. What was accepted ends exactly once."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from carnet import proof
from carnet.answers import Event
from carnet.client import Client
from carnet.context import load_context
from carnet.core.errors import CarnetError
from carnet.core.job import JobState
from carnet.outbox import Work
from carnet.pins import load_pins
from certs.system import Development, runner_name

WAIT_SECONDS = 150
RECEIVED = 'kind="receipt_arrived"'
OF_CLIENTS = 'method="/carnet.v1.Jobs/'
Line = Callable[[str, bool], None]
MakeWork = Callable[[str], Work]


async def runner_dies(line: Line, system: Development, work: Work) -> None:
    """4a: SIGKILL to the runner that works; the other one finishes, while no client is there."""
    received = await system.metric("carnet_job_events", RECEIVED)
    async with Client(load_context(system.context)) as client:
        name = await _submit(client, work)
        place = await _running(client, system, name)
    await system.kill(runner_name(place))
    early = not await _more(system, "carnet_job_events", RECEIVED, received)
    line(f"the runner in {place} was killed while the job ran", early)
    calls = await system.metric("carnet_calls", OF_CLIENTS)
    ended = await _until(lambda: _more(system, "carnet_job_events", RECEIVED, received))
    silent = await system.metric("carnet_calls", OF_CLIENTS) == calls
    line("its client is gone; another runner delivers, and until then no client calls the gateway", ended and silent)
    async with Client(load_context(system.context)) as client:
        outcome = await _ended(client, name)
        receipt = (await client.result(name)).receipt.receipt
    line(f"the job {outcome}, on attempt {receipt.attempt}, in {receipt.jurisdiction}", receipt.jurisdiction != place)
    await system.start_runner(place)
    await system.attached(len(system.places))


async def runner_hangs(line: Line, client: Client, system: Development, work: Work) -> None:
    """4b: SIGSTOP after the result was sealed and before it is delivered; SIGCONT when it is too late."""
    name = await _submit(client, work)
    place = await _running(client, system, name)
    before = await system.metric("carnet_refused_results")
    stopped = await _stop_when_sealed(system, place)
    state = (await client.job(name)).state
    line(f"the runner in {place} was stopped after it sealed and before it delivered", stopped and not state.terminal)
    outcome = await _ended(client, name)
    receipt = (await client.result(name)).receipt.receipt
    line(f"its lease ran out; the job {outcome} in {receipt.jurisdiction}", receipt.jurisdiction != place)
    system.resume(runner_name(place))
    refused = await _until(lambda: _refused(system, place, before))
    line("when it goes on, its delivery is refused with LEASE_LOST", refused)
    again = (await client.result(name)).receipt.receipt
    line("the outcome is the same as before", again.digest == receipt.digest)


async def gateway_dies(line: Line, client: Client, system: Development, make: MakeWork, pins: Path) -> None:
    """5: SIGKILL to the gateway with ten jobs queued and running."""
    names = [await _submit(client, make(str(i))) for i in range(10)]
    states = [(await client.job(name)).state for name in names]
    busy = sum(state in (JobState.RUNNING, JobState.DISPATCHING) for state in states)
    queued = states.count(JobState.QUEUED)
    await system.kill("gateway")
    line(f"the gateway was killed with {busy} jobs running and {queued} queued", busy > 0 and queued > 0)
    await system.start_gateway()
    await system.attached(len(system.places))
    ends = [await _ended(client, name) for name in names]
    line(f"all ten end: {', '.join(sorted(set(ends)))}", set(ends) == {"succeeded"})
    outcomes = [await client.result(name) for name in names]
    results = [json.loads(o.results[0].data)["number"] for o in outcomes]
    line("each with its own result", results == [str(i) for i in range(10)])
    events = [await _outcomes(client, name) for name in names]
    line("each exactly once", events == [1] * 10)
    line("every receipt verifies", all(_verifies(o.receipt_file, pins) for o in outcomes))


async def _submit(client: Client, work: Work) -> str:
    return await client.submit(await client.seal(work, await client.prepare(work.facts)))


async def _running(client: Client, system: Development, name: str) -> str:
    async with asyncio.timeout(WAIT_SECONDS):
        while (job := await client.job(name)).state is not JobState.RUNNING:
            await asyncio.sleep(0.05)
    return next(str(r.id.jurisdiction) for r in system.pki.runners if str(r.id) == job.runner)


async def _ended(client: Client, name: str) -> str:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                if (job := await client.job(name)).state.terminal:
                    return job.state.value
            except CarnetError as error:
                if error.reason != "GATEWAY_UNAVAILABLE":
                    raise
            await asyncio.sleep(0.3)


async def _stop_when_sealed(system: Development, place: str) -> bool:
    """Stop the runner the moment that its journal says `sealed`: its results are on disk, and not yet sent."""
    journal = system.directory / runner_name(place) / "journal.jsonl"
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        steps = [json.loads(row)["step"] for row in journal.read_text().splitlines() if row.endswith("}")]
        if steps and steps[-1] in ("sealed", "receipted"):
            system.pause(runner_name(place))
            return True
        if steps and steps[-1] in ("accepted", "cleaned"):
            return False
        await asyncio.sleep(0.0005)
    return False


async def _refused(system: Development, place: str, before: float) -> bool:
    """The gateway refused a delivery and recorded it, and the runner heard it."""
    heard = "lease lost" in (system.directory / "log" / f"{runner_name(place)}.log").read_text()
    return heard and await system.metric("carnet_refused_results") > before


async def _more(system: Development, name: str, label: str, before: float) -> bool:
    return await system.metric(name, label) > before


async def _until(there: Callable[[], Coroutine[None, None, bool]]) -> bool:
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        if await there():
            return True
        await asyncio.sleep(0.2)
    return False


async def _outcomes(client: Client, name: str) -> int:
    ended = 0
    async for item in client.watch(name):
        ended += isinstance(item, Event) and item.state.terminal
    return ended


def _verifies(file: bytes, pins: Path) -> bool:
    try:
        proof.verify(proof.from_file(file), pins=load_pins(pins))
    except CarnetError:
        return False
    return True
