"""Processes die at the worst moment: every accepted job ends exactly once, and a late runner is refused."""

import asyncio
import signal
from collections.abc import Iterator

import pytest

from carnet.client import Client
from carnet.core.job import JobState
from carnet.core.receipt import ExitClass
from tests.fixtures.own import Own, own_system
from tests.fixtures.system import SYSTEM, Seen, facts_of, follow, script, submitted, until

pytestmark = [*SYSTEM, pytest.mark.timeout(240)]

EVENTS = "carnet_job_events_total"
OF_CLIENTS = 'method="/carnet.v1.Jobs/'
SLOW = "import time\nprint('up', flush=True)\ntime.sleep({})\nprint('done', flush=True)\nopen('out/r', 'w').write('x')"


@pytest.fixture(scope="module")
def own() -> Iterator[Own]:
    with own_system() as own:
        yield own


async def started(
    client: Client, own: Own, seconds: float, *, recipients: int = 2
) -> tuple[str, Seen, "asyncio.Task[Seen]"]:
    """A job that runs, and the watch on it. Where it may fail over, both runners have room when it is prepared."""

    async def enough() -> bool:
        return len((await client.prepare(facts_of(own.image))).runners) >= recipients

    await until(enough)
    name = await submitted(client, script(facts_of(own.image), SLOW.format(seconds)))
    seen = Seen()
    following = asyncio.create_task(follow(client, name, seen, seconds=100))

    async def up() -> bool:
        return b"up" in seen.log

    await until(up)
    return name, seen, following


@pytest.fixture(scope="module")
def patient() -> Iterator[Own]:
    """One whose leases outlast a restart of the gateway."""
    with own_system(lease_seconds=60) as own:
        yield own


async def test_a_gateway_that_is_killed_and_started_again_ends_every_accepted_job_once(patient: Own) -> None:
    own = patient
    async with Client(own.context()) as client:
        running = [await started(client, own, 10, recipients=1) for _ in range(4)]
        queued = await submitted(client, script(facts_of(own.image), SLOW.format(0)))
        assert (await client.job(queued)).state is JobState.QUEUED, "the control: all slots are taken"
        await asyncio.to_thread(own.kill, "gateway")
        await asyncio.to_thread(own.start_gateway)
        await follow(client, queued, Seen(), seconds=100)
        for name, seen, following in running:
            await following
            assert seen.kinds.count("receipt_arrived") == 1
            assert seen.events[-1].attempt == 1, "the runner went on with its work"
            assert seen.log == b"up\ndone\n"
            assert (await client.result(name)).succeeded
        assert (await client.result(queued)).succeeded
        assert {job.state for job in (await client.jobs()).jobs} == {JobState.SUCCEEDED}


async def test_a_runner_that_starts_again_loses_its_attempt_at_once_not_at_the_lease_s_end(patient: Own) -> None:
    own = patient
    async with Client(own.context()) as client:
        _, seen, following = await started(client, own, 4)
        place = own.place_of(seen.events[-1].runner)
        await asyncio.to_thread(own.kill, f"runner-{place}")
        await asyncio.to_thread(own.start_runner, place)
        await following
        lost = [event for event in seen.events if event.kind == "attempt_lost"]
        assert [event.reason for event in lost] == ["RUNNER_RESTARTED"]
        assert seen.events[-1].state is JobState.SUCCEEDED


async def happened(own: Own, kind: str, before: float) -> None:
    """Wait until the gateway counts one more event of this kind than before. No client is asked."""

    async def more() -> bool:
        return await asyncio.to_thread(own.metric, EVENTS, f'kind="{kind}"') > before

    await until(more, seconds=60)


async def test_the_job_of_a_killed_runner_is_finished_by_the_other_permitted_one_with_no_client_there(own: Own) -> None:
    lost, received = (own.metric(EVENTS, f'kind="{kind}"') for kind in ("attempt_lost", "receipt_arrived"))
    async with Client(own.context()) as client:
        name, seen, following = await started(client, own, 6)
        first = seen.events[-1].runner
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    place = own.place_of(first)
    await asyncio.to_thread(own.kill, f"runner-{place}")
    await happened(own, "attempt_lost", lost)
    calls = own.metric("carnet_calls_total", OF_CLIENTS)
    await happened(own, "receipt_arrived", received)
    assert own.metric("carnet_calls_total", OF_CLIENTS) == calls > 0, "until it had ended, no client called"
    async with Client(own.context()) as client:
        outcome = await client.result(name)
        seen = await follow(client, name, Seen())
        assert own.metric("carnet_calls_total", OF_CLIENTS) > calls, "the control: a client that calls is counted"
    assert [e.reason for e in seen.events if e.kind == "attempt_lost"] == ["LEASE_EXPIRED"]
    assert (seen.events[-1].state, seen.events[-1].attempt) == (JobState.SUCCEEDED, 2)
    assert outcome.receipt.receipt.spiffe_id != first
    assert outcome.receipt.receipt.attempt == 2
    left = own.containers()
    assert left, "the control: a killed runner leaves its container"
    await asyncio.to_thread(own.start_runner, place)
    assert not own.containers(), "a runner that starts removes what its earlier life left"


async def test_attack_a_runner_that_was_stopped_delivers_after_its_lease(own: Own) -> None:
    async with Client(own.context()) as client:
        name, seen, following = await started(client, own, 4)
        first = seen.events[-1].runner
        place = own.place_of(first)
        own.send(f"runner-{place}", signal.SIGSTOP)
        try:
            await following
        finally:
            own.send(f"runner-{place}", signal.SIGCONT)
        outcome = await client.result(name)
        assert outcome.receipt.receipt.spiffe_id != first
        assert outcome.receipt.receipt.exit_class is ExitClass.SUCCEEDED

        async def settled() -> bool:
            return "lease lost" in own.log(f"runner-{place}") and not own.containers()

        await until(settled)
        assert (await client.job(name)).attempt == 2
        again = await follow(client, name, Seen())
        assert again.kinds.count("receipt_arrived") == 1
