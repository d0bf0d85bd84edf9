"""Recipients added by another replica of the client, which never saw the job: all it has is its tenant's keys.

- On a real gateway, with real runners that start again: the job is opened, and its receipt names the addendum.
- A gateway that lies to that replica: other facts, a root of its own, addenda left out or turned about. Each control
  takes the named check away, and then the replica wraps what the gateway likes.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from carnet import addition, authorship, statements
from carnet import client as clients
from carnet.addition import Addition, add
from carnet.answers import Event
from carnet.authorship import open_written
from carnet.client import Client
from carnet.core.envelope import self_wrap, unwrap_root_addendum
from carnet.core.errors import EnvelopeUnopened, PeerError, SandboxUnavailable, StatementInvalid
from carnet.core.facts import parse_facts
from carnet.core.hybrid import HybridPublicKey
from carnet.core.job import JobState
from carnet.outbox import SealedJob, seal
from carnet.v1 import jobs_pb2
from carnet.wire import signed_from_proto, signed_to_proto
from tests.fixtures.gateway_process import until
from tests.fixtures.inprocess import InProcess, gateway
from tests.fixtures.malicious_gateway import MaliciousGateway, running, serving
from tests.fixtures.parties import SECRET, TEMPLATE, Cage, Parties, facts, nothing, work

PLACES = ("FR", "DE", "US")


@pytest.fixture
def own(tmp_path: Path) -> Parties:
    """Parties whose runners may start again."""
    return Parties.build(tmp_path / "parties")


# --- a real gateway, and real runners ------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Play:
    """A real gateway that permits France, and a cage for each life of the French runner."""

    parties: Parties
    found: InProcess
    home: Path

    @contextlib.asynccontextmanager
    async def replica(self, name: str) -> AsyncIterator[Client]:
        """A client of the tenant with an outbox of its own: it knows of no job."""
        outbox = self.home / name
        async with Client(self.parties.context(self.found.enterprise, outbox=outbox)) as client:
            yield client
        assert not outbox.exists() or not any(outbox.iterdir())

    @contextlib.asynccontextmanager
    async def runner(self, cage: Cage | None = None) -> AsyncIterator[Cage]:
        """The French runner, for as long as the block lasts; the next one is another process with other keys."""
        cage, party = cage or Cage(), self.parties.runners["FR"]
        async with running(self.parties, party, self.found.runner, cage, self.home / secrets.token_hex(4)):
            yield cage
        await asyncio.to_thread(party.restart)

    async def submitted(self, client: Client) -> str:
        """A job for the French runner, which is gone before it could be offered to it."""
        async with self.runner():
            await offered(client)
            sealed = await client.seal(work(), await client.prepare(facts()))
        return await client.submit(sealed)


async def offered(client: Client) -> None:
    """Wait until a runner is offered."""

    async def found() -> bool:
        return bool((await client.prepare(facts())).runners)

    await until(found)


async def state(client: Client, name: str, wanted: JobState) -> None:
    """Wait for a state."""

    async def reached() -> bool:
        return (await client.job(name)).state is wanted

    await until(reached, seconds=15)


@pytest.fixture
async def play(own: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Play]:
    async with gateway(own, tmp_path / "gateway", monkeypatch) as found:
        found.policy.places = ("FR",)
        yield Play(parties=own, found=found, home=tmp_path)


async def test_a_replica_with_an_empty_outbox_adds_a_recipient_and_the_job_is_opened(play: Play) -> None:
    async with play.replica("first") as first:
        name = await play.submitted(first)
    async with play.replica("second") as second, play.runner() as cage:
        await state(second, name, JobState.NEEDS_RECIPIENTS)
        assert cage.opened == [], "control: under the keys of its last process nothing opens"
        await second.add_recipients(name)
        await state(second, name, JobState.SUCCEEDED)
        outcome = await second.result(name)
    assert SECRET in cage.opened[0]
    assert [r.data for r in outcome.results] == [cage.result]
    (added,) = outcome.receipt.addenda
    assert outcome.receipt.grant.kid == added.recipients[0].kid
    assert outcome.receipt.permit.prepare_decision_digest == added.decision_digest


class Broken(Cage):
    """A host whose engine does not answer."""

    async def run(self, *_: object, **__: object) -> NoReturn:
        raise SandboxUnavailable


async def test_replicas_add_one_after_the_other_each_behind_the_last_addendum(play: Play) -> None:
    async with play.replica("first") as first:
        name = await play.submitted(first)
    async with play.replica("second") as second, play.runner(Broken()):
        await state(second, name, JobState.NEEDS_RECIPIENTS)
        await second.add_recipients(name)
        async for event in second.watch(name):
            if isinstance(event, Event) and event.kind == "attempt_lost":
                break
    async with play.replica("third") as third, play.runner() as cage:
        await offered(third)
        await third.add_recipients(name)
        await state(third, name, JobState.SUCCEEDED)
        outcome = await third.result(name)
    earlier, later = outcome.receipt.addenda
    assert (earlier.sequence, later.sequence, later.previous_digest) == (1, 2, earlier.digest)
    assert outcome.receipt.receipt.attempt == 2
    assert SECRET in cage.opened[0]


# --- a gateway that lies ---------------------------------------------------------------------------------------------


def sealed_for_france(parties: Parties) -> SealedJob:
    """A job that may be run in each place, and is sealed for the French runner alone."""
    told = parse_facts(facts())
    return seal(
        work(),
        parties.decided(told, *PLACES),
        (parties.runners["FR"].vetted(parties.pins),),
        keys=parties.tenant,
        facts=told,
        template_digest=TEMPLATE,
        directory=parties.directory / "outbox",
        now_ns=time.time_ns(),
    )


def added_for(parties: Parties, job: SealedJob, place: str, *before: Addition) -> Addition:
    """An honest addition, behind those that were made before."""
    decided = parties.decided(job.facts, *PLACES)
    return add(
        written_of(parties, job, *before),
        job.self_wrap,
        decided,
        (parties.runners[place].vetted(parties.pins),),
        keys=parties.tenant,
        now_ns=time.time_ns(),
    )


def written_of(parties: Parties, job: SealedJob, *additions: Addition) -> Any:
    """What the tenant signed, as it verifies."""
    return open_written(
        job.key_set,
        job.signed,
        tuple(made.signed for made in additions),
        tenants=parties.pins.tenants,
        now_ns=time.time_ns(),
    )


Lie = Callable[[jobs_pb2.Job], jobs_pb2.Job]


async def asked(parties: Parties, job: SealedJob, lie: Lie | None) -> MaliciousGateway:
    """A replica adds recipients, told this of the job. Raises what it says of it."""
    async with serving(parties, {"job": lie} if lie is not None else {}) as double:
        double.permitted = ("DE", "US")
        held = double.take(job)
        async with Client(parties.context(double.address, outbox=parties.directory / "empty")) as replica:
            await replica.add_recipients(held.name)
        return double


async def test_control_told_the_truth_a_replica_wraps_the_very_root(own: Parties) -> None:
    job = await asyncio.to_thread(sealed_for_france, own)
    (request,) = (await asked(own, job, None)).added
    assert root_in(own, job, request) == root_of(own, job)


def root_of(parties: Parties, job: SealedJob) -> bytes:
    """The job's own root."""
    key = clients.result_key(parties.tenant.master, job.manifest.job_id)
    return bytes(addition.open_self_wrap(key, job.self_wrap, manifest_digest=job.manifest.digest))


def root_in(parties: Parties, job: SealedJob, request: jobs_pb2.AddRecipientsRequest) -> bytes:
    """What the first runner that was added finds in its wrap."""
    added = statements.ADDENDUM.parse(request.addendum.payload)
    first = added.recipients[0]
    runner = next(r for r in parties.runners.values() if r.name == first.spiffe_id)
    root = unwrap_root_addendum(
        runner.keys.private(first.kid),
        request.wraps[0],
        manifest_digest=job.manifest.digest,
        addendum_digest=added.digest,
        spiffe_id=first.spiffe_id,
        jurisdiction=first.jurisdiction,
        kid=first.kid,
    )
    return bytes(root)


async def test_facts_that_the_manifest_does_not_name_get_no_decision(
    own: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await asyncio.to_thread(sealed_for_france, own)
    harmless = facts(purpose="training")

    def lie(honest: jobs_pb2.Job) -> jobs_pb2.Job:
        honest.facts = harmless
        return honest

    with pytest.raises(StatementInvalid, match="other facts than the manifest names"):
        await asked(own, job, lie)
    # Control: without the comparison it adds runners under a decision about facts that are not the job's.
    monkeypatch.setattr(clients, "_check_facts", nothing)
    (request,) = (await asked(own, job, lie)).added
    assert statements.DECISION.parse(request.decision.payload).facts_digest == parse_facts(harmless).digest


async def test_a_root_that_the_gateway_wrapped_is_not_passed_on(own: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await asyncio.to_thread(sealed_for_france, own)
    chosen = secrets.token_bytes(32)

    def lie(honest: jobs_pb2.Job) -> jobs_pb2.Job:
        # Anyone can: the key is in the manifest, and the digest with it.
        public = HybridPublicKey(job.manifest.result_public)
        honest.self_wrap = self_wrap(public, chosen, manifest_digest=job.manifest.digest)
        return honest

    with pytest.raises(EnvelopeUnopened):
        await asked(own, job, lie)
    # Control: without the commitment the gateway's own root goes to the runner as if it were the client's.
    monkeypatch.setattr(addition, "check_root", nothing)
    (request,) = (await asked(own, job, lie)).added
    assert root_in(own, job, request) == chosen


ORDERS: dict[str, tuple[int, ...]] = {
    "turned about": (1, 0),
    "without the first": (1,),
    "with one twice": (0, 0),
}


@pytest.mark.parametrize("name", ORDERS)
async def test_addenda_are_not_built_on_when_they_come(
    name: str, own: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, made = await asyncio.to_thread(with_two_addenda, own)

    def lie(honest: jobs_pb2.Job) -> jobs_pb2.Job:
        honest.addenda.extend(signed_to_proto(made[at].signed) for at in ORDERS[name])
        return honest

    def honest(job: jobs_pb2.Job) -> jobs_pb2.Job:
        job.addenda.extend(signed_to_proto(one.signed) for one in made)
        return job

    with pytest.raises(PeerError, match="out of its order"):
        await asked(own, job, lie)
    (request,) = (await asked(own, job, honest)).added
    assert statements.ADDENDUM.parse(request.addendum.payload).previous_digest == made[1].addendum.digest
    # Control: without the order it signs one that stands behind whichever the gateway likes.
    monkeypatch.setattr(authorship, "_check_addenda", nothing)
    (request,) = (await asked(own, job, lie)).added
    behind = made[ORDERS[name][-1]].addendum.digest
    assert statements.ADDENDUM.parse(request.addendum.payload).previous_digest == behind


def with_two_addenda(parties: Parties) -> tuple[SealedJob, tuple[Addition, Addition]]:
    """A job whose French runner started again twice, each time added anew."""
    job = sealed_for_france(parties)
    parties.runners["FR"].restart()
    first = added_for(parties, job, "FR")
    parties.runners["FR"].restart()
    return job, (first, added_for(parties, job, "FR", first))


async def test_a_last_addendum_that_is_withheld_leads_to_a_fork_that_nobody_takes(
    own: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica can not miss what it never saw. What it signs then is refused beside the one that was withheld."""
    job, (first, second) = await asyncio.to_thread(with_two_addenda, own)

    def lie(honest: jobs_pb2.Job) -> jobs_pb2.Job:
        honest.addenda.append(signed_to_proto(first.signed))
        return honest

    (request,) = (await asked(own, job, lie)).added
    fork = signed_from_proto(request.addendum)
    made = (job.signed, (first.signed, second.signed, fork))
    with pytest.raises(StatementInvalid, match="out of its order"):
        open_written(job.key_set, *made, tenants=own.pins.tenants, now_ns=time.time_ns())
    # Control: without the order gateway and runner would take both.
    monkeypatch.setattr(authorship, "_check_addenda", nothing)
    assert len(open_written(job.key_set, *made, tenants=own.pins.tenants, now_ns=time.time_ns()).addenda) == 3
