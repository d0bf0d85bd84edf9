"""Intake: from an upload to a durable job.

- A stale, foreign or denying decision ends the stream at its header, before the payload. So does the ledger: what it
  counts is weighed there with every runner of the short list that is attached. At the trailer the manifest is held
  against tenant, facts, decision, recipients (each of them weighed) and ciphertext; what is not an envelope is refused.
- Accepted means durable: ciphertext is synced and published, then job, wraps, decision, event and leaf are one
  transaction. Whatever fails before leaves nothing behind; a client that hangs up after its trailer changes nothing.
- The same job id with the same manifest is the same job; with another one it is refused.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from carnet.authorship import Written, open_written
from carnet.core import limits
from carnet.core.decision import (
    DecisionBody,
    DecisionRecord,
    Effect,
    Reason,
    Verdict,
    check_record,
    check_submittable,
    recipients_max,
)
from carnet.core.errors import (
    CarnetError,
    EnvelopeMalformed,
    FactsMismatch,
    FieldInvalid,
    NoCapacity,
    PayloadNotEncrypted,
    RecipientKeyExpired,
)
from carnet.core.facts import JobFacts
from carnet.core.job import JobState, Manifest, check_facts
from carnet.core.lifecycle import Accepted, Contender, Job, advance
from carnet.core.segment import ciphertext_size, segment_sizes
from carnet.pins import Pins
from carnet.v1 import jobs_pb2 as pb
from carnet.verdict import Decided, check_tenant
from carnet.wire import audit_entry, logged_to_proto, signed_from_proto, signed_to_bytes
from gateway import validation
from gateway.auditlog import AuditLog
from gateway.exemptions import Exemptions, granted_of
from gateway.identity import Caller
from gateway.judge import Judge, NothingLeft, Weighed
from gateway.keysets import KeySets
from gateway.leaves import leaf_of
from gateway.ledger import Ledger
from gateway.messages import job_message
from gateway.openings import Openings
from gateway.requests import remember_request
from gateway.roster import Roster
from gateway.standing import Standing
from gateway.status import Denied, Violation
from gateway.storage.blobs import BlobStore, Payload, Upload
from gateway.storage.operations import Batch, CountVolumes, InsertJob, InsertWraps, Operation
from gateway.storage.policyrecords import StoredExemption
from gateway.storage.records import JobDocuments, JobKey, NewEntry, NewEvent, SealedWrap, StoredJob
from gateway.storage.store import Store
from gateway.storage.wraps import WrapKeys, day_of
from gateway.whole import whole
from policy.engine import GatewayFacts, Volume

part_seconds_max: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What intake works with; joined in services.py. `render` gives a reason in words.

    `adopt` hands a job to dispatch; `knows` says whether it has one of that name that has not ended.
    """

    store: Store
    log: AuditLog
    blobs: BlobStore
    wraps: WrapKeys
    ledger: Ledger
    standing: Standing
    exemptions: Exemptions
    judge: Judge
    roster: Roster
    pins: Pins
    key_sets: KeySets
    render: Callable[[Reason], str]
    adopt: Callable[[StoredJob], None]
    knows: Callable[[JobKey], bool]
    clock: Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opening:
    """A header that was found good."""

    job_id: bytes
    facts: JobFacts
    decided: Decided
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """What the job is accepted with: what policy hears of who handed it in, and the exemptions that are held for it."""

    requester: GatewayFacts
    exemptions: tuple[StoredExemption, ...]


class Intake:
    """Takes jobs in, for one gateway process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._openings = Openings(parts.pins.gateway)
        self._turns: WeakValueDictionary[JobKey, asyncio.Lock] = WeakValueDictionary()

    async def submit(self, caller: Caller, parts: AsyncIterator[pb.SubmitJobRequest]) -> pb.SubmitJobResponse:
        """Take a job in. Raises before the payload where the decision does not stand."""
        first = await _next(parts)
        if not first.HasField("header"):
            raise EnvelopeMalformed("The first part of a submission is its header.")
        opening = self._open(caller, first.header)
        key = JobKey(tenant_id=caller.tenant_id, job_id=opening.job_id)
        shortlist = [entry.spiffe_id for entry in opening.decided.record.shortlist if entry.permitted]

        def told(volumes: tuple[Volume, ...]) -> GatewayFacts:
            return self._parts.standing.told(
                caller, opening.facts, volumes=volumes, exemptions=tuple(map(granted_of, held))
            )

        weighed: Weighed | None = None

        async def weigh(volumes: tuple[Volume, ...]) -> None:
            nonlocal weighed
            weighed = await self._weigh(opening, told(volumes), shortlist)

        async with (
            self._parts.exemptions.holding(key, opening.decided.body) as held,
            self._parts.ledger.holding(key, opening.facts, shortlist, weigh) as volumes,
            self._parts.blobs.upload() as upload,
        ):
            trailer = await _receive(parts, upload)
            written = self._open_trailer(caller, trailer)
            await self._parts.key_sets.note(written.key_set)
            self._check_manifest(opening, written.manifest, wraps=len(trailer.wraps))
            self._check_weighed(weighed, written.manifest)
            standing = _Standing(requester=told(volumes), exemptions=held)
            return await whole(self._keep(caller, opening, standing, trailer, written, upload))

    async def _weigh(self, opening: _Opening, requester: GatewayFacts, shortlist: list[str]) -> Weighed:
        runners = self._parts.roster.facts_of(shortlist, now_ns=self._parts.clock())
        if not runners:
            raise NoCapacity("No runner of the decision is attached, and none can be weighed now.")
        with self._denying():
            return await self._parts.judge.weigh(opening.facts, requester, runners, prepared=opening.decided.body)

    def _check_weighed(self, weighed: Weighed | None, manifest: Manifest) -> None:
        if weighed is not None:
            with self._denying():
                weighed.check(recipient.spiffe_id for recipient in manifest.recipients)

    @contextmanager
    def _denying(self) -> Iterator[None]:
        try:
            yield
        except NothingLeft as error:
            raise Denied("Policy permits this job no longer.", violations=self._violations(error.reasons)) from error

    async def _keep(
        self,
        caller: Caller,
        opening: _Opening,
        standing: _Standing,
        trailer: pb.SubmitJobRequest.Trailer,
        written: Written,
        upload: Upload,
    ) -> pb.SubmitJobResponse:
        key, digest = JobKey(tenant_id=caller.tenant_id, job_id=opening.job_id), written.manifest.digest
        payload = Payload(key=key, manifest_digest=digest)
        # One submission of a job at a time: what one of them takes back is never what another one has accepted.
        async with self._turns.setdefault(key, asyncio.Lock()):
            segments = await upload.publish(payload, written.manifest.objects)
            try:
                _check_sealed([segment.size for segment in segments], written.manifest)
                return await self._accept(caller, opening, standing, trailer, written)
            except CarnetError:
                stored = await self._stored(key)
                if stored is None or stored.manifest_digest != digest:
                    await self._parts.blobs.delete(payload)
                raise

    def _open(self, caller: Caller, header: pb.SubmitJobRequest.Header) -> _Opening:
        opened = self._openings.of(header)
        facts, decided = opened.facts, opened.decided
        check_tenant(decided, caller.tenant_id)
        if decided.body.verdict is Verdict.DENY:
            raise Denied("The decision does not permit this job.", violations=self._violations(decided.body.reasons))
        check_record(decided.record, decided.body, facts_digest=facts.digest, now_ns=self._parts.clock())
        check_submittable(decided.body, now_ns=self._parts.clock())
        return _Opening(
            job_id=header.job_id,
            facts=facts,
            decided=decided,
            request_id=header.request_id,
        )

    def _violations(self, reasons: tuple[Reason, ...]) -> tuple[Violation, ...]:
        return tuple(
            Violation(
                rule=reason.rule,
                places=reason.jurisdictions,
                sentence=f"{self._parts.render(reason)} [{', '.join(reason.citations)}]",
            )
            for reason in reasons
            if reason.effect is Effect.DENY
        )

    def _open_trailer(self, caller: Caller, trailer: pb.SubmitJobRequest.Trailer) -> Written:
        return open_written(
            signed_from_proto(trailer.tenant_key_set),
            signed_from_proto(trailer.manifest),
            tenants=(self._parts.pins.tenant(caller.tenant_id),),
            sequence_seen=self._parts.key_sets.seen(caller.tenant_id),
            now_ns=self._parts.clock(),
        )

    def _check_manifest(self, opening: _Opening, manifest: Manifest, *, wraps: int) -> None:
        now_ns = self._parts.clock()
        if manifest.job_id != opening.job_id:
            raise FactsMismatch("The manifest is of another job than the header.", metadata={"field": "job_id"})
        if manifest.decision_digest != opening.decided.record.digest:
            raise FactsMismatch("The manifest names another decision.", metadata={"field": "decision"})
        check_facts(manifest, opening.facts)
        _check_recipients(manifest, opening.decided.record, opening.decided.body, wraps=wraps)
        skew_ns = limits.clock_skew_seconds_max * 10**9
        if not manifest.created_ns - skew_ns <= now_ns < manifest.not_after_ns:
            raise RecipientKeyExpired("The manifest is not valid now.")

    async def _accept(
        self,
        caller: Caller,
        opening: _Opening,
        standing: _Standing,
        trailer: pb.SubmitJobRequest.Trailer,
        written: Written,
    ) -> pb.SubmitJobResponse:
        manifest, now_ns = written.manifest, self._parts.clock()
        key = JobKey(tenant_id=caller.tenant_id, job_id=opening.job_id)
        waits = opening.decided.body.verdict is Verdict.REVIEW
        life, _ = advance(_new_life(manifest), Accepted(approval=waits), now_ns=now_ns)
        job = StoredJob(
            key=key,
            manifest_digest=manifest.digest,
            decision_digest=manifest.decision_digest,
            life=life,
            created_ns=now_ns,
            updated_ns=now_ns,
        )
        documents = JobDocuments(
            facts=opening.facts.payload,
            manifest=signed_to_bytes(signed_from_proto(trailer.manifest)),
            tenant_key_set=signed_to_bytes(signed_from_proto(trailer.tenant_key_set)),
            self_wrap=trailer.self_wrap,
            requester=standing.requester.document(),
        )
        sealed = await asyncio.to_thread(self._seal_wraps, key, manifest, tuple(trailer.wraps), now_ns)
        entry = audit_entry(
            "job.accepted",
            time_ns=now_ns,
            tenant_id=key.tenant_id,
            job_id=key.job_id,
            manifest=manifest.digest,
            decision=manifest.decision_digest,
            facts=manifest.facts_digest,
        )
        answer = await self._parts.store.write(
            Batch(
                operations=(
                    remember_request(caller, opening.request_id, manifest.job_id + manifest.digest, now_ns=now_ns),
                    InsertJob(job=job, documents=documents, events=(NewEvent.of("accepted", life, time_ns=now_ns),)),
                    InsertWraps(key=key, wraps=sealed),
                    *self._counted(key, opening.facts, manifest, standing),
                ),
                entries=(
                    NewEntry(kind=entry.kind, data=entry.to_bytes(), key=key),
                    *self._parts.exemptions.leaves(key, standing.exemptions),
                ),
            )
        )
        if not answer.applied:
            return await self._accepted_before(key)
        self._parts.adopt(answer.jobs[0])
        return pb.SubmitJobResponse(job=job_message(answer.jobs[0]), accepted=logged_to_proto(answer.logged[0]))

    def _counted(self, key: JobKey, facts: JobFacts, manifest: Manifest, standing: _Standing) -> tuple[Operation, ...]:
        used = self._parts.exemptions.counted(key, standing.exemptions)
        volumes = self._parts.ledger.volumes_of(facts, [recipient.spiffe_id for recipient in manifest.recipients])
        return (CountVolumes(key=key, volumes=volumes), *used) if volumes else used

    async def _accepted_before(self, key: JobKey) -> pb.SubmitJobResponse:
        job = await self._stored(key)
        assert job is not None, "a job that was accepted before is there"
        logged = await leaf_of(self._parts.store, self._parts.log, key, "job.accepted")
        return pb.SubmitJobResponse(job=job_message(job), accepted=logged_to_proto(logged))

    async def _stored(self, key: JobKey) -> StoredJob | None:
        """The job as it is stored. A commit that was reported as failed may be one: dispatch then hears of it here."""
        known = self._parts.knows(key)
        job = await self._parts.store.job(key)
        if job is not None and not known and not job.life.state.terminal:
            self._parts.adopt(job)
        return job

    def _seal_wraps(
        self, key: JobKey, manifest: Manifest, wraps: tuple[bytes, ...], now_ns: int
    ) -> tuple[SealedWrap, ...]:
        day = day_of(now_ns)
        return tuple(
            self._parts.wraps.seal(key, wrap, kid=recipient.kid, day=day)
            for recipient, wrap in zip(manifest.recipients, wraps, strict=True)
        )


async def _next(parts: AsyncIterator[pb.SubmitJobRequest]) -> pb.SubmitJobRequest:
    try:
        async with asyncio.timeout(part_seconds_max):
            part = await anext(parts)
    except StopAsyncIteration:
        raise EnvelopeMalformed("The submission ended before its trailer.") from None
    except TimeoutError:
        raise EnvelopeMalformed("The submission paused for too long.") from None
    validation.check(part)
    return part


async def _receive(parts: AsyncIterator[pb.SubmitJobRequest], upload: Upload) -> pb.SubmitJobRequest.Trailer:
    ends = asyncio.get_running_loop().time() + limits.upload_seconds_max
    while asyncio.get_running_loop().time() < ends:
        part = await _next(parts)
        match part.WhichOneof("part"):
            case "chunk":
                await upload.write(part.chunk.data, object_id=part.chunk.object, segment=part.chunk.segment)
            case "trailer":
                return part.trailer
            case _:
                raise EnvelopeMalformed("A submission has one header.")
    raise EnvelopeMalformed("The submission took too long.")


def _check_sealed(sizes: list[int], manifest: Manifest) -> None:
    expected = [ciphertext_size(size) for item in manifest.objects for size in segment_sizes(item.size)]
    if sizes != expected:
        raise PayloadNotEncrypted


def _check_recipients(manifest: Manifest, record: DecisionRecord, body: DecisionBody, *, wraps: int) -> None:
    permitted = {(e.spiffe_id, e.jurisdiction) for e in record.shortlist if e.permitted}
    # Keys are wrapped once others have approved: till then nobody could open the job, whatever happened here.
    waits = body.verdict is Verdict.REVIEW
    if waits and manifest.recipients:
        raise FactsMismatch("A job that must be approved first has no recipients.", metadata={"field": "recipients"})
    if (not waits and not manifest.recipients) or len(manifest.recipients) != wraps:
        raise FieldInvalid("There must be one wrap for each recipient.", metadata={"field": "wraps"})
    if len(manifest.recipients) > recipients_max(body.obligations):
        raise FactsMismatch("The job has more recipients than the decision allows.", metadata={"field": "recipients"})
    for recipient in manifest.recipients:
        if (recipient.spiffe_id, recipient.jurisdiction) not in permitted:
            raise FactsMismatch("A recipient is not permitted by the decision.", metadata={"field": "recipients"})
    # What is in `permitted` is in no rule's blocked set: only regions need the longer question.
    if not all(body.lists(place) for place in set(manifest.allowed_jurisdictions).difference(body.permitted)):
        raise FactsMismatch(
            "The manifest allows a place that the decision does not.", metadata={"field": "allowed_jurisdictions"}
        )


def _new_life(manifest: Manifest) -> Job:
    return Job(
        state=JobState.PENDING,
        attempts_max=manifest.attempts_max,
        deadline_ns=manifest.not_after_ns,
        contenders=tuple(
            Contender(spiffe_id=r.spiffe_id, jurisdiction=r.jurisdiction, kid=r.kid) for r in manifest.recipients
        ),
    )
