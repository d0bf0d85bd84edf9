"""The policy engine is down, slow or answers nonsense: nothing is prepared or dispatched; service returns by itself.

The wire to a real OPA is real HTTP, and may be told to misbehave.
"""

import asyncio
from collections.abc import Iterator

import pytest

from carnet.client import Client
from carnet.core.errors import PolicyEngineUnavailable
from carnet.core.job import JobState
from tests.fixtures.own import Own, own_system
from tests.fixtures.policy_wire import PolicyWire, policy_wire
from tests.fixtures.system import SYSTEM, Seen, facts_of, follow, run, script, submitted, until

pytestmark = [*SYSTEM, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def wire() -> Iterator[PolicyWire]:
    with policy_wire() as wire:
        yield wire


@pytest.fixture(scope="module")
def own(wire: PolicyWire) -> Iterator[Own]:
    with own_system(places=("FR",), policy=f'url = "{wire.url}"', lease_seconds=60) as own:
        yield own


@pytest.fixture(autouse=True)
def restored(wire: PolicyWire) -> Iterator[None]:
    yield
    wire.mode = "pass"


async def prepares(client: Client, own: Own) -> bool:
    """Whether the gateway answers again; the facts differ each time, so that no cache answers."""
    try:
        return not (await client.prepare(facts_of(own.image, data={"records": 1}))).denied
    except PolicyEngineUnavailable:
        return False


async def test_the_control_a_job_runs_while_the_engine_answers(own: Own, wire: PolicyWire) -> None:
    async with Client(own.context()) as client:
        outcome, _ = await run(client, script(facts_of(own.image), "print(1)"))
    assert outcome.succeeded
    assert wire.asked >= 3, "stage 1 once, stage 2 at prepare and again at dispatch"


@pytest.mark.parametrize("mode", ["down", "slow", "nonsense"])
async def test_prepare_is_unavailable_and_a_queued_job_waits_until_the_engine_is_back(
    own: Own, wire: PolicyWire, mode: str
) -> None:
    async with Client(own.context()) as client:
        blockers = [
            await submitted(client, script(facts_of(own.image), "import time\ntime.sleep(4)")) for _ in range(2)
        ]

        async def both_run() -> bool:
            return all([(await client.job(name)).state is JobState.RUNNING for name in blockers])

        await until(both_run)
        queued = await submitted(client, script(facts_of(own.image), "print(1)"))
        assert (await client.job(queued)).state is JobState.QUEUED, "the control: no slot is free"
        wire.mode = mode
        with pytest.raises(PolicyEngineUnavailable):
            await client.prepare(facts_of(own.image, data={"records": 2}))
        for name in blockers:
            await follow(client, name, Seen())
        asked = wire.asked
        await asyncio.sleep(3)
        assert (await client.job(queued)).state is JobState.QUEUED, "no answer, no claim"
        assert wire.asked >= asked
        wire.mode = "pass"
        seen = await follow(client, queued, Seen())
        assert seen.kinds == ["accepted", "claimed", "started", "receipt_arrived"]
        await until(lambda: prepares(client, own))


async def test_a_job_that_runs_is_not_disturbed_while_the_engine_is_down(own: Own, wire: PolicyWire) -> None:
    async with Client(own.context()) as client:
        name = await submitted(client, script(facts_of(own.image), "import time\ntime.sleep(2)"))

        async def runs() -> bool:
            return (await client.job(name)).state is JobState.RUNNING

        await until(runs)
        wire.mode = "down"
        assert (await follow(client, name, Seen())).events[-1].state is JobState.SUCCEEDED
