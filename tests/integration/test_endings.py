"""The end of a job, in every state that it can be in: by its owner's word, and by its deadline.

A real gateway, called as clients and runners call it, under a clock that moves; policy's answers are the test's. After
each end nothing is left to run with: no wrap, no payload, no offer; and what a runner brings later is refused.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from carnet.answers import Event
from carnet.core import lifecycle, limits
from carnet.core.decision import DecisionBody, parse_body
from carnet.core.errors import CarnetError, JobNotCancellable, JobNotWaiting
from carnet.core.job import JobState
from carnet.core.lifecycle import CancelAsked, DeadlinePassed
from carnet.v1 import runners_pb2 as pb
from carnet.v1 import statements_pb2
from gateway import dispatch, parts
from gateway.offering import Offering
from policy.engine import JobQuery
from tests.fixtures.client_double import ClientDouble
from tests.fixtures.gateway_process import GatewayProcess, World, gateway_of, until
from tests.fixtures.inprocess import OpenPolicy
from tests.fixtures.parties import body
from tests.fixtures.runner_double import Attached, RunnerDouble, Work, active

deadline_seconds = 40  # a lease is longer
early_seconds = 30
sweep_seconds = 0.1
DUTY = {"type": "approval", "value": 1, "rule": "X-APPROVAL", "citations": ["C-X"], "enforcer": "gateway"}
GENETIC = {"classes": ["genetic"], "subject_jurisdictions": ["DE"]}
S = JobState


class Reviewing(OpenPolicy):
    """France may run everything; genetic data needs somebody's approval first."""

    async def decide(self, query: JobQuery) -> DecisionBody:
        genetic = "genetic" in query.facts.data.classes
        return parse_body(body("FR", verdict="review", obligations=[DUTY]) if genetic else body("FR"))


@dataclass(kw_only=True)
class Play:
    """A gateway, a client, one runner, and the job whose end is looked at. `work` is an attempt at it, if any was."""

    gateway: GatewayProcess
    client: ClientDouble
    runner: RunnerDouble
    name: str = ""
    attached: Attached = field(init=False)
    work: Work | None = None
    granted: asyncio.Event = field(default_factory=asyncio.Event)

    async def submit(self, *, slots: int = 2, **facts: Any) -> None:
        """The runner attaches, the job is handed in."""
        self.attached = await self.runner.attach(slots=slots)
        self.name = await self.client.submitted(**facts)

    async def state(self) -> JobState:
        """How the job stands."""
        return (await self.client.client.job(self.name)).state

    async def reaches(self, *states: JobState) -> None:
        """Wait until the job is in one of these states."""

        async def there() -> bool:
            return await self.state() in states

        await until(there)

    async def events(self) -> list[Event]:
        """What happened to a job that has ended."""
        return [item async for item in self.client.client.watch(self.name) if isinstance(item, Event)]

    async def sweeps(self) -> None:
        """Let the gateway look at every job, more than once."""
        await asyncio.sleep(5 * sweep_seconds)

    def kept(self) -> tuple[int, int]:
        """The job's wraps, and its files of payload."""
        return self.gateway.rows("wraps"), self.gateway.left()["payloads files"]

    def leaves(self, kind: str) -> int:
        """How many leaves of a kind there are."""
        return self.gateway.rows(f"entries WHERE kind = '{kind}'")

    def confirm(self) -> None:
        """The runner says that it stopped."""
        assert self.work is not None
        ended = pb.AttachRequest.Ended(
            grant_digest=self.work.grant.digest, exit_class=statements_pb2.EXIT_CLASS_CANCELLED
        )
        self.attached.say(pb.AttachRequest(ended=ended))

    async def late(self) -> None:
        """All that the runner made of the job comes now: it is refused, on record, and changes nothing."""
        assert self.work is not None
        before, refused = self.gateway.left(), self.leaves("result.refused")
        with pytest.raises(CarnetError) as caught:
            await self.runner.deliver(self.runner.honest(self.work))
        assert caught.value.reason == "LEASE_LOST"
        assert self.leaves("result.refused") == refused + 1
        assert self.gateway.left() == before

    async def goes_on(self) -> None:
        """The control: the next job is the next offer, on the same slots, and comes home."""
        self.attached.say(active())
        name = await self.client.submitted()
        work = self.runner.attempt(await self.attached.offer())
        assert name.endswith(work.manifest.job_id.hex()), "the job that ended is offered to nobody"
        await self.runner.finish(work)
        assert (await self.client.client.result(name)).succeeded


@asynccontextmanager
async def playing(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Play]:
    monkeypatch.setattr(parts, "CachedPolicy", lambda **_: Reviewing(places=("FR",)))
    monkeypatch.setattr(limits, "manifest_seconds_max", deadline_seconds)
    monkeypatch.setattr(dispatch, "sweep_seconds", sweep_seconds)
    async with (
        gateway_of(world, "http://127.0.0.1:1") as gateway,
        ClientDouble(gateway) as client,
        RunnerDouble(gateway) as runner,
    ):
        yield Play(gateway=gateway, client=client, runner=runner)


@pytest.fixture
async def play(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Play]:
    async with playing(world, monkeypatch) as found:
        yield found


# --- how a job comes into each state ------------------------------------------------------------------------------


async def awaiting_approval(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    await play.submit(data=GENETIC)


async def queued(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    await play.submit(slots=0)


async def claimed(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decision's leaf is in the log, and the grant is not signed yet."""
    grant = Offering._grant

    async def later(self: Offering, *arguments: Any) -> Any:
        await play.granted.wait()
        return await grant(self, *arguments)

    monkeypatch.setattr(Offering, "_grant", later)
    await play.submit()
    await play.reaches(S.DISPATCHING)


async def dispatching(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    await play.submit()
    play.work = play.runner.attempt(await play.attached.offer())
    assert (await play.runner.renew(play.attached, play.work.grant.digest)).HasField("renewed")


async def running(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    await dispatching(play, monkeypatch)
    assert play.work is not None
    await play.runner.deliver([play.runner.opening(play.work)])


async def needs_recipients(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its only runner began, and lost it."""
    await running(play, monkeypatch)
    assert play.work is not None
    lost = pb.AttachRequest.Ended(grant_digest=play.work.grant.digest, exit_class=statements_pb2.EXIT_CLASS_INFRA_LOST)
    play.attached.say(pb.AttachRequest(ended=lost))
    await play.reaches(S.NEEDS_RECIPIENTS)


async def cancelling(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    await running(play, monkeypatch)
    await play.client.client.cancel(play.name)


Scene = Callable[[Play, pytest.MonkeyPatch], Awaitable[None]]
# In which state each scene leaves the job, and how many wraps there are. A stop destroys them at once.
SCENES: dict[Scene, tuple[JobState, int]] = {
    awaiting_approval: (S.AWAITING_APPROVAL, 0),
    queued: (S.QUEUED, 1),
    claimed: (S.DISPATCHING, 1),
    dispatching: (S.DISPATCHING, 1),
    running: (S.RUNNING, 1),
    needs_recipients: (S.NEEDS_RECIPIENTS, 1),
    cancelling: (S.CANCELLING, 0),
}
ENDINGS = {"cancel": (CancelAsked, S.CANCELLED, ""), "deadline": (DeadlinePassed, S.EXPIRED, "DEADLINE")}
each_state = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
each_ending = pytest.mark.parametrize("ending", ENDINGS)


async def bring(play: Play, ending: str) -> None:
    """Cancel the job, or let its time run out."""
    if ending == "cancel":
        await play.client.client.cancel(play.name)
    else:
        play.gateway.clock.advance(deadline_seconds - early_seconds)
        await play.sweeps()


async def enter(play: Play, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scene, and its controls: the job is in its state, with all that it runs with, and stays there."""
    await scene(play, monkeypatch)
    state, wraps = SCENES[scene]
    assert await play.state() is state
    play.gateway.clock.advance(early_seconds)
    await play.sweeps()
    assert await play.state() is state, "the control: nothing ends it before its time"
    assert play.kept() == (wraps, 0 if state is S.CANCELLING else 2)
    assert play.leaves("job.outcome") == 0


def working(scene: Scene) -> bool:
    """Whether a runner holds the job, and must stop."""
    return scene in (dispatching, running, cancelling)


# --- what follows -------------------------------------------------------------------------------------------------


@each_ending
@each_state
async def test_a_job_ends_in_every_state_and_nothing_is_left_to_run_with(
    scene: Scene, ending: str, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enter(play, scene, monkeypatch)
    _, end, reason = ENDINGS["cancel" if scene is cancelling else ending]
    await bring(play, ending)
    if working(scene):
        assert play.work is not None
        revoked = (await play.attached.await_item("revoked")).revoked
        assert (revoked.grant_digest, revoked.reason) == (play.work.grant.digest, "CANCELLED")
        assert await play.state() is S.CANCELLING
        assert play.gateway.rows("wraps") == 0, "destroyed before the runner has stopped"
        with pytest.raises(CarnetError) as caught:
            await play.runner.fetch(play.work.grant.digest)
        assert caught.value.reason == "LEASE_LOST"
        play.confirm()
    await play.reaches(end)
    play.granted.set()
    await until(lambda: play.kept() == (0, 0))
    assert play.leaves("job.outcome") == 1
    events = await play.events()
    assert (events[-1].state, events[-1].reason) == (end, reason)
    kinds = [event.kind for event in events]
    assert kinds.count("cancel_asked") + kinds.count("deadline_passed") == 1
    if play.work is not None:
        await play.late()
    with pytest.raises(JobNotCancellable):
        await play.client.client.cancel(play.name)
    with pytest.raises(JobNotWaiting):
        await play.client.client.approve(play.name)
    await play.goes_on()
    assert await play.events() == events, "nothing more happened to it"


@each_ending
@pytest.mark.parametrize("scene", [s for s in SCENES if s is not cancelling], ids=lambda scene: scene.__name__)
async def test_control_without_its_row_in_the_table_of_lives_a_job_goes_on(
    scene: Scene, ending: str, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enter(play, scene, monkeypatch)
    before = play.kept()
    state, _ = SCENES[scene]
    for gone in {state, S.RUNNING}:  # what is delivered at last passes through RUNNING
        monkeypatch.delitem(lifecycle.TABLE, (gone, ENDINGS[ending][0]))
    if ending == "cancel":
        with pytest.raises(JobNotCancellable):
            await bring(play, ending)
    else:
        await bring(play, ending)
    assert await play.state() is state
    assert play.kept() == before
    assert play.leaves("job.outcome") == 0
    if play.work is not None and working(scene):
        await play.runner.finish(play.work)
        assert await play.state() is S.SUCCEEDED, "and what is refused after an end is a result that is taken"


@each_ending
@pytest.mark.parametrize("scene", [dispatching, running], ids=lambda scene: scene.__name__)
async def test_a_runner_that_never_says_that_it_stopped_holds_a_job_no_longer_than_its_lease(
    scene: Scene, ending: str, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enter(play, scene, monkeypatch)
    _, end, _ = ENDINGS[ending]
    await bring(play, ending)
    await play.sweeps()
    assert await play.state() is S.CANCELLING, "the control: the lease is live"
    play.gateway.clock.advance(limits.lease_seconds + limits.lease_margin_seconds)
    await play.reaches(end)
    await until(lambda: play.kept() == (0, 0))
    await play.late()


@each_ending
async def test_a_receipt_that_comes_while_a_job_is_stopped_ends_it_by_the_cause_of_the_stop(
    ending: str, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enter(play, running, monkeypatch)
    _, end, reason = ENDINGS[ending]
    await bring(play, ending)
    await play.reaches(S.CANCELLING)
    assert play.work is not None
    await play.runner.finish(play.work)
    events = await play.events()
    assert (events[-1].kind, events[-1].state, events[-1].reason) == ("receipt_arrived", end, reason)
    await until(lambda: play.kept() == (0, 0))
    await play.goes_on()
