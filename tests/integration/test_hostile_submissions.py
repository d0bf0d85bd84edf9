"""What a dishonest or broken client may send to SubmitJob: each is refused by name, and leaves nothing behind."""

import asyncio
import hashlib
import secrets
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from carnet import statements
from carnet.client import Client
from carnet.context import Context
from carnet.core import limits
from carnet.core.encoding import StatementKind
from carnet.core.errors import CarnetError, JobIdTaken, PolicyDenied, RequestIdReused
from carnet.core.statement import Signer
from carnet.v1 import jobs_pb2 as pb
from carnet.v1.jobs_pb2_grpc import JobsStub
from carnet.verdict import open_logged
from carnet.wire import logged_from_proto, signed_to_proto
from tests.fixtures.submission import Submission, bearer, channel_of, send, submission
from tests.fixtures.system import SYSTEM, CarnetDev, Seen, follow, script

pytestmark = SYSTEM


class Left:
    """What the gateway keeps: rows and folders."""

    def __init__(self, system: CarnetDev) -> None:
        self._home = system.directory / "gateway"

    def rows(self, job_id: bytes) -> int:
        with sqlite3.connect(f"file:{self._home}/gateway.db?mode=ro", uri=True) as rows:
            found = sum(
                rows.execute(f"SELECT count(*) FROM {table} WHERE job_id = ?", (job_id,)).fetchone()[0]
                for table in ("jobs", "documents", "events", "wraps", "entries")
            )
        rows.close()
        return int(found)

    def folders(self, job_id: bytes) -> list[str]:
        blobs = self._home / "blobs"
        return [str(path) for path in (*blobs.glob("uploads/*"), *blobs.glob(f"payloads/*/{job_id.hex()}/*"))]


@pytest.fixture
def left(carnet_dev: CarnetDev) -> Left:
    return Left(carnet_dev)


@pytest.fixture
def context(carnet_dev: CarnetDev) -> Context:
    return carnet_dev.load()


@pytest.fixture
async def honest(carnet_dev: CarnetDev, client: Client, context: Context) -> Submission:
    return await submission(client, context, script(carnet_dev.facts(), "print(1)", data=b"d" * 5000))


Change = Callable[[Submission], None]


def other(digest: bytes) -> bytes:
    return hashlib.sha256(digest).digest()


def plaintext(s: Submission) -> None:
    """Sends what was never sealed, under digests that fit it."""
    s.chunks = [
        pb.SubmitJobRequest.Chunk(object=o.id, segment=0, data=b"p" * max(o.size, 1)) for o in s.manifest.objects
    ]
    objects = tuple(
        replace(o, segment_digests=(hashlib.sha256(chunk.data).digest(),))
        for o, chunk in zip(s.manifest.objects, s.chunks, strict=True)
    )
    s.resign(lambda m: replace(m, objects=objects))


def plaintext_under_signed_digests(s: Submission) -> None:
    s.chunks[1] = pb.SubmitJobRequest.Chunk(object=1, segment=0, data=b"print(1)")


def one_byte_of_a_segment(s: Submission) -> None:
    data = s.chunks[2].data
    s.chunks[2] = pb.SubmitJobRequest.Chunk(object=2, segment=0, data=data[:-1] + bytes([data[-1] ^ 1]))


def a_segment_is_missing(s: Submission) -> None:
    del s.chunks[1]


def segments_out_of_order(s: Submission) -> None:
    s.chunks[1], s.chunks[2] = s.chunks[2], s.chunks[1]


def a_segment_too_many(s: Submission) -> None:
    s.chunks.append(pb.SubmitJobRequest.Chunk(object=3, segment=0, data=b"more"))


def no_payload(s: Submission) -> None:
    s.chunks = []


def a_chunk_that_is_too_large(s: Submission) -> None:
    s.chunks[0] = pb.SubmitJobRequest.Chunk(object=0, segment=0, data=bytes(limits.chunk_bytes_max + 1))


def an_empty_chunk(s: Submission) -> None:
    s.chunks[0] = pb.SubmitJobRequest.Chunk(object=0, segment=0, data=b"")


def facts_of_another_purpose(s: Submission) -> None:
    s.header.facts = s.header.facts.replace(b'"other"', b'"training"')


def facts_that_are_not_facts(s: Submission) -> None:
    s.header.facts = b'{"schema": "carnet.facts/v2"}'


def a_manifest_of_other_facts(s: Submission) -> None:
    s.resign(lambda m: replace(m, facts_digest=other(m.facts_digest)))


def a_manifest_of_another_image(s: Submission) -> None:
    s.resign(lambda m: replace(m, image="sha256:" + "0" * 64))


def a_manifest_with_more_memory(s: Submission) -> None:
    s.resign(lambda m: replace(m, resources=replace(m.resources, memory_bytes=m.resources.memory_bytes * 2)))


def a_manifest_with_more_time(s: Submission) -> None:
    s.resign(lambda m: replace(m, seconds_max=m.seconds_max + 1))


def a_manifest_with_more_attempts(s: Submission) -> None:
    s.resign(lambda m: replace(m, attempts_max=m.attempts_max + 1))


def a_manifest_of_another_job(s: Submission) -> None:
    s.resign(lambda m: replace(m, job_id=secrets.token_bytes(16)))


def a_manifest_of_another_tenant(s: Submission) -> None:
    s.resign(lambda m: replace(m, tenant_id=secrets.token_bytes(16)))


def a_manifest_under_another_decision(s: Submission) -> None:
    s.resign(lambda m: replace(m, decision_digest=other(m.decision_digest)))


def a_recipient_that_the_decision_does_not_name(s: Submission) -> None:
    first = replace(s.manifest.recipients[0], spiffe_id=s.manifest.recipients[0].spiffe_id[:-1] + "f0")
    s.resign(lambda m: replace(m, recipients=(first, *m.recipients[1:])))


def a_recipient_elsewhere_than_the_decision_says(s: Submission) -> None:
    first = s.manifest.recipients[0]
    place = next(place for place in s.manifest.allowed_jurisdictions if place != first.jurisdiction)
    s.resign(lambda m: replace(m, recipients=(replace(first, jurisdiction=place), *m.recipients[1:])))


def a_place_that_the_decision_does_not_permit(s: Submission) -> None:
    s.resign(lambda m: replace(m, allowed_jurisdictions=tuple(sorted((*m.allowed_jurisdictions, "KP")))))


def a_wrap_is_missing(s: Submission) -> None:
    del s.trailer.wraps[0]


def a_wrap_too_many(s: Submission) -> None:
    s.trailer.wraps.append(bytes(limits.wrap_bytes))


def a_wrap_that_is_too_short(s: Submission) -> None:
    s.trailer.wraps[0] = bytes(limits.wrap_bytes - 1)


def no_recipients(s: Submission) -> None:
    s.resign(lambda m: replace(m, recipients=()))
    del s.trailer.wraps[:]


def a_manifest_from_the_past(s: Submission) -> None:
    hours = 25 * 3600 * 10**9
    s.resign(lambda m: replace(m, created_ns=m.created_ns - hours, not_after_ns=m.not_after_ns - hours))


def a_manifest_from_the_future(s: Submission) -> None:
    hour = 3600 * 10**9
    s.resign(lambda m: replace(m, created_ns=m.created_ns + hour))


def a_manifest_by_a_key_that_is_not_the_tenant_s(s: Submission) -> None:
    _, signed = statements.MANIFEST.sign(s.manifest, Signer.generate())
    s.trailer.manifest.CopyFrom(signed_to_proto(signed))


def a_key_set_by_another_root(s: Submission) -> None:
    signed = Signer.generate().sign(StatementKind.TENANT_KEY_SET, s.trailer.tenant_key_set.payload)
    s.trailer.tenant_key_set.CopyFrom(signed_to_proto(signed))


def a_changed_manifest(s: Submission) -> None:
    payload = s.trailer.manifest.payload
    s.trailer.manifest.payload = payload[:-1] + bytes([payload[-1] ^ 1])


def a_changed_decision(s: Submission) -> None:
    payload = s.header.decision.payload
    s.header.decision.payload = payload[:-1] + bytes([payload[-1] ^ 1])


def another_decision_body(s: Submission) -> None:
    s.header.body = s.header.body.replace(b'"DE",', b"", 1)


def a_request_id_that_is_not_one(s: Submission) -> None:
    s.header.request_id = "1"


ATTACKS: dict[Change, str] = {
    plaintext: "PAYLOAD_NOT_ENCRYPTED",
    plaintext_under_signed_digests: "PAYLOAD_DIGEST_MISMATCH",
    one_byte_of_a_segment: "PAYLOAD_DIGEST_MISMATCH",
    a_segment_is_missing: "ENVELOPE_MALFORMED",
    segments_out_of_order: "ENVELOPE_MALFORMED",
    a_segment_too_many: "PAYLOAD_DIGEST_MISMATCH",
    no_payload: "PAYLOAD_DIGEST_MISMATCH",
    a_chunk_that_is_too_large: "FIELD_INVALID",
    an_empty_chunk: "FIELD_INVALID",
    facts_of_another_purpose: "STATEMENT_INVALID",
    facts_that_are_not_facts: "FIELD_INVALID",
    a_manifest_of_other_facts: "FACTS_MISMATCH",
    a_manifest_of_another_image: "FACTS_MISMATCH",
    a_manifest_with_more_memory: "FACTS_MISMATCH",
    a_manifest_with_more_time: "FACTS_MISMATCH",
    a_manifest_with_more_attempts: "FACTS_MISMATCH",
    a_manifest_of_another_job: "FACTS_MISMATCH",
    a_manifest_of_another_tenant: "STATEMENT_INVALID",
    a_manifest_under_another_decision: "FACTS_MISMATCH",
    a_recipient_that_the_decision_does_not_name: "FACTS_MISMATCH",
    a_recipient_elsewhere_than_the_decision_says: "FACTS_MISMATCH",
    a_place_that_the_decision_does_not_permit: "FACTS_MISMATCH",
    a_wrap_is_missing: "FIELD_INVALID",
    a_wrap_too_many: "FIELD_INVALID",
    a_wrap_that_is_too_short: "FIELD_INVALID",
    no_recipients: "FIELD_INVALID",
    a_manifest_from_the_past: "RECIPIENT_KEY_EXPIRED",
    a_manifest_from_the_future: "RECIPIENT_KEY_EXPIRED",
    a_manifest_by_a_key_that_is_not_the_tenant_s: "CERT_INVALID",
    a_key_set_by_another_root: "SIGNATURE_INVALID",
    a_changed_manifest: "SIGNATURE_INVALID",
    a_changed_decision: "SIGNATURE_INVALID",
    another_decision_body: "STATEMENT_INVALID",
    a_request_id_that_is_not_one: "FIELD_INVALID",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_attack_a_submission_with(attack: Change, honest: Submission, context: Context, left: Left) -> None:
    attack(honest)
    with pytest.raises(CarnetError) as refused:
        await send(context, honest.parts())
    assert refused.value.reason == ATTACKS[attack], refused.value
    assert left.rows(honest.header.job_id) == 0
    assert left.folders(honest.header.job_id) == []


async def test_the_control_an_honest_submission_is_accepted_and_left_behind(
    honest: Submission, context: Context, client: Client, left: Left
) -> None:
    answer = await send(context, honest.parts())
    assert left.rows(honest.header.job_id) > 4
    assert len(left.folders(honest.header.job_id)) == 1
    await follow(client, answer.job.name, Seen())


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (lambda s: s.parts()[1:], "ENVELOPE_MALFORMED"),
        (lambda s: s.parts()[:-1], "ENVELOPE_MALFORMED"),
        (lambda s: s.parts()[:1], "ENVELOPE_MALFORMED"),
        (lambda s: [], "ENVELOPE_MALFORMED"),
        (lambda s: [s.parts()[0], *s.parts()], "ENVELOPE_MALFORMED"),
        (lambda s: [s.parts()[0], pb.SubmitJobRequest()], "FIELD_INVALID"),
        (lambda s: [s.parts()[0], s.parts()[-1]], "PAYLOAD_DIGEST_MISMATCH"),
    ],
    ids=["no header", "no trailer", "a header only", "nothing", "two headers", "an empty part", "no chunks"],
)
async def test_attack_parts_that_are_missing_or_too_many(
    parts: Callable[[Submission], list[pb.SubmitJobRequest]],
    reason: str,
    honest: Submission,
    context: Context,
    left: Left,
) -> None:
    with pytest.raises(CarnetError) as refused:
        await send(context, parts(honest))
    assert refused.value.reason == reason
    assert left.rows(honest.header.job_id) == 0
    assert left.folders(honest.header.job_id) == []


async def test_attack_an_upload_that_is_cut_leaves_nothing(honest: Submission, context: Context, left: Left) -> None:
    async with channel_of(context) as channel:
        call = JobsStub(channel).SubmitJob(timeout=30, metadata=bearer(context))
        for part in honest.parts()[:-1]:
            await call.write(part)
        await asyncio.sleep(0.3)
        call.cancel()
    for _ in range(50):
        if not left.folders(honest.header.job_id):
            break
        await asyncio.sleep(0.1)
    assert left.folders(honest.header.job_id) == []
    assert left.rows(honest.header.job_id) == 0


async def test_a_client_that_hangs_up_after_its_trailer_has_submitted_a_job_that_runs(
    honest: Submission, context: Context, client: Client
) -> None:
    async with channel_of(context) as channel:
        call = JobsStub(channel).SubmitJob(timeout=30, metadata=bearer(context))
        for part in honest.parts():
            await call.write(part)
        await call.done_writing()
        await asyncio.sleep(0.02)
        call.cancel()
    answer = await send(context, honest.parts())
    seen = await follow(client, answer.job.name, Seen())
    assert seen.kinds[-1] == "receipt_arrived"


async def test_the_same_submission_again_is_the_same_job_and_the_same_leaf(
    honest: Submission, context: Context, client: Client
) -> None:
    first = await send(context, honest.parts())
    again = await send(context, honest.parts())
    third = await send(context, honest.copy().parts())
    names = {first.job.name, again.job.name, third.job.name}
    indices = {answer.accepted.index for answer in (first, again, third)}
    assert (len(names), len(indices)) == (1, 1)
    for answer in (first, again, third):
        open_logged(logged_from_proto(answer.accepted), pins=context.pins.gateway)
    seen = await follow(client, first.job.name, Seen())
    assert seen.kinds.count("accepted") == 1


async def test_two_of_the_same_submission_at_once_are_one_job(
    honest: Submission, context: Context, client: Client
) -> None:
    both = await asyncio.gather(*(send(context, s.parts()) for s in (honest, honest.copy(), honest)))
    assert len({answer.accepted.index for answer in both}) == 1
    seen = await follow(client, both[0].job.name, Seen())
    assert seen.kinds[-1] == "receipt_arrived"


async def test_attack_a_job_id_that_is_taken_by_another_manifest(
    honest: Submission, context: Context, client: Client, left: Left
) -> None:
    first = await send(context, honest.parts())
    before = left.folders(honest.header.job_id)
    thief = honest.copy()
    thief.resign(lambda m: replace(m, nonce=secrets.token_bytes(16)))
    with pytest.raises(JobIdTaken):
        await send(context, thief.parts())
    assert set(left.folders(honest.header.job_id)) <= set(before)
    assert (await follow(client, first.job.name, Seen())).kinds[-1] == "receipt_arrived"


async def test_attack_a_request_id_that_was_used_for_another_job(
    carnet_dev: CarnetDev, honest: Submission, context: Context, client: Client, left: Left
) -> None:
    first = await send(context, honest.parts())
    second = await submission(client, context, script(carnet_dev.facts(), "print(2)"))
    second.header.request_id = honest.header.request_id
    with pytest.raises(RequestIdReused):
        await send(context, second.parts())
    assert left.rows(second.header.job_id) == 0
    assert left.folders(second.header.job_id) == []
    await follow(client, first.job.name, Seen())


async def test_attack_a_denied_job_is_ended_at_its_header_before_a_chunk_is_sent(
    carnet_dev: CarnetDev, client: Client, context: Context, left: Left
) -> None:
    health = {"data": {"classes": ["health", "personal"], "subject_jurisdictions": ["DE"], "records": 569}}
    facts = carnet_dev.facts(**health, constraints={"only": ["US"]})
    prepared = await client.prepare(facts)
    assert prepared.denied
    header = pb.SubmitJobRequest.Header(
        job_id=secrets.token_bytes(16),
        facts=facts,
        decision=signed_to_proto(prepared.decided.signed),
        body=prepared.decided.body.payload,
        request_id=str(uuid.uuid4()),
    )
    asked: list[float] = []

    async def parts() -> AsyncIterator[pb.SubmitJobRequest]:
        yield pb.SubmitJobRequest(header=header)
        await asyncio.sleep(20)
        asked.append(time.monotonic())
        yield pb.SubmitJobRequest(chunk=pb.SubmitJobRequest.Chunk(object=0, segment=0, data=b"payload"))

    async with asyncio.timeout(10):
        with pytest.raises(PolicyDenied) as refused:
            await send(context, parts())
    assert asked == [], "the gateway did not wait for a chunk"
    assert refused.value.reason == "POLICY_DENIED"
    assert left.rows(header.job_id) == 0
    assert left.folders(header.job_id) == []


async def test_a_denial_s_status_names_each_rule_with_its_citation(
    carnet_dev: CarnetDev, client: Client, context: Context
) -> None:
    health = {"data": {"classes": ["health", "personal"], "subject_jurisdictions": ["DE"], "records": 569}}
    facts = carnet_dev.facts(**health, constraints={"only": ["US"]})
    prepared = await client.prepare(facts)
    header = pb.SubmitJobRequest.Header(
        job_id=secrets.token_bytes(16),
        facts=facts,
        decision=signed_to_proto(prepared.decided.signed),
        body=prepared.decided.body.payload,
        request_id=str(uuid.uuid4()),
    )
    async with channel_of(context) as channel:
        parts = iter([pb.SubmitJobRequest(header=header)])
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await JobsStub(channel).SubmitJob(parts, timeout=10, metadata=bearer(context))
    status = rpc_status.from_call(refused.value)
    assert status is not None
    failure = error_details_pb2.PreconditionFailure()
    assert [detail.Unpack(failure) for detail in status.details].count(True) == 1
    assert failure.violations
    for violation in failure.violations:
        assert violation.type
        assert "[" in violation.description


async def test_attack_a_decision_about_other_facts_carries_a_job(
    carnet_dev: CarnetDev, client: Client, context: Context, honest: Submission, left: Left
) -> None:
    elsewhere = await client.prepare(carnet_dev.facts(purpose="training"))
    honest.header.decision.CopyFrom(signed_to_proto(elsewhere.decided.signed))
    honest.header.body = elsewhere.decided.body.payload
    with pytest.raises(CarnetError) as refused:
        await send(context, honest.parts())
    assert refused.value.reason == "STATEMENT_INVALID"
    assert left.folders(honest.header.job_id) == []
