"""A job whose time is over: on the real gateway, under a clock that moves."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carnet.answers import Event
from carnet.client import Client
from carnet.core import limits
from carnet.core.job import JobState
from carnet.core.receipt import ExitClass
from sandbox.outcome import Outcome, Stop
from tests.fixtures.gateway_process import Clock, until
from tests.fixtures.inprocess import gateway
from tests.fixtures.malicious_gateway import running
from tests.fixtures.parties import Cage, Parties, facts, work

deadline_seconds = 40


class Endless(Cage):
    """A job that runs until it is stopped."""

    causes: list[ExitClass]

    async def run(self, *args: Any, stop: Stop, **named: Any) -> Outcome:
        """Wait for the stop, and end by it."""
        cause = await stop.wait()
        self.causes = [cause]
        return replace(await super().run(*args, stop=stop, **named), exit=cause)


async def test_a_running_job_past_its_deadline_is_stopped_and_ends_expired(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parties.mint()
    monkeypatch.setattr(limits, "manifest_seconds_max", deadline_seconds)
    clock, cage = Clock(), Endless()
    async with (
        gateway(parties, tmp_path / "gateway", monkeypatch, clock=clock) as found,
        Client(parties.context(found.enterprise)) as client,
        running(parties, parties.runners["FR"], found.runner, cage, tmp_path / "runner"),
    ):
        found.policy.places = ("FR",)

        async def offered() -> bool:
            return bool((await client.prepare(facts())).runners)

        await until(offered)
        name = await client.submit(await client.seal(work(), await client.prepare(facts())))
        events = list[Event]()
        async with asyncio.timeout(30):
            async for item in client.watch(name):
                events += [item] if isinstance(item, Event) else []
                if events[-1].state is JobState.RUNNING and not clock.ahead_ns:
                    await asyncio.sleep(1.5)
                    assert (await client.job(name)).state is JobState.RUNNING, "control: before, it just runs"
                    clock.advance(deadline_seconds)  # a lease is longer
    states = [event.state for event in events]
    assert states[-2:] == [JobState.CANCELLING, JobState.EXPIRED]
    assert [event.kind for event in events if event.kind == "attempt_lost"] == []
    assert cage.causes == [ExitClass.CANCELLED]
