"""A malicious client, with a real certificate and a real token, says whatever it likes to a real gateway.

Each attack is refused with its reason and leaves nothing behind: no row, no ciphertext, no upload. The control of each
is the same client, honest, through the very same code.
"""

import asyncio
import hashlib
import json
import secrets
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from carnet import statements
from carnet.core import limits
from carnet.core.errors import CarnetError
from carnet.core.job import Recipient
from carnet.core.runner import Isolation
from carnet.core.statement import Signer
from carnet.outbox import SealedJob
from carnet.v1 import jobs_pb2 as pb
from carnet.wire import signed_to_proto
from gateway import intake
from gateway.storage.blobs import BlobStore, Upload
from tests.fixtures.client_double import (
    ClientDouble,
    Part,
    chunk,
    chunks,
    facts,
    header,
    hostile_addition,
    resigned,
    submission,
    trailer,
)
from tests.fixtures.gateway_process import ON_ITS_LOOP, SECOND, GatewayProcess, until
from tests.fixtures.parties import nothing
from tests.fixtures.runner_double import RunnerDouble

pytestmark = ON_ITS_LOOP

Forge = Callable[[ClientDouble, SealedJob], list[Part]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(gateway_process: GatewayProcess) -> AsyncIterator[ClientDouble]:
    """The hospital's client. France's runner is attached and has no room: what is accepted waits."""
    async with RunnerDouble(gateway_process) as runner, ClientDouble(gateway_process) as found:
        await runner.attach(slots=0)
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stranger(client: ClientDouble) -> AsyncIterator[ClientDouble]:
    """The bank's client: another tenant of the same gateway."""
    async with ClientDouble(client.gateway, client.gateway.world.bank) as found:
        yield found


def resign(client: ClientDouble, sealed: SealedJob, **changes: Any) -> SealedJob:
    """The job under another manifest, well signed."""
    return resigned(sealed, client.tenant.signer, **changes)


async def refused(client: ClientDouble, parts: list[Part] | AsyncIterator[Part]) -> str:
    """The reason that a submission was refused with; it left nothing behind."""
    before = client.gateway.left()
    with pytest.raises(CarnetError) as caught:
        await client.send(parts)
    assert client.gateway.left() == before
    return caught.value.reason


async def accepted(client: ClientDouble, sealed: SealedJob) -> str:
    """The control: the same job, untouched, is taken."""
    before = client.gateway.rows("jobs")
    answer = await client.send(submission(sealed))
    assert client.gateway.rows("jobs") == before + 1
    return answer.job.name


# --- what is sent, and in which order -----------------------------------------------------------------------------


def altered(client: ClientDouble, sealed: SealedJob) -> list[Part]:
    parts = submission(sealed)
    data = parts[1].chunk.data
    parts[1].chunk.data = data[:-1] + bytes([data[-1] ^ 1])
    return parts


def plaintext(client: ClientDouble, sealed: SealedJob) -> list[Part]:
    """The client signs the digest of plaintext, and sends plaintext."""
    secret = b"nothing is sealed here"
    bare = replace(sealed.manifest.objects[1], size=len(secret), segment_digests=(hashlib.sha256(secret).digest(),))
    forged = resign(client, sealed, objects=(sealed.manifest.objects[0], bare))
    return [header(forged), chunks(sealed)[0], chunk(secret, 1), trailer(forged)]


def size_lied(client: ClientDouble, sealed: SealedJob) -> list[Part]:
    longer = replace(sealed.manifest.objects[1], size=sealed.manifest.objects[1].size + 1)
    forged = resign(client, sealed, objects=(sealed.manifest.objects[0], longer))
    return [header(forged), *chunks(sealed), trailer(forged)]


def extra_segment(client: ClientDouble, sealed: SealedJob) -> list[Part]:
    return [header(sealed), *chunks(sealed), chunk(b"more", 1, 1), trailer(sealed)]


def by_another_key(client: ClientDouble, sealed: SealedJob) -> list[Part]:
    return submission(resigned(sealed, Signer.generate()))


def hinted(client: ClientDouble, sealed: SealedJob) -> list[Part]:
    """The signature of an unlisted key under the key id of a listed one."""
    forged = resigned(sealed, Signer.generate())
    return submission(replace(forged, signed=replace(forged.signed, keyid=sealed.signed.keyid)))


PARTS: dict[str, tuple[Forge, str]] = {
    "a chunk before the header": (lambda c, s: chunks(s), "ENVELOPE_MALFORMED"),
    "a trailer before the header": (lambda c, s: [trailer(s)], "ENVELOPE_MALFORMED"),
    "nothing at all": (lambda c, s: [], "ENVELOPE_MALFORMED"),
    "an empty part": (lambda c, s: [Part()], "FIELD_INVALID"),
    "a header twice": (lambda c, s: [header(s), header(s), *chunks(s), trailer(s)], "ENVELOPE_MALFORMED"),
    "a header after the payload": (lambda c, s: [header(s), *chunks(s), header(s)], "ENVELOPE_MALFORMED"),
    "no trailer": (lambda c, s: [header(s), *chunks(s)], "ENVELOPE_MALFORMED"),
    "no payload": (lambda c, s: [header(s), trailer(s)], "PAYLOAD_DIGEST_MISMATCH"),
    "the last segment is missing": (lambda c, s: [header(s), *chunks(s)[:-1], trailer(s)], "PAYLOAD_DIGEST_MISMATCH"),
    "a segment too many": (extra_segment, "PAYLOAD_DIGEST_MISMATCH"),
    "a segment twice": (lambda c, s: [header(s), *chunks(s)[:1] * 2, trailer(s)], "PAYLOAD_DIGEST_MISMATCH"),
    "segments swapped": (lambda c, s: [header(s), *chunks(s)[::-1], trailer(s)], "ENVELOPE_MALFORMED"),
    "a gap between segments": (lambda c, s: [header(s), chunk(b"x"), chunk(b"x", 0, 7)], "ENVELOPE_MALFORMED"),
    "an object out of bounds": (lambda c, s: [header(s), chunk(b"x", 2**32 - 1)], "FIELD_INVALID"),
    "a chunk that is too large": (lambda c, s: [header(s), chunk(bytes(limits.chunk_bytes_max + 1))], "FIELD_INVALID"),
    "a byte altered": (altered, "PAYLOAD_DIGEST_MISMATCH"),
    "plaintext": (plaintext, "PAYLOAD_NOT_ENCRYPTED"),
    "a size that is not the payload's": (size_lied, "PAYLOAD_NOT_ENCRYPTED"),
    "a manifest signed by a key of nobody": (by_another_key, "CERT_INVALID"),
    "a key id of another key": (hinted, "SIGNATURE_INVALID"),
    "a wrap too few": (lambda c, s: [header(s), *chunks(s), trailer(s, wraps=[])], "FIELD_INVALID"),
    "a wrap too many": (lambda c, s: [header(s), *chunks(s), trailer(s, wraps=s.wraps * 2)], "FIELD_INVALID"),
    "a wrap cut short": (lambda c, s: [header(s), *chunks(s), trailer(s, wraps=[s.wraps[0][:-1]])], "FIELD_INVALID"),
    "a self-wrap cut short": (lambda c, s: [header(s), *chunks(s), trailer(s, self_wrap=b"")], "FIELD_INVALID"),
    "a request id that is none": (lambda c, s: [header(s, request_id="1")], "FIELD_INVALID"),
}


@pytest.mark.parametrize(("forge", "reason"), PARTS.values(), ids=PARTS.keys())
async def test_a_submission_with(client: ClientDouble, forge: Forge, reason: str) -> None:
    sealed = await client.sealed()
    assert await refused(client, forge(client, sealed)) == reason
    await accepted(client, sealed)


async def test_what_comes_after_the_trailer_changes_nothing(client: ClientDouble) -> None:
    sealed, other = await client.sealed(), await client.sealed()
    before = client.gateway.rows("jobs")
    answer = await client.send([*submission(sealed), trailer(other), *submission(other)])
    assert answer.job.name.endswith(sealed.manifest.job_id.hex())
    assert client.gateway.rows("jobs") == before + 1
    assert client.gateway.left()["uploads"] == 0


# --- how much, and how long ---------------------------------------------------------------------------------------


async def test_an_endless_upload_ends_at_the_bound_of_bytes(
    client: ClientDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed, sent = await client.sealed(), 0
    whole = BlobStore.upload

    def small(self: BlobStore) -> Upload:
        return whole(self, bytes_max=4 * limits.MIB)

    monkeypatch.setattr(BlobStore, "upload", small)

    async def endless() -> AsyncIterator[Part]:
        nonlocal sent
        yield header(sealed)
        while True:
            sent += 1
            yield chunk(bytes(256 * limits.KIB))
            await asyncio.sleep(0.02)  # grpc.aio loses the status of a call whose sender is blocked when it ends

    assert await refused(client, endless()) == "QUOTA_EXCEEDED"
    assert 16 <= sent < 100, "it ended at its bound, and not at the sender's will"

    # Control: with no bound it goes on for as long as its sender likes; it ends because it has no trailer.
    async def long() -> AsyncIterator[Part]:
        yield header(sealed)
        for _ in range(40):
            yield chunk(bytes(256 * limits.KIB))

    monkeypatch.setattr(BlobStore, "upload", whole)
    assert await refused(client, long()) == "ENVELOPE_MALFORMED"
    await accepted(client, sealed)


async def test_a_segment_that_never_ends_is_refused_at_its_size(
    client: ClientDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = await client.sealed()
    monkeypatch.setattr("gateway.storage.segments.segment_sealed_bytes_max", limits.MIB)
    many = [header(sealed), *[chunk(bytes(limits.chunk_bytes_max))] * 3, trailer(sealed)]
    assert await refused(client, many) == "ENVELOPE_MALFORMED"
    await accepted(client, sealed)


async def test_an_upload_that_pauses_is_ended(client: ClientDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = await client.sealed()
    monkeypatch.setattr(intake, "part_seconds_max", 0.2)

    async def stalls(seconds: float) -> AsyncIterator[Part]:
        first, *rest = submission(sealed)
        yield first
        await asyncio.sleep(seconds)
        for part in rest:
            yield part

    async with asyncio.timeout(5):
        assert await refused(client, stalls(10)) == "ENVELOPE_MALFORMED"
    # Control: a gateway with more patience waits, and holds the place of the upload meanwhile.
    monkeypatch.setattr(intake, "part_seconds_max", 20)
    assert (await client.send(stalls(0.5))).job.name


async def test_an_upload_that_trickles_for_ever_is_ended(client: ClientDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = await client.sealed()
    monkeypatch.setattr(limits, "upload_seconds_max", 1.0)

    async def trickles() -> AsyncIterator[Part]:
        yield header(sealed)
        while True:
            await asyncio.sleep(0.05)
            yield chunk(b"x")

    async with asyncio.timeout(5):
        assert await refused(client, trickles()) == "ENVELOPE_MALFORMED"


async def test_a_client_that_hangs_up_in_the_middle_leaves_nothing(client: ClientDouble) -> None:
    sealed, before = await client.sealed(), client.gateway.left()

    async def cut() -> AsyncIterator[Part]:
        yield header(sealed)
        for _ in range(8):
            yield chunk(bytes(256 * limits.KIB))
        await asyncio.sleep(10)

    call = client.stub.SubmitJob(cut(), metadata=client.metadata)
    await until(lambda: client.gateway.left()["uploads"] > before["uploads"])
    call.cancel()
    await until(lambda: client.gateway.left() == before)
    await accepted(client, sealed)


# --- facts and manifest that contradict each other ----------------------------------------------------------------


def with_resources(client: ClientDouble, sealed: SealedJob) -> SealedJob:
    more = replace(sealed.manifest.resources, memory_bytes=2 * sealed.manifest.resources.memory_bytes)
    return resign(client, sealed, resources=more)


def elsewhere(client: ClientDouble, sealed: SealedJob) -> SealedJob:
    """A recipient that the decision never saw."""
    us = str(client.gateway.world.runners[2].id)
    forged = replace(sealed.manifest.recipients[0], spiffe_id=us, jurisdiction="US")
    places = tuple(sorted({*sealed.manifest.allowed_jurisdictions, "US"}))
    return resign(client, sealed, recipients=(forged,), allowed_jurisdictions=places)


def another_place(client: ClientDouble, sealed: SealedJob) -> SealedJob:
    """The permitted runner, said to stand elsewhere."""
    forged = replace(sealed.manifest.recipients[0], jurisdiction="DE")
    return resign(client, sealed, recipients=(forged,))


def too_many(client: ClientDouble, sealed: SealedJob) -> SealedJob:
    one = sealed.manifest.recipients[0]
    others: list[Recipient] = [replace(one, kid=secrets.token_bytes(32)) for _ in range(15)]
    forged = resign(client, sealed, recipients=(one, *others))
    return replace(forged, wraps=sealed.wraps * 16)


def older(client: ClientDouble, sealed: SealedJob) -> SealedJob:
    then_ns = sealed.manifest.created_ns - 25 * 3600 * SECOND
    return resign(client, sealed, created_ns=then_ns, not_after_ns=then_ns + 3600 * SECOND)


MANIFESTS: dict[str, tuple[Callable[[ClientDouble, SealedJob], SealedJob], str]] = {
    "another image": (lambda c, s: resign(c, s, image="sha256:" + "00" * 32), "FACTS_MISMATCH"),
    "more memory": (with_resources, "FACTS_MISMATCH"),
    "more time": (lambda c, s: resign(c, s, seconds_max=s.manifest.seconds_max + 1), "FACTS_MISMATCH"),
    "more attempts": (lambda c, s: resign(c, s, attempts_max=8), "FACTS_MISMATCH"),
    "a weaker cage": (lambda c, s: resign(c, s, isolation_min=Isolation.PROCESS), "FACTS_MISMATCH"),
    "other facts": (lambda c, s: resign(c, s, facts_digest=bytes(32)), "FACTS_MISMATCH"),
    "another decision": (lambda c, s: resign(c, s, decision_digest=bytes(32)), "FACTS_MISMATCH"),
    "another job id": (lambda c, s: resign(c, s, job_id=bytes(16)), "FACTS_MISMATCH"),
    "another tenant": (lambda c, s: resign(c, s, tenant_id=c.gateway.world.bank.tenant_id), "STATEMENT_INVALID"),
    "a recipient outside the decision": (elsewhere, "FACTS_MISMATCH"),
    "a recipient in another place": (another_place, "FACTS_MISMATCH"),
    "more recipients than are allowed": (too_many, "FACTS_MISMATCH"),
    "no recipients": (lambda c, s: replace(resign(c, s, recipients=()), wraps=()), "FIELD_INVALID"),
    "a time that is over": (older, "RECIPIENT_KEY_EXPIRED"),
}


@pytest.mark.parametrize(("forge", "reason"), MANIFESTS.values(), ids=MANIFESTS.keys())
async def test_a_manifest_that_names(
    client: ClientDouble, forge: Callable[[ClientDouble, SealedJob], SealedJob], reason: str
) -> None:
    sealed = await client.sealed()
    forged = forge(client, sealed)
    assert await refused(client, [header(sealed), *chunks(sealed), trailer(forged)]) == reason
    # Control: it was the change, and not the signing anew.
    again = resign(client, sealed, nonce=secrets.token_bytes(16))
    await accepted(client, again)


@pytest.mark.parametrize("name", ["another image", "more memory", "more time", "more attempts", "other facts"])
async def test_control_without_the_comparison_a_manifest_contradicts_its_facts(
    name: str, client: ClientDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Control: policy heard of one job, and another one is taken in.
    monkeypatch.setattr(intake, "check_facts", nothing)
    forge, _ = MANIFESTS[name]
    await accepted(client, forge(client, await client.sealed()))


async def test_a_place_that_the_facts_exclude_is_refused(client: ClientDouble) -> None:
    only = {"only": ["FR"], "never": [], "parent_never": [], "isolation_min": "container"}
    sealed = await client.sealed(constraints=only)
    forged = resign(client, sealed, allowed_jurisdictions=("DE", "FR"))
    assert await refused(client, submission(forged)) == "FACTS_MISMATCH"
    await accepted(client, sealed)


async def test_a_decision_about_other_facts_a_forged_one_or_another_body_ends_at_the_header(
    client: ClientDouble,
) -> None:
    sealed = await client.sealed()
    _, forged = statements.DECISION.sign(replace(sealed.decided.record, payload=b""), client.tenant.signer)
    wider = json.loads(sealed.decided.body.payload)
    wider["permitted"] = sorted({*wider["permitted"], "KP"})
    headers = {
        "STATEMENT_INVALID": [
            header(sealed, facts=facts(purpose="training")),
            header(sealed, body=json.dumps(wider).encode()),
            header(sealed, body=b"{}"),
        ],
        "SIGNATURE_INVALID": [
            header(sealed, decision=signed_to_proto(forged)),
            header(sealed, decision=signed_to_proto(replace(forged, keyid=sealed.decided.signed.keyid))),
        ],
    }
    for reason, forgeries in headers.items():
        for part in forgeries:
            assert await refused(client, [part]) == reason
    await accepted(client, sealed)


async def test_a_denying_decision_ends_at_the_header_with_its_rules(client: ClientDouble) -> None:
    prepared = await client.client.prepare(
        facts(constraints={"only": [], "never": ["FR", "DE", "US"], "parent_never": [], "isolation_min": "container"})
    )
    sealed = await client.sealed()
    nowhere = {"only": ["KP"], "never": ["KP"]}
    denied = await client.client.prepare(facts(constraints=nowhere))
    assert denied.denied, "the control of the case: this one is a denial"
    part = header(
        sealed,
        facts=denied.facts.payload,
        decision=signed_to_proto(denied.decided.signed),
        body=denied.decided.body.payload,
    )
    assert await refused(client, [part]) == "POLICY_DENIED"
    assert prepared.runners == ()
    await accepted(client, sealed)


HOSTILE_FACTS: dict[str, bytes] = {
    "a key twice": facts().replace(b'"purpose": "other"', b'"purpose": "other", "purpose": "training"'),
    "a NUL": facts().replace(b"Musterstadt", b"Muster\\u0000stadt"),
    "a lone surrogate": facts().replace(b"Musterstadt", b"Muster\\ud800stadt"),
    "a number without bounds": facts().replace(b'"records": 0', b'"records": 1e400'),
    "an integer beyond 64 bits": facts().replace(b'"records": 0', b'"records": ' + b"9" * 4000),
    "not a number": facts().replace(b'"records": 0', b'"records": NaN'),
    "an unknown field": facts().replace(b'"purpose"', b'"urgency": 1, "purpose"'),
    "a field with a name of 60,000 letters": facts().replace(b'"purpose"', b'"' + b"x" * 60_000 + b'": 1, "purpose"'),
    "a field with a name in control letters": facts().replace(b'"purpose"', b'"\\u001b[31m\\r\\n": 1, "purpose"'),
    "nesting without end": b"[" * 60_000,
    "two documents": facts() + facts(),
    "a list": b"[]",
    "no UTF-8": b"\xff\xfe" + facts(),
    "more bytes than are allowed": facts() + b" " * limits.facts_bytes_max,
}


@pytest.mark.parametrize("data", HOSTILE_FACTS.values(), ids=HOSTILE_FACTS.keys())
async def test_facts_with(client: ClientDouble, data: bytes) -> None:
    decisions = client.gateway.rows("decisions")
    with pytest.raises(CarnetError) as caught:
        await client.call("PrepareJob", pb.PrepareJobRequest(facts=data))
    assert caught.value.reason == "FIELD_INVALID"
    assert "\x1b" not in str(caught.value)
    assert await refused(client, [header(await client.sealed(), facts=data)]) == "FIELD_INVALID"
    assert client.gateway.rows("decisions") == decisions + 1, "only the honest job's decision was made"


# --- ids that were used -------------------------------------------------------------------------------------------


async def test_a_job_id_can_not_be_taken_for_another_manifest(client: ClientDouble) -> None:
    sealed = await client.sealed()
    name = await accepted(client, sealed)
    other = resign(client, sealed, nonce=secrets.token_bytes(16))
    assert await refused(client, submission(other)) == "JOB_ID_TAKEN"
    # Control: the same manifest again is the same job, and is answered like the first time.
    before = client.gateway.left()
    again = await client.send(submission(sealed))
    assert again.job.name == name
    assert client.gateway.left() == before


async def test_a_request_id_can_not_be_used_for_another_job(client: ClientDouble) -> None:
    first, second = await client.sealed(), await client.sealed()
    request_id = str(uuid.uuid4())
    await client.send([header(first, request_id=request_id), *chunks(first), trailer(first)])
    stolen = [header(second, request_id=request_id), *chunks(second), trailer(second)]
    assert await refused(client, stolen) == "REQUEST_ID_REUSED"
    await accepted(client, second)


async def test_the_same_job_sent_many_times_at_once_is_one_job_with_its_payload(client: ClientDouble) -> None:
    sealed, before = await client.sealed(), client.gateway.left()
    answers = await asyncio.gather(*(client.send(submission(sealed)) for _ in range(4)))
    assert len({answer.job.name for answer in answers}) == 1
    after = client.gateway.left()
    assert after["jobs"] == before["jobs"] + 1
    assert after["payloads files"] == before["payloads files"] + 2
    assert after["uploads"] == 0


# --- another tenant's -------------------------------------------------------------------------------------------


async def test_another_tenant_s_job_is_not_there_for_any_method(client: ClientDouble, stranger: ClientDouble) -> None:
    sealed = await client.sealed()
    name = await accepted(client, sealed)
    own = f"tenants/{stranger.tenant.tenant_id.hex()}/jobs/{sealed.manifest.job_id.hex()}"
    before = client.gateway.left()
    for theirs in (name, own):
        asked = str(uuid.uuid4())
        calls = [
            stranger.call("GetJob", pb.GetJobRequest(name=theirs)),
            stranger.call("CancelJob", pb.CancelJobRequest(name=theirs, request_id=asked)),
            stranger.call("AddRecipients", hostile_addition(stranger, sealed, theirs)),
            stranger.items("WatchJob", pb.WatchJobRequest(name=theirs)),
            stranger.items("FetchResult", pb.FetchResultRequest(name=theirs)),
        ]
        for call in calls:
            with pytest.raises(CarnetError) as caught:
                await call
            assert caught.value.reason == "NOT_FOUND"
    assert client.gateway.left() == before
    # Control: its owner sees it, and it still waits.
    job = await client.call("GetJob", pb.GetJobRequest(name=name))
    assert job.state == pb.Job.STATE_QUEUED
    mine = await stranger.call("ListJobs", pb.ListJobsRequest())
    assert [found.name for found in mine.jobs if found.name == name] == []


async def test_another_tenant_s_decision_manifest_and_key_set_are_refused(
    client: ClientDouble, stranger: ClientDouble
) -> None:
    sealed, own = await client.sealed(), await stranger.sealed()
    # The whole of another tenant's submission, overheard and sent under one's own name.
    assert await refused(stranger, submission(sealed)) == "STATEMENT_INVALID"
    # One's own header, another's trailer.
    assert await refused(stranger, [header(own), *chunks(sealed), trailer(sealed)]) == "SIGNATURE_INVALID"
    mixed = trailer(own, tenant_key_set=client.key_set())
    assert await refused(stranger, [header(own), *chunks(own), mixed]) == "SIGNATURE_INVALID"
    await accepted(stranger, own)
    await accepted(client, sealed)


async def test_a_page_token_of_another_tenant_or_forged_is_refused(
    client: ClientDouble, stranger: ClientDouble
) -> None:
    await accepted(client, await client.sealed())
    await accepted(stranger, await stranger.sealed())
    theirs = (await stranger.call("ListJobs", pb.ListJobsRequest(page_size=1))).next_page_token
    forged = [theirs, theirs[:-4] + "AAAA", theirs + "AAAA", "AAAA", "\u00e4", "=" * 200, "A" * 53 + "===", "\n"]
    for token in forged:
        with pytest.raises(CarnetError) as caught:
            await client.call("ListJobs", pb.ListJobsRequest(page_token=token))
        assert caught.value.reason == "PAGE_TOKEN_INVALID"
    page = await client.call("ListJobs", pb.ListJobsRequest(page_size=1))
    rest = await client.call("ListJobs", pb.ListJobsRequest(page_size=2**32 - 1, page_token=page.next_page_token))
    assert page.jobs[0].name not in [job.name for job in rest.jobs]


async def test_a_token_of_another_tenant_s_client_is_refused(client: ClientDouble, stranger: ClientDouble) -> None:
    request = pb.ListJobsRequest()
    client_metadata, stranger.metadata = stranger.metadata, client.metadata
    try:
        with pytest.raises(CarnetError) as caught:
            await stranger.call("ListJobs", request)
    finally:
        stranger.metadata = client_metadata
    assert caught.value.reason == "TOKEN_INVALID"
    await stranger.call("ListJobs", request)


# --- places that are not there ------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [10**6, 2**31, 2**63 - 1, 2**63, 2**64 - 1])
async def test_a_watch_from_a_huge_index_ends_with_its_job(client: ClientDouble, index: int) -> None:
    name = await accepted(client, await client.sealed())
    await client.call("CancelJob", pb.CancelJobRequest(name=name, request_id=str(uuid.uuid4())))
    request = pb.WatchJobRequest(name=name, event_index=index, log_index=index)
    assert await client.items("WatchJob", request) == []
    # Control: from the beginning all of it is there.
    events = await client.items("WatchJob", pb.WatchJobRequest(name=name))
    assert [item.event.kind for item in events] == ["accepted", "cancel_asked"]


async def test_a_name_that_is_nearly_one_is_refused(client: ClientDouble) -> None:
    name = await accepted(client, await client.sealed())
    for wrong in (name + "\n", " " + name, name.upper(), name + "/x", name[:-1], "", name.replace("/", "//")):
        with pytest.raises(CarnetError) as caught:
            await client.call("GetJob", pb.GetJobRequest(name=wrong))
        assert caught.value.reason == "FIELD_INVALID", wrong
    assert (await client.call("GetJob", pb.GetJobRequest(name=name))).name == name


async def test_a_cancel_that_comes_again_is_answered_and_changes_nothing(client: ClientDouble) -> None:
    kept = client.gateway.left()["payloads files"]
    name, other = await accepted(client, await client.sealed()), await accepted(client, await client.sealed())
    first = pb.CancelJobRequest(name=name, request_id=str(uuid.uuid4()))
    assert (await client.call("CancelJob", first)).state == pb.Job.STATE_CANCELLED
    await client.call("CancelJob", pb.CancelJobRequest(name=other, request_id=str(uuid.uuid4())))
    # Payloads go after the answer, in a task of their own.
    await until(lambda: client.gateway.left()["payloads files"] == kept)
    before = client.gateway.left()
    assert (await client.call("CancelJob", first)).state == pb.Job.STATE_CANCELLED, "its answer may have been lost"
    for request_id, reason in ((str(uuid.uuid4()), "JOB_NOT_CANCELLABLE"), (first.request_id, "REQUEST_ID_REUSED")):
        with pytest.raises(CarnetError) as caught:
            await client.call("CancelJob", pb.CancelJobRequest(name=other, request_id=request_id))
        assert caught.value.reason == reason
    assert client.gateway.left() == before
