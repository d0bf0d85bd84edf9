"""A malicious runner, with a real certificate of a pinned operator, driven by hand against a real gateway.

What it sends of an attempt is refused with its reason, and the honest job is unharmed: the control of each attack is
the same double, honest, that brings the same job (or the one beside it) home through the very same code.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from carnet import statements
from carnet.core import limits
from carnet.core.errors import CarnetError, EnvelopeUnopened
from carnet.core.hybrid import HybridPrivateKey
from carnet.core.job import JobState
from carnet.core.receipt import ResultObject
from carnet.core.runner import Isolation
from carnet.core.statement import Signer
from carnet.rpc import calling
from carnet.v1 import jobs_pb2, statements_pb2
from carnet.v1 import runners_pb2 as pb
from carnet.wire import signed_to_proto
from gateway import deliveries
from gateway.storage.blobs import BlobStore, Result, ResultUpload
from tests.fixtures.client_double import ClientDouble
from tests.fixtures.gateway_process import ON_ITS_LOOP, GatewayProcess, World, gateway_of, until
from tests.fixtures.runner_double import Attached, Part, RunnerDouble, Work, segment

pytestmark = ON_ITS_LOOP

MARK = b"of no digest"
LOST = statements_pb2.EXIT_CLASS_INFRA_LOST


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(gateway_process: GatewayProcess) -> AsyncIterator[ClientDouble]:
    async with ClientDouble(gateway_process) as found:
        yield found


@dataclass(kw_only=True)
class Scene:
    """A runner with two jobs on the way: one to attack, and one beside it."""

    client: ClientDouble
    runner: RunnerDouble
    attached: Attached
    names: tuple[str, ...]
    work: Work
    beside: Work

    async def brought_home(self, *works: Work) -> None:
        """The control: honest deliveries, whose results the client opens."""
        for work in works:
            await self.runner.finish(work)
            outcome = await self.client.client.result(self.name_of(work))
            assert [result.data for result in outcome.results] == [b"42"]

    def name_of(self, work: Work) -> str:
        return next(name for name in self.names if name.endswith(work.manifest.job_id.hex()))


@asynccontextmanager
async def scene_of(client: ClientDouble, *, jobs: int = 2) -> AsyncIterator[Scene]:
    async with RunnerDouble(client.gateway) as runner:
        attached = await runner.attach()
        names = tuple([await client.submitted() for _ in range(jobs)])
        works = [runner.attempt(await attached.offer()) for _ in names]
        for work in works:
            assert (await runner.renew(attached, work.grant.digest)).HasField("renewed")
        yield Scene(client=client, runner=runner, attached=attached, names=names, work=works[0], beside=works[-1])


@pytest_asyncio.fixture(loop_scope="module")
async def scene(client: ClientDouble) -> AsyncIterator[Scene]:
    async with scene_of(client) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def single(client: ClientDouble) -> AsyncIterator[Scene]:
    """A scene with one job."""
    async with scene_of(client, jobs=1) as found:
        yield found


async def refused(scene: Scene, parts: list[Part]) -> str:
    """The reason that a delivery was refused with; the job is as it was."""
    with pytest.raises(CarnetError) as caught:
        await scene.runner.deliver(parts)
    summary = await scene.client.client.job(scene.name_of(scene.work))
    assert summary.state in (JobState.DISPATCHING, JobState.RUNNING)
    return caught.value.reason


# --- deliveries ---------------------------------------------------------------------------------------------------

Forge = Callable[[RunnerDouble, Work], list[Part]]


def with_receipt(**changes: Any) -> Forge:
    """An honest delivery, but for what its receipt says."""
    return lambda runner, work: runner.honest(work, **changes)


def opened(runner: RunnerDouble, work: Work, **changes: Any) -> list[Part]:
    """A delivery that begins with another Start, well signed."""
    return [runner.opening(runner.attempt(work.offer, **changes))]


def without_final(runner: RunnerDouble, work: Work) -> list[Part]:
    opening, record, _final, *segments, _receipt = runner.honest(work)
    results = results_of(runner, work)
    return [opening, record, *segments, runner.receipt(work, results, log_records=1)]


def results_of(runner: RunnerDouble, work: Work) -> tuple[ResultObject, ...]:
    parsed = statements.RECEIPT.parse(runner.honest(work)[-1].receipt.payload)
    return parsed.results


def renamed(runner: RunnerDouble, work: Work) -> list[Part]:
    """The receipt names other digests than those of what was sent."""
    honest = runner.honest(work)
    other = (ResultObject(id=0, size=3, segment_digests=(bytes(32),)),)
    return [*honest[:-1], runner.receipt(work, other, log_records=2)]


def withheld(runner: RunnerDouble, work: Work) -> list[Part]:
    """The receipt names results of which the last was never sent."""
    honest = runner.honest(work)
    return [*honest[:-2], honest[-1]]


def posing(runner: RunnerDouble, work: Work) -> list[Part]:
    """A Start in the place of the receipt: the same key signed it."""
    return [*runner.honest(work)[:-1], Part(receipt=signed_to_proto(work.signed_start))]


def records(*numbers: int) -> Forge:
    return lambda runner, work: [runner.opening(work), *(work.record(number) for number in numbers)]


def record(**changes: Any) -> Forge:
    return lambda runner, work: [runner.opening(work), work.record(0, **changes)]


def ended_twice(runner: RunnerDouble, work: Work) -> list[Part]:
    return [*runner.honest(work)[:3], work.record(2)]


DELIVERIES: dict[str, tuple[Forge, str]] = {
    "nothing": (lambda r, w: [Part()], "FIELD_INVALID"),
    "no opening": (lambda r, w: [w.record(0)], "ENVELOPE_MALFORMED"),
    "two openings": (lambda r, w: [r.opening(w), r.opening(w)], "ENVELOPE_MALFORMED"),
    "a grant of nobody": (lambda r, w: [r.opening(w, grant_digest=secrets.token_bytes(32))], "LEASE_LOST"),
    "a Start by another key": (lambda r, w: opened(r, w, by=Signer.generate()), "SIGNATURE_INVALID"),
    "another runner's Start": (lambda r, w: opened(r, w, spiffe_id="spiffe://gpu-de.example/x"), "STATEMENT_INVALID"),
    "a Start of another manifest": (lambda r, w: opened(r, w, manifest_digest=bytes(32)), "STATEMENT_INVALID"),
    "a Start with a short wrap": (lambda r, w: [r.opening(w, start=cut(r, w))], "STATEMENT_INVALID"),
    "a gap in the log": (records(0, 2), "FIELD_INVALID"),
    "a log that begins in the middle": (records(5), "FIELD_INVALID"),
    "a log that begins beyond all numbers": (record(numbered=2**64 - 1), "FIELD_INVALID"),
    "a log after its final record": (ended_twice, "STATEMENT_INVALID"),
    "another attempt's log": (record(attempt=2), "ENVELOPE_MALFORMED"),
    "a final mark on a line": (record(final=True), "ENVELOPE_MALFORMED"),
    "a line in the final stream": (record(stream=0, final=False), "ENVELOPE_MALFORMED"),
    "a log record of nothing": (record(ciphertext=b""), "FIELD_INVALID"),
    "a log record that is too large": (record(ciphertext=bytes(131_073)), "FIELD_INVALID"),
    "a log without its end": (without_final, "STATEMENT_INVALID"),
    "a log that is shorter than was sent": (with_receipt(log_records=1), "STATEMENT_INVALID"),
    "a log that is longer than was sent": (with_receipt(log_records=3), "STATEMENT_INVALID"),
    "a result out of bounds": (lambda r, w: [r.opening(w), segment(1025, MARK)], "FIELD_INVALID"),
    "a result before the first": (lambda r, w: [r.opening(w), segment(1, MARK)], "ENVELOPE_MALFORMED"),
    "a result that begins in its middle": (
        lambda r, w: [r.opening(w), segment(0, MARK, offset=1)],
        "ENVELOPE_MALFORMED",
    ),
    "a result from beyond all places": (
        lambda r, w: [r.opening(w), segment(0, MARK, offset=2**64 - 1)],
        "ENVELOPE_MALFORMED",
    ),
    "a segment that is skipped": (lambda r, w: [r.opening(w), segment(0, MARK, index=1)], "ENVELOPE_MALFORMED"),
    "a chunk that is too large": (
        lambda r, w: [r.opening(w), segment(0, bytes(limits.chunk_bytes_max + 1))],
        "FIELD_INVALID",
    ),
    "results of other digests": (renamed, "STATEMENT_INVALID"),
    "a result withheld": (withheld, "STATEMENT_INVALID"),
    "a receipt by another key": (with_receipt(by=Signer.generate()), "SIGNATURE_INVALID"),
    "a Start for a receipt": (posing, "SIGNATURE_INVALID"),
    "a receipt of another job": (with_receipt(job_id=bytes(16)), "STATEMENT_INVALID"),
    "a receipt of another manifest": (with_receipt(manifest_digest=bytes(32)), "STATEMENT_INVALID"),
    "a receipt of another grant": (with_receipt(grant_digest=bytes(32)), "STATEMENT_INVALID"),
    "a receipt of another permit": (with_receipt(permit_digest=bytes(32)), "STATEMENT_INVALID"),
    "a receipt of another Start": (with_receipt(start_digest=bytes(32)), "STATEMENT_INVALID"),
    "a receipt of another decision": (with_receipt(decision_digest=bytes(32)), "STATEMENT_INVALID"),
    "a receipt of another dispatch": (with_receipt(record_digest=bytes(32)), "STATEMENT_INVALID"),
    "a receipt of another runner": (with_receipt(spiffe_id="spiffe://gpu-de.example/x"), "STATEMENT_INVALID"),
    "a receipt of another image": (with_receipt(image="sha256:" + "00" * 32), "STATEMENT_INVALID"),
    "a receipt of another template": (with_receipt(template_digest=bytes(32)), "STATEMENT_INVALID"),
    "a receipt of another place that is allowed": (with_receipt(jurisdiction="DE"), "STATEMENT_INVALID"),
    "a receipt of a place that is not": (with_receipt(jurisdiction="KP"), "STATEMENT_INVALID"),
    "a receipt of another attempt": (with_receipt(attempt=2), "STATEMENT_INVALID"),
    "a receipt of a weaker cage": (with_receipt(isolation=Isolation.PROCESS), "STATEMENT_INVALID"),
}


def cut(runner: RunnerDouble, work: Work) -> statements_pb2.SignedStatement:
    """A Start whose wrap is a byte short, signed by the leaf: its class would not let it be made."""
    message = statements_pb2.Start.FromString(work.signed_start.payload)
    message.result_wrap = message.result_wrap[:-1]
    signed = runner.leaf.sign(statements.START.kind, message.SerializeToString(deterministic=True))
    return signed_to_proto(signed)


@pytest.mark.parametrize(("forge", "reason"), DELIVERIES.values(), ids=DELIVERIES.keys())
async def test_a_delivery_of(single: Scene, forge: Forge, reason: str) -> None:
    assert await refused(single, forge(single.runner, single.work)) == reason
    await single.brought_home(single.work)


async def test_a_start_of_the_job_beside_it_is_refused(scene: Scene) -> None:
    swapped = signed_to_proto(scene.beside.signed_start)
    assert await refused(scene, [scene.runner.opening(scene.work, start=swapped)]) == "STATEMENT_INVALID"
    await scene.brought_home(scene.work, scene.beside)


async def test_a_second_start_of_an_attempt_is_refused(scene: Scene) -> None:
    await scene.runner.deliver([scene.runner.opening(scene.work)])
    again = scene.runner.attempt(scene.work.offer)
    assert await refused(scene, [scene.runner.opening(again)]) == "STATEMENT_INVALID"
    await scene.brought_home(scene.work, scene.beside)


async def test_garbage_in_a_result_spoils_only_the_runner_s_own_attempt(scene: Scene) -> None:
    spoiled = scene.runner.honest(scene.work)
    spoiled[3].segment.data = bytes(len(spoiled[3].segment.data))
    assert await refused(scene, spoiled) == "STATEMENT_INVALID"
    await scene.brought_home(scene.beside)


async def test_a_receipt_that_was_taken_is_taken_once(scene: Scene) -> None:
    await scene.brought_home(scene.work)
    leaves = scene.client.gateway.rows("entries")
    # The answer may have been lost: the same Start is told so again, and nothing is written.
    answers = await scene.runner.deliver([scene.runner.opening(scene.work)])
    assert [answer.accepted for answer in answers] == [True]
    assert scene.client.gateway.rows("entries") == leaves
    other = scene.runner.attempt(scene.work.offer)
    with pytest.raises(CarnetError) as caught:
        await scene.runner.deliver(scene.runner.honest(other))
    assert caught.value.reason == "LEASE_LOST"
    await scene.brought_home(scene.beside)


async def test_a_result_sealed_to_another_key_is_not_opened_by_the_client(scene: Scene) -> None:
    mine = HybridPrivateKey.from_seed(secrets.token_bytes(32)).public
    stolen = scene.runner.attempt(scene.work.offer, to=mine)
    # The gateway can not see whom a wrap is for; the client notices.
    await scene.runner.finish(stolen)
    with pytest.raises(EnvelopeUnopened):
        await scene.client.client.result(scene.name_of(scene.work))
    await scene.brought_home(scene.beside)


# --- too much, and too slow ---------------------------------------------------------------------------------------


async def test_an_endless_result_ends_at_the_bound_of_bytes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = BlobStore.results

    async def small(self: BlobStore, result: Result) -> ResultUpload:
        return await whole(self, result, bytes_max=limits.MIB)

    with monkeypatch.context() as patched:
        patched.setattr(BlobStore, "results", small)
        data = bytes(limits.chunk_bytes)
        many = [segment(0, data, offset=i * len(data)) for i in range(5)]
        assert await refused(scene, [scene.runner.opening(scene.work), *many]) == "QUOTA_EXCEEDED"
    assert results_bytes(scene) <= limits.MIB
    # Control: with no bound all of it lies on the gateway's disk, and ends when its sender likes.
    monkeypatch.setattr(BlobStore, "results", whole)
    await scene.runner.deliver([scene.runner.opening(scene.work), *many])
    assert results_bytes(scene) > limits.MIB
    await scene.brought_home(scene.beside)


def results_bytes(scene: Scene) -> int:
    folder = scene.client.gateway.state / "blobs" / "results" / scene.work.manifest.tenant_id.hex()
    return sum(p.stat().st_size for p in (folder / scene.work.manifest.job_id.hex()).rglob("*") if p.is_file())


@pytest.mark.parametrize(("bound", "value"), [("log_bytes_max", 300), ("log_records_max", 6)])
async def test_an_endless_log_ends_at_its_bound_of(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(limits, bound, value)
        parts = records(*range(64))(scene.runner, scene.work)
        assert await refused(scene, parts) == "QUOTA_EXCEEDED"
    await scene.brought_home(scene.beside)


async def test_a_delivery_that_is_never_opened_is_ended(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "opening_seconds_max", 0.2)

    async def silent() -> AsyncIterator[Part]:
        await asyncio.sleep(20)
        yield scene.runner.opening(scene.work)

    with pytest.raises(CarnetError) as caught:
        async with calling(), asyncio.timeout(5):
            _ = [answer async for answer in scene.runner.stub.DeliverResult(silent())]
    assert caught.value.reason == "ENVELOPE_MALFORMED"
    # Control: a gateway with more patience keeps the stream open for nobody.
    monkeypatch.setattr(deliveries, "opening_seconds_max", 20)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            _ = [answer async for answer in scene.runner.stub.DeliverResult(silent())]
    await scene.brought_home(scene.work, scene.beside)


async def test_a_silent_delivery_ends_with_its_lease(
    world: World, policy_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "fence_seconds", 0.1)
    async with gateway_of(world, policy_url) as gateway, ClientDouble(gateway) as client, scene_of(client) as scene:

        async def silent() -> AsyncIterator[Part]:
            yield scene.runner.opening(scene.work)
            await asyncio.sleep(20)

        call: Any = scene.runner.stub.DeliverResult(silent())
        assert not (await call.read()).accepted
        # Control: while the lease is live the stream may be silent for as long as the job is.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(call.code()), 0.5)
        gateway.clock.advance(limits.lease_seconds + limits.lease_margin_seconds + 1)
        with pytest.raises(CarnetError) as caught:
            async with calling(), asyncio.timeout(5):
                await call.read()
        assert caught.value.reason == "LEASE_LOST"


# --- without a live fence -----------------------------------------------------------------------------------------


async def test_another_runner_can_do_nothing_under_a_grant_that_is_not_its_own(scene: Scene) -> None:
    digest = scene.work.grant.digest
    async with RunnerDouble(scene.client.gateway, 1) as thief:
        attached = await thief.attach(slots=0)
        revoked = await thief.renew(attached, digest)
        assert revoked.revoked.reason == "LEASE_LOST"
        attached.say(
            pb.AttachRequest(refused=pb.AttachRequest.OfferRefused(grant_digest=digest, reason="RUNNER_DRAINING")),
            pb.AttachRequest(ended=pb.AttachRequest.Ended(grant_digest=digest, exit_class=LOST)),
        )
        await thief.renew(attached, digest, 2)  # so the two before it were heard
        refusals: list[Any] = [
            thief.fetch(digest),
            thief.deliver(thief.honest(thief.attempt(scene.work.offer))),
            # Everything overheard, sent over a connection of its own.
            thief.deliver(scene.runner.honest(scene.work)),
        ]
        for attack in refusals:
            with pytest.raises(CarnetError) as caught:
                await attack
            assert caught.value.reason == "LEASE_LOST"
    assert (await scene.client.client.job(scene.name_of(scene.work))).state is JobState.DISPATCHING
    # Control: the same calls by the one that the grant is for.
    assert (await scene.runner.renew(scene.attached, digest, 2)).HasField("renewed")
    assert await scene.runner.fetch(digest)
    await scene.brought_home(scene.work, scene.beside)


async def test_an_earlier_attempt_can_not_deliver_once_a_later_one_began(client: ClientDouble) -> None:
    async with RunnerDouble(client.gateway, 0) as first, RunnerDouble(client.gateway, 1) as second:
        streams = {runner.name: await runner.attach() for runner in (first, second)}
        name = await client.submitted()
        order = [recipient.spiffe_id for recipient in (await client.client.written(name)).manifest.recipients]
        early, late = sorted((first, second), key=lambda runner: order.index(runner.name))
        old = early.attempt(await streams[early.name].offer())
        streams[early.name].say(
            pb.AttachRequest(
                refused=pb.AttachRequest.OfferRefused(grant_digest=old.grant.digest, reason="\x1b[31mpwned")
            )
        )
        new = late.attempt(await streams[late.name].offer())
        assert new.grant.attempt == old.grant.attempt + 1
        leaves = client.gateway.rows("entries WHERE kind = 'result.refused'")
        with pytest.raises(CarnetError) as caught:
            await early.deliver(early.honest(old))
        assert caught.value.reason == "LEASE_LOST"
        assert client.gateway.rows("entries WHERE kind = 'result.refused'") == leaves + 1, "and it is on record"
        with pytest.raises(CarnetError):
            await early.fetch(old.grant.digest)
        assert (await early.renew(streams[early.name], old.grant.digest)).revoked.reason == "LEASE_LOST"
        # The later attempt's fence does not pass the earlier one's papers either.
        with pytest.raises(CarnetError):
            await late.deliver([late.opening(new, start=signed_to_proto(old.signed_start))])
        await late.finish(new)
        outcome = await client.client.result(name)
        assert outcome.receipt.receipt.attempt == 2
        events = await client.items("WatchJob", jobs_pb2.WatchJobRequest(name=name))
        assert not any("pwned" in item.event.reason for item in events), "a runner writes no text for the owner"


async def test_an_expired_grant_delivers_and_fetches_nothing(world: World, policy_url: str) -> None:
    async with gateway_of(world, policy_url) as gateway, ClientDouble(gateway) as client, scene_of(client) as scene:
        assert await scene.runner.fetch(scene.work.grant.digest), "control: under a live lease it is served"
        gateway.clock.advance(limits.lease_seconds + limits.lease_margin_seconds + 1)
        for attack in (
            scene.runner.fetch(scene.work.grant.digest),
            scene.runner.deliver(scene.runner.honest(scene.work)),
        ):
            with pytest.raises(CarnetError) as caught:
                await attack
            assert caught.value.reason == "LEASE_LOST"
        assert gateway.rows("entries WHERE kind = 'result.refused'") == 1
        assert gateway.rows("log_records") == 0


async def test_a_receipt_for_a_job_that_has_ended_is_late_and_nothing_else(scene: Scene) -> None:
    """The very last part, after the job was cancelled and closed: LEASE_LOST, and never an internal error."""
    opening, *_, receipt = scene.runner.honest(scene.work)
    go, began = asyncio.Event(), asyncio.Event()

    async def said() -> AsyncIterator[Part]:
        yield opening
        began.set()
        await go.wait()
        yield receipt

    call: Any = scene.runner.stub.DeliverResult(said())
    assert not (await call.read()).accepted
    name = scene.name_of(scene.work)
    await scene.client.client.cancel(name)
    scene.attached.say(
        pb.AttachRequest(ended=pb.AttachRequest.Ended(grant_digest=scene.work.grant.digest, exit_class=LOST))
    )

    async def closed() -> bool:
        return (await scene.client.client.job(name)).state.terminal

    await until(closed)
    go.set()
    with pytest.raises(CarnetError) as caught:
        async with calling(), asyncio.timeout(5):
            await call.read()
    assert caught.value.reason == "LEASE_LOST"
    assert (await scene.client.client.job(name)).state is JobState.CANCELLED
    await scene.brought_home(scene.beside)


async def test_a_cancelled_job_serves_no_more_payload_and_no_more_time(scene: Scene) -> None:
    assert await scene.runner.fetch(scene.work.grant.digest), "control: before the cancellation it is served"
    await scene.client.client.cancel(scene.name_of(scene.work))
    assert (await scene.attached.await_item("revoked")).revoked.reason == "CANCELLED"
    with pytest.raises(CarnetError) as caught:
        await scene.runner.fetch(scene.work.grant.digest)
    assert caught.value.reason == "LEASE_LOST"
    assert (await scene.runner.renew(scene.attached, scene.work.grant.digest, 2)).HasField("revoked")
    await scene.brought_home(scene.beside)


@pytest.mark.parametrize("offset", [10**6, 2**31, 2**63 - 1, 2**63, 2**64 - 1])
async def test_payload_from_beyond_its_end_is_nothing(scene: Scene, offset: int) -> None:
    digest = scene.work.grant.digest
    assert await scene.runner.fetch(digest, offset=offset) == b""
    with pytest.raises(CarnetError) as caught:
        await scene.runner.fetch(digest, segment=60_000, offset=offset)
    assert caught.value.reason == "NOT_FOUND"
    whole = await scene.runner.fetch(digest)
    assert await scene.runner.fetch(digest, offset=5) == whole[5:]
