"""Attacks on decisions, at the real gateway: denied ones attached, of other facts, stale at dispatch.

The client here is malicious: it seals under whatever decision it likes, with its own good keys. Each control takes the
named check of the gateway away, and the job is then taken, or run.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from carnet.client import Client
from carnet.core.decision import DecisionBody, Verdict
from carnet.core.errors import CarnetError, FactsMismatch, PolicyDenied, StatementInvalid
from carnet.core.facts import parse_facts
from carnet.core.job import JobState
from carnet.outbox import SealedJob, seal
from carnet.verdict import Decided, open_decision
from gateway import intake, judge
from tests.fixtures.inprocess import InProcess, OpenPolicy, gateway
from tests.fixtures.malicious_gateway import running
from tests.fixtures.parties import TEMPLATE, Cage, Parties, body, facts, nothing, work


@dataclass(frozen=True, kw_only=True)
class Play:
    """A real gateway, and a client that seals what it likes."""

    parties: Parties
    found: InProcess
    client: Client

    def seal(self, decided: Decided, data: bytes) -> SealedJob:
        """A job for the French runner, under any decision."""
        return seal(
            work(data),
            decided,
            (self.parties.runners["FR"].vetted(self.parties.pins),),
            keys=self.parties.tenant,
            facts=parse_facts(data),
            template_digest=TEMPLATE,
            directory=self.parties.directory / "outbox",
            now_ns=time.time_ns(),
        )

    async def offered(self, data: bytes) -> Decided:
        """The decision of a gateway that has the French runner on its list."""
        for _ in range(100):
            prepared = await self.client.prepare(data)
            if prepared.runners:
                return prepared.decided
            await asyncio.sleep(0.05)
        pytest.fail("no runner is offered")

    async def state(self, name: str, *states: JobState) -> JobState:
        """The job's state, once it is one of these."""
        for _ in range(200):
            found = (await self.client.job(name)).state
            if found in states:
                return found
            await asyncio.sleep(0.05)
        pytest.fail(f"the job never came to {states}")


@pytest.fixture
async def play(parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Play]:
    parties.mint()
    async with gateway(parties, tmp_path / "gateway", monkeypatch) as found:
        found.policy.places = ("FR",)
        async with Client(parties.context(found.enterprise)) as client:
            yield Play(parties=parties, found=found, client=client)


async def test_a_denial_attached_to_a_job_ends_it_before_its_payload(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play.found.policy.places = ()
    denied = (await play.client.prepare(facts())).decided
    assert denied.body.verdict is Verdict.DENY
    sealed = play.seal(denied, facts())
    with pytest.raises(PolicyDenied, match="does not permit this job"):
        await play.client.submit(sealed)
    assert not list((tmp_path / "gateway" / "blobs").rglob("*-*-0"))
    # Control: a gateway that does not read the verdict takes the job in.
    monkeypatch.setattr(intake, "Verdict", SimpleNamespace(DENY=Verdict.PERMIT, REVIEW=Verdict.REVIEW))
    monkeypatch.setattr(intake, "check_submittable", nothing)
    monkeypatch.setattr(intake, "_check_recipients", nothing)
    assert await play.client.submit(sealed)


async def test_a_denial_with_the_body_of_a_permission_is_refused(play: Play) -> None:
    play.found.policy.places = ()
    denied = (await play.client.prepare(facts())).decided
    sealed = play.seal(denied, facts())
    edited = replace(denied.body, payload=body("FR"))
    with pytest.raises(StatementInvalid, match="not of this body"):
        await play.client.submit(replace(sealed, decided=replace(denied, body=edited)))
    # Control: with its own body it is read, and is the denial that it is.
    with pytest.raises(PolicyDenied):
        await play.client.submit(sealed)


async def test_a_decision_about_other_facts_is_refused(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    harmless, real = facts(), facts(data={"classes": ["health"], "subject_jurisdictions": ["DE"], "records": 9})
    async with running(play.parties, play.parties.runners["FR"], play.found.runner, Cage(), _state(play)):
        decided = await play.offered(harmless)
    sealed = play.seal(decided, real)
    with pytest.raises(StatementInvalid, match="of other facts"):
        await play.client.submit(sealed)
    # The facts that policy heard, and a manifest that names others: found at the trailer.
    with pytest.raises(FactsMismatch, match="facts_digest"):
        await play.client.submit(replace(sealed, facts=parse_facts(harmless)))
    # Control: without the comparison health data goes where technical data may go.
    monkeypatch.setattr(intake, "check_record", nothing)
    assert await play.client.submit(sealed)


async def test_a_decision_of_another_tenant_is_refused(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    voice, told = play.parties.voice, parse_facts(facts())
    other = open_decision(
        voice.decide(told, [play.parties.runners["FR"]], body=body("FR"), tenant_id=bytes(16)),
        pins=play.parties.pins.gateway,
    )
    with pytest.raises(StatementInvalid, match="another tenant's"):
        await play.client.submit(play.seal(other, facts()))
    # Control: the same under this tenant's name is read on; the gateway only never made it.
    own = open_decision(
        voice.decide(told, [play.parties.runners["FR"]], body=body("FR")), pins=play.parties.pins.gateway
    )
    with pytest.raises(CarnetError) as caught:
        await play.client.submit(play.seal(own, facts()))
    assert "tenant" not in caught.value.text


def _state(play: Play) -> Path:
    return play.found.state / "runner"


@pytest.mark.parametrize("places", [("DE",), ()], ids=["another place", "nowhere"])
async def test_a_decision_that_is_stale_at_dispatch_offers_the_job_to_nobody(
    places: tuple[str, ...], play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = play.parties.runners["FR"]

    async def dispatched(now: tuple[str, ...], *, careless: bool = False) -> tuple[JobState, int]:
        cage = Cage()
        play.found.policy.places = ("FR",)
        async with running(play.parties, runner, play.found.runner, cage, _state(play)):
            decided = await play.offered(facts())
            # The rules change after the client sealed, and before its job is offered.
            play.found.policy.places = now
            if careless:
                loosen(monkeypatch)
            name = await play.client.submit(play.seal(decided, facts()))
            return await play.state(name, JobState.DENIED, JobState.SUCCEEDED, JobState.FAILED), len(cage.opened)

    assert await dispatched(places) == (JobState.DENIED, 0)
    # Control: with the same rules it runs; and it would run too, if nobody compared the old answer with the new one.
    assert await dispatched(("FR",)) == (JobState.SUCCEEDED, 1)
    assert await dispatched(places, careless=True) == (JobState.SUCCEEDED, 1)


def loosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispatch that takes any new answer for the old one."""
    answers = OpenPolicy.judge

    async def everywhere(self: OpenPolicy, query: Any, runners: Any) -> Any:
        return tuple(replace(v, permitted=True) for v in await answers(self, query, runners))

    monkeypatch.setattr(OpenPolicy, "judge", everywhere)
    monkeypatch.setattr(judge, "narrow", lambda before, after: ("FR",))
    monkeypatch.setattr(DecisionBody, "permits", lambda self, place: True)
    denied = SimpleNamespace(PERMIT=Verdict.DENY)
    recheck = judge.Judge.recheck

    async def any_verdict(self: judge.Judge, *parts: Any, **names: Any) -> Any:
        with monkeypatch.context() as patched:
            if not self._engine.places:  # type: ignore[attr-defined]  # the test's own engine
                patched.setattr(judge, "Verdict", denied)
            return await recheck(self, *parts, **names)

    monkeypatch.setattr(judge.Judge, "recheck", any_verdict)
