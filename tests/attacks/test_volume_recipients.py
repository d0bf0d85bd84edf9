"""A bulk transfer to a covered person, cut into small jobs, under the rules that ship (28 CFR 202.205, 202.211).

The place is permitted, so stage 1 has nothing against any of the jobs: only who operates the runner is in the way, and
only once the sum is bulk. The gateway and the embedded engine are real. The French operator is a covered person, the
German one is not; both are attached with no free slot, so that what is accepted stays where it is.
"""

import asyncio
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from carnet import statements
from carnet.addition import add
from carnet.answers import Prepared
from carnet.client import Client
from carnet.core.errors import CarnetError, NoCapacity, PolicyDenied
from carnet.core.facts import parse_facts
from carnet.core.job import JobState
from carnet.outbox import SealedJob, seal
from carnet.rpc import calling
from carnet.v1 import jobs_pb2 as pb
from carnet.wire import signed_from_bytes, signed_to_bytes, signed_to_proto
from certs.authority import OwnershipRecord
from gateway import ledger
from gateway.judge import Weighed
from tests.fixtures.inprocess import Lawful, lawful
from tests.fixtures.parties import TEMPLATE, Parties, facts, nothing, work

PIECE = 9_000


def piece(subject: str = "US") -> bytes:
    """Health data of people in the United States, sent by a clinic there."""
    return facts(
        controller={"entity": "Springfield Clinic", "country": "US", "sectors": ["health"]},
        data={
            "classes": ["health"],
            "subject_jurisdictions": [subject],
            "origin_jurisdiction": "US",
            "records": PIECE,
        },
        end_user={"entity": "Springfield Clinic", "country": "US", "parent_country": "US"},
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    """Parties of whom the French operator is a covered person."""
    found = Parties.build(tmp_path_factory.mktemp("covered"))
    runner = found.runners["FR"]
    path = runner.config.ownership
    said = statements.OWNERSHIP.parse(signed_from_bytes(path.read_bytes()).payload)
    record = OwnershipRecord(
        entity=said.entity,
        country=said.country,
        parent_entity=said.parent_entity,
        parent_country=said.parent_country,
        owners=said.owners,
        covered_person="yes",
    )
    path.write_bytes(signed_to_bytes(runner.authority.sign_ownership(record, now=datetime.now(UTC))))
    runner.restart()
    return found


@dataclass(kw_only=True)
class Stage:
    """A running gateway with its real rules, who is attached to it, and a client."""

    gateway: Lawful
    state: Path
    client: Client

    @property
    def parties(self) -> Parties:
        """Everybody."""
        return self.gateway.parties

    async def prepared(self, *places: str, data: bytes | None = None) -> Prepared:
        """A decision with the runners of these places."""
        found = await self.client.prepare(data or piece())
        assert {runner.jurisdiction for runner in found.runners} == set(places), found.rejected
        return found

    def seal(self, prepared: Prepared, *places: str, data: bytes | None = None) -> SealedJob:
        """A job for the runners in these places."""
        told = data or piece()
        return seal(
            work(told),
            prepared.decided,
            tuple(self.parties.runners[place].vetted(self.parties.pins) for place in places),
            keys=self.parties.tenant,
            facts=parse_facts(told),
            template_digest=TEMPLATE,
            directory=self.parties.directory / "outbox",
            now_ns=time.time_ns(),
        )

    async def sent(self, jobs: list[SealedJob]) -> tuple[list[str], list[CarnetError]]:
        """Which of these are accepted, all sent at once, and what is said of the others."""
        answers = await asyncio.gather(*map(self.client.submit, jobs), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, CarnetError)]
        accepted = [answer for answer in answers if isinstance(answer, str)]
        assert len(refused) + len(accepted) == len(jobs), answers
        return accepted, refused

    async def added(self, request: pb.AddRecipientsRequest) -> None:
        """Add recipients by this very request."""
        async with calling():
            await self.client._jobs.AddRecipients(request, timeout=10, metadata=self.client._metadata())

    def rows(self) -> list[tuple[str, int]]:
        """The ledger: operators and records."""
        rows = sqlite3.connect(f"file:{self.state}/gateway.db?mode=ro", uri=True)
        try:
            return rows.execute("SELECT counterparty, records FROM volumes ORDER BY counterparty").fetchall()
        finally:
            rows.close()


@asynccontextmanager
async def started(world: Parties, state: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A gateway on this state, until the block ends."""
    async with (
        lawful(world, state, monkeypatch) as running,
        Client(world.context(running.gateway.addresses.enterprise)) as client,
    ):
        yield Stage(gateway=running, state=state, client=client)


@pytest.fixture
async def stage(world: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    world.mint()
    async with started(world, tmp_path / "gateway", monkeypatch) as found:
        yield found


def copy_of(job: SealedJob) -> SealedJob:
    """The same job once more, for a client that did not hear of its acceptance."""
    directory = job.directory.with_name(f"{job.directory.name}-again")
    shutil.copytree(job.directory, directory)
    return replace(job, directory=directory)


def rules_of(error: CarnetError) -> set[str]:
    """The rules that a denial names."""
    assert isinstance(error.__cause__, grpc.aio.AioRpcError)
    status = rpc_status.from_call(error.__cause__)
    found = error_details_pb2.PreconditionFailure()
    for detail in status.details:
        if detail.Unpack(found):
            return {violation.type for violation in found.violations}
    return set()


@pytest.fixture
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Controls: what was sent is not looked at."""

    async def none(*_: object, **__: object) -> tuple[()]:
        return ()

    monkeypatch.setattr(ledger.Ledger, "_sums", none)


async def test_ten_jobs_for_a_covered_persons_runner_do_not_pass_the_bound_at_submit(stage: Stage) -> None:
    stage.gateway.attach("FR")
    prepared = await stage.prepared("FR")
    accepted, refused = await stage.sent([stage.seal(prepared, "FR") for _ in range(10)])
    assert len(accepted) == 1
    assert stage.rows() == [("gpu-fr.example", PIECE)]
    for error in refused:
        assert isinstance(error, PolicyDenied)
        assert rules_of(error) == {"US-DSP-COVERED"}


async def test_control_where_nothing_is_counted_a_covered_persons_runner_gets_them_all(
    stage: Stage, uncounted: None
) -> None:
    stage.gateway.attach("FR")
    prepared = await stage.prepared("FR")
    accepted, _ = await stage.sent([stage.seal(prepared, "FR") for _ in range(3)])
    assert len(accepted) == 3


async def test_the_same_jobs_for_another_operator_are_taken(stage: Stage) -> None:
    stage.gateway.attach("DE")
    prepared = await stage.prepared("DE")
    accepted, _ = await stage.sent([stage.seal(prepared, "DE") for _ in range(3)])
    assert len(accepted) == 3


async def test_people_of_elsewhere_are_no_bulk_data_of_us_persons(stage: Stage) -> None:
    stage.gateway.attach("FR")
    data = piece("CA")
    prepared = await stage.prepared("FR", data=data)
    accepted, _ = await stage.sent([stage.seal(prepared, "FR", data=data) for _ in range(3)])
    assert len(accepted) == 3
    assert stage.rows() == []


async def test_a_covered_persons_runner_does_not_hide_among_recipients_that_are_permitted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.gateway.attach("DE", "FR")
    prepared = await stage.prepared("DE", "FR")
    assert len((await stage.sent([stage.seal(prepared, "FR")]))[0]) == 1
    _, refused = await stage.sent([stage.seal(prepared, "DE", "FR"), stage.seal(prepared, "FR", "DE")])
    assert [type(error) for error in refused] == [PolicyDenied, PolicyDenied]
    assert len((await stage.sent([stage.seal(prepared, "DE")]))[0]) == 1
    # Control: where each recipient is not held against what was weighed, it hides.
    monkeypatch.setattr(Weighed, "check", nothing)
    assert len((await stage.sent([stage.seal(prepared, "DE", "FR")]))[0]) == 1


async def test_a_runner_that_is_away_can_not_be_weighed_and_gets_nothing(stage: Stage) -> None:
    stage.gateway.attach("DE", "FR")
    prepared = await stage.prepared("DE", "FR")
    both = [stage.seal(prepared, "DE", "FR"), stage.seal(prepared, "FR")]
    stage.gateway.detach("FR")
    assert [type(error) for error in (await stage.sent(both))[1]] == [NoCapacity, NoCapacity]
    stage.gateway.detach("DE")
    assert [type(error) for error in (await stage.sent(both))[1]] == [NoCapacity, NoCapacity]
    assert stage.rows() == []
    stage.gateway.attach("DE", "FR")
    assert len((await stage.sent(both[:1]))[0]) == 1


async def test_recipients_that_are_added_are_weighed_like_those_of_a_new_job(stage: Stage) -> None:
    stage.gateway.attach("DE", "FR")
    prepared = await stage.prepared("DE", "FR")
    (taken,), _ = await stage.sent([stage.seal(prepared, "FR")])
    (waits,), _ = await stage.sent([stage.seal(prepared, "DE")])
    stage.parties.runners["DE"].restart()
    stage.gateway.attach("DE")
    await _state(stage, waits, JobState.NEEDS_RECIPIENTS)
    request = await _addition(stage, waits, prepared, "FR")
    with pytest.raises(PolicyDenied):
        await stage.added(request)
    # Control: nothing but the other job is in the way.
    await stage.client.cancel(taken)
    await stage.added(request)
    await _state(stage, waits, JobState.QUEUED)
    assert stage.rows() == [("gpu-de.example", PIECE), ("gpu-fr.example", PIECE)]


async def test_what_was_counted_for_a_job_that_never_went_out_is_given_back(stage: Stage) -> None:
    stage.gateway.attach("FR")
    prepared = await stage.prepared("FR")
    first, second, third = (stage.seal(prepared, "FR") for _ in range(3))
    again = copy_of(first)
    (name,), _ = await stage.sent([first])
    assert len((await stage.sent([second]))[1]) == 1
    await stage.client.cancel(name)
    assert stage.rows() == []
    assert len((await stage.sent([third]))[0]) == 1
    # The job that was cancelled is still that job: handed in again it counts nothing.
    await stage.sent([again])
    assert stage.rows() == [("gpu-fr.example", PIECE)]


async def test_a_gateway_that_starts_again_has_lost_and_doubled_nothing(
    world: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.mint()
    async with started(world, tmp_path / "gateway", monkeypatch) as stage:
        stage.gateway.attach("FR")
        prepared = await stage.prepared("FR")
        first, second, third = (stage.seal(prepared, "FR") for _ in range(3))
        again = copy_of(first)
        (name,), _ = await stage.sent([first])
    async with started(world, tmp_path / "gateway", monkeypatch) as stage:
        stage.gateway.attach("FR")
        assert stage.rows() == [("gpu-fr.example", PIECE)]
        assert (await stage.sent([again]))[0] == [name]
        assert len((await stage.sent([second]))[1]) == 1
        assert stage.rows() == [("gpu-fr.example", PIECE)]
        await stage.client.cancel(name)
    async with started(world, tmp_path / "gateway", monkeypatch) as stage:
        stage.gateway.attach("FR")
        assert stage.rows() == []
        assert len((await stage.sent([third]))[0]) == 1


async def _state(stage: Stage, name: str, state: JobState) -> None:
    for _ in range(200):
        if (await stage.client.job(name)).state is state:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"the job never was {state}")


async def _addition(stage: Stage, name: str, prepared: Prepared, place: str) -> pb.AddRecipientsRequest:
    job = await stage.client._job(name)
    made = add(
        await stage.client.written(name),
        job.self_wrap,
        prepared.decided,
        (stage.parties.runners[place].vetted(stage.parties.pins),),
        keys=stage.parties.tenant,
        now_ns=time.time_ns(),
    )
    return pb.AddRecipientsRequest(
        name=name,
        request_id="6f4a1b0c-0000-4000-8000-000000000001",
        addendum=signed_to_proto(made.signed),
        tenant_key_set=signed_to_proto(stage.parties.tenant.key_set),
        wraps=list(made.wraps),
        decision=signed_to_proto(prepared.decided.signed),
        body=prepared.decided.body.payload,
    )
