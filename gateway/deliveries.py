"""Deliveries: what a runner brings home for an attempt, behind its fence.

- Everything a runner sends is judged under the lease of its attempt: a grant that is no longer live is LEASE_LOST,
  which is counted and logged, and nothing of it is kept.
- The Start is verified against the leaf that the attempt was granted to, and stored once; the same one again resumes.
- Log records and result segments are durable before they are acknowledged; both are ciphertext, within bounds.
- A silent stream is held to its fence too: it ends when its lease does, and does not wait for its runner's next word.
- A receipt is taken only when it is of this manifest, grant, permit and Start, when its log is complete, and when the
  results that it names are the ones that arrived. Then, and only then, the job ends by it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from carnet import statements
from carnet.core.certificate import LeafKind, judge_leaf
from carnet.core.errors import CarnetError, EnvelopeMalformed, IllegalTransition, LeaseLost, StatementInvalid
from carnet.core.job import JobState, Manifest
from carnet.core.lifecycle import Event, ReceiptArrived, Started
from carnet.core.receipt import check_receipt, check_start
from carnet.core.statement import Signed, VerifyingKey
from carnet.v1 import runners_pb2 as pb
from carnet.wire import audit_entry, signed_from_bytes, signed_from_proto, signed_to_bytes
from gateway import validation
from gateway.arrivals import check_arrived
from gateway.identity import RunnerPeer
from gateway.lives import Fence, Lives
from gateway.metrics import Metrics
from gateway.storage import queries
from gateway.storage.blobs import BlobStore, Payload, Result, ResultUpload
from gateway.storage.operations import AppendLog, Batch, Operation, SetReceipt, SetStart
from gateway.storage.records import Conflict, JobKey, NewEntry, NewLogRecord, StoredAttempt, StoredJob
from gateway.storage.segments import Position
from gateway.storage.store import Store

opening_seconds_max: Final = 60.0
fence_seconds: Final = 5.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What deliveries work with; joined in services.py."""

    store: Store
    blobs: BlobStore
    lives: Lives
    metrics: Metrics
    ring: Callable[[object], None]
    clock: Callable[[], int]


class Deliveries:
    """Takes results in, for one gateway process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def fetch(self, peer: RunnerPeer, request: pb.FetchPayloadRequest) -> AsyncIterator[pb.FetchPayloadResponse]:
        """One payload segment from an offset on, for the holder of a live grant."""
        validation.check(request)
        job = self._working(peer, request.grant_digest)
        at = Position(object_id=request.object, segment=request.segment, offset=request.offset)
        payload = Payload(key=job.key, manifest_digest=job.manifest_digest)
        offset = request.offset
        async for data in self._parts.blobs.read(payload, at):
            self._working(peer, request.grant_digest)
            yield pb.FetchPayloadResponse(object=request.object, segment=request.segment, offset=offset, data=data)
            offset += len(data)

    async def deliver(
        self, peer: RunnerPeer, parts: AsyncIterator[pb.DeliverResultRequest]
    ) -> AsyncIterator[pb.DeliverResultResponse]:
        """Take one attempt's delivery. What comes too late is refused, and recorded."""
        first = await _first(parts)
        grant_digest = first.open.grant_digest
        if await self._accepted_before(peer, first.open):
            yield pb.DeliverResultResponse(accepted=True)
            return
        try:
            attempt, manifest = await self._open(peer, first.open)
            upload = await self._parts.blobs.results(Result(key=attempt.key, attempt=attempt.attempt))
            try:
                at = upload.written
                yield pb.DeliverResultResponse(
                    log_sequence_next=attempt.log_next, object=at.object_id, segment=at.segment, offset=at.offset
                )
                while (part := await self._next(peer, grant_digest, parts)) is not None:
                    if await self._take(peer, attempt, manifest, upload, part):
                        yield pb.DeliverResultResponse(accepted=True)
                        return
            finally:
                await upload.close()
        except LeaseLost:
            await self._record_refusal(peer, grant_digest)
            raise

    # --- parts of a delivery -------------------------------------------------------------------------------------

    async def _accepted_before(self, peer: RunnerPeer, opening: pb.DeliverResultRequest.Open) -> bool:
        """Whether this runner's receipt was taken, and only the answer to it was lost."""
        attempt = await self._parts.store.read(queries.attempt_by_grant, opening.grant_digest)
        if attempt is None or not attempt.receipt or attempt.spiffe_id != str(peer.id):
            return False
        return attempt.start == signed_to_bytes(signed_from_proto(opening.start))

    async def _open(self, peer: RunnerPeer, opening: pb.DeliverResultRequest.Open) -> tuple[StoredAttempt, Manifest]:
        job = self._fenced(peer, opening.grant_digest)
        attempt = await self._parts.store.read(queries.attempt_by_grant, opening.grant_digest)
        documents = await self._parts.store.documents(job.key)
        if attempt is None or documents is None:
            raise LeaseLost
        manifest = statements.MANIFEST.parse(signed_from_bytes(documents.manifest).payload)
        signed = signed_from_proto(opening.start)
        if attempt.start:
            if attempt.start != signed_to_bytes(signed):
                raise StatementInvalid("This attempt began with another Start.")
            return attempt, manifest
        start = statements.START.open(signed, self._leaf_key(attempt))
        check_start(
            start,
            manifest_digest=job.manifest_digest,
            grant_digest=opening.grant_digest,
            spiffe_id=attempt.spiffe_id,
        )
        await self._step(
            job.key,
            Started(),
            SetStart(key=job.key, attempt=attempt.attempt, start=signed_to_bytes(signed)),
            lambda now: self._check(now, peer, opening.grant_digest),
            start=start.digest,
            grant=opening.grant_digest,
        )
        return await self._attempt(opening.grant_digest), manifest

    async def _take(
        self,
        peer: RunnerPeer,
        attempt: StoredAttempt,
        manifest: Manifest,
        upload: ResultUpload,
        part: pb.DeliverResultRequest,
    ) -> bool:
        """One part of a delivery. True once the receipt was accepted."""
        match part.WhichOneof("part"):
            case "log":
                await self._take_log(peer, attempt, part)
            case "segment":
                self._fenced(peer, attempt.grant_digest)
                segment = part.segment
                at = Position(object_id=segment.object, segment=segment.segment, offset=segment.offset)
                await upload.write(at, segment.data)
            case "receipt":
                await self._take_receipt(peer, attempt, manifest, upload, signed_from_proto(part.receipt))
                return True
            case _:
                raise EnvelopeMalformed("A delivery is opened once.")
        return False

    async def _take_log(self, peer: RunnerPeer, attempt: StoredAttempt, part: pb.DeliverResultRequest) -> None:
        self._fenced(peer, attempt.grant_digest)
        if part.log.attempt != attempt.attempt or part.log.final != (part.log.stream == 0):
            raise EnvelopeMalformed("The log record is of another attempt, or its final mark is misplaced.")
        record = NewLogRecord(
            sequence=part.log.sequence, stream=part.log.stream, final=part.log.final, ciphertext=part.log.ciphertext
        )
        append = AppendLog(key=attempt.key, attempt=attempt.attempt, records=(record,))
        try:
            await self._parts.store.write(Batch(operations=(append,)))
        except Conflict as error:
            raise StatementInvalid(error.text, metadata={"field": "log"}) from error
        self._parts.ring(attempt.key)

    async def _take_receipt(
        self, peer: RunnerPeer, attempt: StoredAttempt, manifest: Manifest, upload: ResultUpload, signed: Signed
    ) -> None:
        self._fenced(peer, attempt.grant_digest)
        segments = await upload.finish()
        current = await self._attempt(attempt.grant_digest)
        receipt = statements.RECEIPT.open(signed, self._leaf_key(current))
        permit = statements.PERMIT.parse(signed_from_bytes(current.permit).payload)
        start = statements.START.parse(signed_from_bytes(current.start).payload)
        check_receipt(receipt, manifest, start, permit_digest=permit.digest)
        if receipt.decision_digest != permit.prepare_decision_digest:
            raise StatementInvalid("The receipt names another prepare decision.", metadata={"field": "decision"})
        ended = await self._parts.store.read(queries.log_ended, attempt.key, attempt.attempt)
        check_arrived(receipt, current, start, segments, log_ended=ended)
        await self._step(
            attempt.key,
            ReceiptArrived(exit_class=receipt.exit_class),
            SetReceipt(key=attempt.key, attempt=attempt.attempt, receipt=signed_to_bytes(signed)),
            lambda now: self._check_running(now, peer, attempt.grant_digest),
            receipt=receipt.digest,
        )

    async def _step(self, key: JobKey, event: Event, operation: Operation, fence: Fence, **digests: bytes) -> None:
        try:
            await self._parts.lives.step(
                key, event, operations=(operation,), entries=(), fence=fence, leaf="", **digests
            )
        except IllegalTransition:
            raise LeaseLost from None  # the job ended, or went on, between the first look and the lock

    async def _next(
        self, peer: RunnerPeer, grant_digest: bytes, parts: AsyncIterator[pb.DeliverResultRequest]
    ) -> pb.DeliverResultRequest | None:
        waiting = asyncio.ensure_future(anext(parts, None))
        try:
            while not (await asyncio.wait({waiting}, timeout=fence_seconds))[0]:
                self._fenced(peer, grant_digest)
        finally:
            waiting.cancel()
        part = waiting.result()
        if part is not None:
            validation.check(part)
        return part

    # --- the fence -----------------------------------------------------------------------------------------------

    def _fenced(self, peer: RunnerPeer, grant_digest: bytes) -> StoredJob:
        job = self._parts.lives.of_grant(grant_digest)
        self._check(job, peer, grant_digest)
        return job

    def _working(self, peer: RunnerPeer, grant_digest: bytes) -> StoredJob:
        """A job that is being stopped serves no bytes, though its lease is live."""
        job = self._fenced(peer, grant_digest)
        if job.life.state not in (JobState.DISPATCHING, JobState.RUNNING):
            raise LeaseLost
        return job

    def _check(self, job: StoredJob, peer: RunnerPeer, grant_digest: bytes) -> None:
        if job.lease is None:
            raise LeaseLost
        job.lease.check_fence(
            attempt=job.life.attempt,
            spiffe_id=str(peer.id),
            grant_digest=grant_digest,
            now_ns=self._parts.clock(),
        )

    def _check_running(self, job: StoredJob, peer: RunnerPeer, grant_digest: bytes) -> None:
        self._check(job, peer, grant_digest)
        if job.life.state not in (JobState.RUNNING, JobState.CANCELLING):
            raise LeaseLost

    def _leaf_key(self, attempt: StoredAttempt) -> VerifyingKey:
        return judge_leaf(attempt.chain[0], LeafKind.RUNNER, now_ns=self._parts.clock()).key

    async def _attempt(self, grant_digest: bytes) -> StoredAttempt:
        attempt = await self._parts.store.read(queries.attempt_by_grant, grant_digest)
        if attempt is None:
            raise LeaseLost
        return attempt

    async def _record_refusal(self, peer: RunnerPeer, grant_digest: bytes) -> None:
        """A late result leaves a leaf, where it is of an attempt that was ever granted to this runner."""
        self._parts.metrics.refused_results.inc()
        _log.warning("late result refused", action="deliver", runner=str(peer.id), grant=grant_digest.hex())
        try:
            attempt = await self._parts.store.read(queries.attempt_by_grant, grant_digest)
            if attempt is None or attempt.spiffe_id != str(peer.id):
                return
            entry = audit_entry(
                "result.refused",
                time_ns=self._parts.clock(),
                tenant_id=attempt.key.tenant_id,
                job_id=attempt.key.job_id,
                grant=grant_digest,
            )
            await self._parts.store.write(
                Batch(entries=(NewEntry(kind=entry.kind, data=entry.to_bytes(), key=attempt.key),))
            )
        except CarnetError as error:
            _log.error("a refusal was not recorded", action="deliver", reason=error.reason)


async def _first(parts: AsyncIterator[pb.DeliverResultRequest]) -> pb.DeliverResultRequest:
    try:
        async with asyncio.timeout(opening_seconds_max):
            first = await anext(parts, None)
    except TimeoutError:
        raise EnvelopeMalformed("The delivery was not opened in time.") from None
    if first is None:
        raise EnvelopeMalformed("The delivery ended before it was opened.")
    validation.check(first)
    if not first.HasField("open"):
        raise EnvelopeMalformed("The first part of a delivery opens it.")
    return first
