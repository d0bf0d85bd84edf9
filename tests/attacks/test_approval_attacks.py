"""A job that must be approved first: who tries to run it with less, or to approve what is their own.

The gateway is the real one; the policy of the test asks for two approvals, as an overlay's `approval` duty does. Each
control takes one check away, and the attack then passes.
"""

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from carnet.client import Client
from carnet.context import Context
from carnet.core.decision import DecisionBody, parse_body
from carnet.core.envelope import result_key
from carnet.core.errors import (
    ApprovalRequired,
    FactsMismatch,
    FieldInvalid,
    JobNotWaiting,
    NotFound,
    PolicyDenied,
    RequestIdReused,
    RoleRequired,
    SecondPersonRequired,
    StatementInvalid,
)
from carnet.core.facts import parse_facts
from carnet.core.job import JobState
from carnet.outbox import SealedJob, seal
from carnet.rpc import calling
from carnet.v1 import jobs_pb2 as pb
from carnet.v1.jobs_pb2_grpc import JobsStub
from carnet.wire import parse_entry
from gateway import approvals, intake, recipients
from policy.engine import JobQuery
from tests.fixtures.inprocess import InProcess, gateway
from tests.fixtures.malicious_gateway import running
from tests.fixtures.parties import TEMPLATE, Cage, Parties, body, facts, nothing, work
from tests.fixtures.submission import bearer, channel_of

QUORUM = 2
DUTY = {"type": "approval", "value": QUORUM, "rule": "X-APPROVAL", "citations": ["C-X"], "enforcer": "gateway"}
GENETIC = facts(data={"classes": ["genetic"], "subject_jurisdictions": ["DE"]})


def reviewed(approved: int) -> bytes:
    """What policy says of a job with genetic data."""
    return body("FR", verdict="permit" if approved >= QUORUM else "review", obligations=[DUTY])


@dataclass(kw_only=True)
class Play:
    """A real gateway with one runner, the client whose job it is, and other persons of the tenant."""

    parties: Parties
    found: InProcess
    owner: Client
    stack: AsyncExitStack
    asks: bool = True

    async def person(self, subject: str, *roles: str) -> Client:
        """A client with a token of somebody else."""
        return await self.stack.enter_async_context(Client(self.context(subject, *roles)))

    def context(self, subject: str, *roles: str) -> Context:
        """Their context."""
        return self.parties.context(self.found.enterprise, token=self.parties.person(subject, *roles))

    async def waiting(self) -> str:
        """A job that awaits approval; its name."""
        sealed = await self.owner.seal(work(GENETIC), await self.owner.prepare(GENETIC))
        assert sealed.wraps == ()
        return await self.owner.submit(sealed)

    async def state(self, name: str) -> JobState:
        """How a job stands."""
        return (await self.owner.job(name)).state

    async def settled(self, name: str) -> JobState:
        """How it stands once nobody works on it."""
        for _ in range(200):
            if (state := await self.state(name)) not in (JobState.QUEUED, JobState.DISPATCHING, JobState.RUNNING):
                return state
            await asyncio.sleep(0.05)
        pytest.fail("the job goes on and on")

    async def first(self) -> str:
        """The name of the first job that there is."""
        for _ in range(200):
            if found := (await self.owner.jobs()).jobs:
                return found[0].name
            await asyncio.sleep(0.05)
        pytest.fail("no job came")

    async def call(self, context: Context, method: str, request: Any) -> Any:
        """One call by hand. Raises the error of core that it was refused with."""
        async with channel_of(context) as channel, calling():
            return await getattr(JobsStub(channel), method)(request, timeout=20, metadata=bearer(context))

    def rows(self, query: str) -> list[Any]:
        """What the store holds."""
        with closing(sqlite3.connect(f"file:{self.found.state}/gateway.db?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()

    async def ready(self) -> None:
        """The runner has attached."""
        for _ in range(200):
            if (await self.owner.prepare(facts())).runners:
                return
            await asyncio.sleep(0.05)
        pytest.fail("no runner is offered")


@pytest.fixture
async def play(parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Play]:
    parties.mint()
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(gateway(parties, tmp_path / "gateway", monkeypatch))

        async def decide(query: JobQuery) -> DecisionBody:
            found.policy.asked.append(query)
            genetic = play.asks and "genetic" in query.facts.data.classes
            return parse_body(reviewed(query.gateway.approvals) if genetic else body("FR"))

        found.policy.places = ("FR",)
        monkeypatch.setattr(found.policy, "decide", decide)
        owner = await stack.enter_async_context(Client(parties.context(found.enterprise)))
        cage = running(parties, parties.runners["FR"], found.runner, Cage(), tmp_path / "runner")
        await stack.enter_async_context(cage)
        play = Play(parties=parties, found=found, owner=owner, stack=stack)
        await play.ready()
        yield play


async def test_a_job_waits_for_two_other_persons_then_runs_and_its_receipt_verifies(play: Play) -> None:
    first, second = await play.person("ada", "job.approver"), await play.person("ben", "job.approver")
    seen: list[str] = []
    job = asyncio.create_task(
        play.owner.run(work(GENETIC), observe=lambda item: seen.append(getattr(item, "kind", "line")))
    )
    name = await play.first()
    assert await play.state(name) is JobState.AWAITING_APPROVAL
    assert play.rows("SELECT * FROM wraps") == []
    assert (await first.approve(name)).state is JobState.AWAITING_APPROVAL
    assert (await first.approve(name)).state is JobState.AWAITING_APPROVAL
    assert (await second.approve(name)).state is JobState.NEEDS_RECIPIENTS
    outcome = await asyncio.wait_for(job, 20)
    assert outcome.succeeded
    assert [kind for kind in seen if kind in ("accepted", "approved", "recipients_added")] == [
        "accepted",
        "approved",
        "recipients_added",
    ]
    kinds = [parse_entry(data).kind for (data,) in play.rows("SELECT data FROM entries ORDER BY leaf_index")]
    assert [kind for kind in kinds if kind == "job.approved"] == ["job.approved", "job.approved"]
    # Policy heard of the approvals at dispatch too, and of none before.
    heard = [query.gateway.approvals for query in play.found.policy.asked if "genetic" in query.facts.data.classes]
    assert heard[0] == 0
    assert heard[-1] == QUORUM


async def test_one_refusal_is_the_end_of_the_job(play: Play) -> None:
    name = await play.waiting()
    other = await play.person("ada", "job.approver")
    assert (await other.refuse(name)).state is JobState.DENIED
    kinds = [parse_entry(data).kind for (data,) in play.rows("SELECT data FROM entries ORDER BY leaf_index")]
    assert kinds[-2:] == ["job.refused", "job.outcome"]
    with pytest.raises(JobNotWaiting):
        await other.approve(name)


async def test_a_refusal_that_comes_again_with_the_same_id_is_answered(play: Play) -> None:
    name = await play.waiting()
    context = play.context("ada", "job.approver")
    request = pb.RefuseJobRequest(name=name, request_id=str(uuid.uuid4()))
    first, again = [await play.call(context, "RefuseJob", request) for _ in range(2)]
    assert first.state == again.state == pb.Job.STATE_DENIED
    kinds = [parse_entry(data).kind for (data,) in play.rows("SELECT data FROM entries ORDER BY leaf_index")]
    assert kinds.count("job.refused") == 1
    with pytest.raises(JobNotWaiting):
        await play.call(context, "RefuseJob", pb.RefuseJobRequest(name=name, request_id=str(uuid.uuid4())))


async def test_whoever_approved_first_may_still_refuse(play: Play) -> None:
    name = await play.waiting()
    other = await play.person("ada", "job.approver")
    await other.approve(name)
    assert (await other.refuse(name)).state is JobState.DENIED


async def test_without_the_role_nobody_approves_or_refuses(play: Play) -> None:
    name = await play.waiting()
    other = await play.person("ada", "policy.approver")
    with pytest.raises(RoleRequired):
        await other.approve(name)
    with pytest.raises(RoleRequired):
        await other.refuse(name)
    assert await play.state(name) is JobState.AWAITING_APPROVAL


async def test_the_owner_with_every_role_does_not_approve_the_own_job(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await play.waiting()
    same = await play.person("developer", "job.approver", "policy.approver", "policy.author")
    with pytest.raises(SecondPersonRequired):
        await same.approve(name)
    with pytest.raises(SecondPersonRequired):
        await same.refuse(name)
    assert play.rows("SELECT * FROM job_approvals") == []
    # Control: with nobody looking, the owner is as good as anybody.
    monkeypatch.setattr(approvals, "check_other", nothing)
    await same.approve(name)
    assert len(play.rows("SELECT * FROM job_approvals")) == 1


async def test_one_person_does_not_fill_a_quorum_of_two_however_often_and_at_once(play: Play) -> None:
    name = await play.waiting()
    other = await play.person("ada", "job.approver")
    again = await play.person("ada", "job.approver")
    await asyncio.gather(*(client.approve(name) for client in (other, again) * 4))
    assert await play.state(name) is JobState.AWAITING_APPROVAL
    assert len(play.rows("SELECT * FROM job_approvals")) == 1


async def test_two_persons_at_once_are_two(play: Play) -> None:
    name = await play.waiting()
    both = [await play.person(subject, "job.approver") for subject in ("ada", "ben")]
    await asyncio.gather(*(client.approve(name) for client in both))
    assert await play.state(name) is JobState.NEEDS_RECIPIENTS


async def test_an_approval_of_another_manifest_than_the_one_looked_at_is_none(play: Play) -> None:
    name = await play.waiting()
    other = play.context("ada", "job.approver")
    request = pb.ApproveJobRequest(name=name, manifest_digest=bytes(32), request_id=str(uuid.uuid4()))
    with pytest.raises(FactsMismatch):
        await play.call(other, "ApproveJob", request)
    client = await play.person("ada", "job.approver")
    with pytest.raises(StatementInvalid):
        await client.approve(name, manifest_digest=bytes(32))
    assert await play.state(name) is JobState.AWAITING_APPROVAL


async def test_another_person_with_the_request_id_of_the_first_is_not_taken_for_them(play: Play) -> None:
    name = await play.waiting()
    manifest = (await play.owner.written(name)).manifest.digest
    request = pb.ApproveJobRequest(name=name, manifest_digest=manifest, request_id=str(uuid.uuid4()))
    await play.call(play.context("ada", "job.approver"), "ApproveJob", request)
    with pytest.raises(RequestIdReused):
        await play.call(play.context("ben", "job.approver"), "ApproveJob", request)
    assert await play.state(name) is JobState.AWAITING_APPROVAL


async def test_a_job_that_was_not_approved_gets_no_recipients(play: Play) -> None:
    name = await play.waiting()
    with pytest.raises((ApprovalRequired, JobNotWaiting)):
        await play.owner.add_recipients(name)
    assert play.rows("SELECT * FROM wraps") == []


async def approved(play: Play) -> str:
    """A job that two others approved."""
    name = await play.waiting()
    for subject in ("ada", "ben"):
        await (await play.person(subject, "job.approver")).approve(name)
    return name


def sealed_for(play: Play, prepared: Any, data: bytes, *, public: bytes = b"") -> SealedJob:
    """A job for the French runner, under whatever decision; perhaps for a key that is not its own."""
    runner = play.parties.runners["FR"].vetted(play.parties.pins)
    return seal(
        work(data),
        prepared.decided,
        (replace(runner, key=replace(runner.key, public=public or runner.key.public)),),
        keys=play.parties.tenant,
        facts=parse_facts(data),
        template_digest=TEMPLATE,
        directory=play.parties.directory / "outbox",
        now_ns=play.parties.clock(),
    )


async def test_the_approvals_of_one_job_let_no_other_job_in(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    name = await approved(play)
    # The decision is signed, fresh, of the same facts, and permits: but it rests on what others said of another job.
    prepared = await play.owner.prepare(GENETIC, job=name)
    assert not prepared.waits
    with pytest.raises(ApprovalRequired):
        await play.owner.submit(sealed_for(play, prepared, GENETIC))
    # Control: the gateway that does not look takes it.
    monkeypatch.setattr(intake, "check_submittable", nothing)
    await play.owner.submit(sealed_for(play, prepared, GENETIC))


async def test_the_approvals_of_one_job_give_no_other_job_recipients(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other job was taken in before its data needed anybody's approval, and waits for recipients.
    other, name = await waiting_for_recipients(play), await approved(play)
    honest = play.owner.prepare

    async def borrowing(data: bytes, *, job: str = "") -> Any:
        return await honest(data, job=name)

    monkeypatch.setattr(play.owner, "prepare", borrowing)
    with pytest.raises(ApprovalRequired):
        await play.owner.add_recipients(other)
    # Control: the gateway that does not look wraps it.
    monkeypatch.setattr(recipients, "approvals_needed", lambda _: 0)
    await play.owner.add_recipients(other)


async def waiting_for_recipients(play: Play) -> str:
    """A job of the same facts that nobody approved, and whose one recipient is gone."""
    play.asks = False
    strange = result_key(bytes(32), bytes(16)).public
    sealed = sealed_for(play, await play.owner.prepare(GENETIC), GENETIC, public=strange)
    name = await play.owner.submit(sealed)
    assert await play.settled(name) is JobState.NEEDS_RECIPIENTS
    play.asks = True
    return name


async def test_a_job_of_other_facts_lends_no_approvals(play: Play) -> None:
    name = await approved(play)
    with pytest.raises(FactsMismatch):
        await play.owner.prepare(facts(data={"classes": ["genetic"], "records": 7}), job=name)
    with pytest.raises(NotFound):
        await play.owner.prepare(GENETIC, job=f"tenants/{play.parties.tenant.tenant_id.hex()}/jobs/{'0' * 32}")
    with pytest.raises(NotFound):
        await play.owner.prepare(GENETIC, job=f"tenants/{'0' * 32}/{name.split('/', 2)[2]}")


async def test_a_job_that_must_be_approved_is_not_taken_with_a_recipient(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = await play.owner.prepare(GENETIC)
    assert prepared.waits
    with pytest.raises(FactsMismatch):
        await play.owner.submit(sealed_for(play, prepared, GENETIC))
    assert play.rows("SELECT * FROM jobs") == []


async def test_a_job_that_needs_no_approval_is_not_taken_without_recipients(play: Play) -> None:
    prepared = await play.owner.prepare(facts())
    sealed = seal(
        work(),
        prepared.decided,
        (),
        keys=play.parties.tenant,
        facts=parse_facts(facts()),
        template_digest=TEMPLATE,
        directory=play.parties.directory / "outbox",
        now_ns=play.parties.clock(),
    )
    with pytest.raises(FieldInvalid):
        await play.owner.submit(sealed)


async def test_policy_that_asks_for_more_by_then_denies_at_dispatch(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await approved(play)
    honest = play.found.policy.decide
    asked = 0

    async def stricter(query: JobQuery) -> DecisionBody:
        nonlocal asked
        asked += 1
        # The addition is prepared under the old rules; what comes after is asked of the new ones.
        return await honest(query if asked == 1 else replace(query, gateway=replace(query.gateway, approvals=0)))

    monkeypatch.setattr(play.found.policy, "decide", stricter)
    await play.owner.add_recipients(name)
    assert await play.settled(name) is JobState.DENIED


async def test_a_denied_job_is_still_denied_and_nothing_waits(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def denied(query: JobQuery) -> DecisionBody:
        return parse_body(body())

    monkeypatch.setattr(play.found.policy, "decide", denied)
    prepared = await play.owner.prepare(GENETIC)
    assert not prepared.waits
    with pytest.raises(PolicyDenied):
        await play.owner.seal(work(GENETIC), prepared)
