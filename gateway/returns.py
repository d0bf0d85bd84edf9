"""Returns: what goes home to the client. Events, sealed log records, the receipt file, sealed results.

- A watch begins at any event and any log record, and ends after the job's last event. Before the first record of an
  attempt goes what the client needs to judge and open it.
- The receipt file is put together from what was stored when it happened; nothing in it is made up afterwards but the
  proofs, which anyone can check.
- Ciphertext is sent as it is stored, from any place on.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from carnet import statements
from carnet.core.errors import NotFound
from carnet.v1 import jobs_pb2 as pb
from carnet.wire import logged_to_proto, signed_from_bytes, signed_to_proto
from gateway.auditlog import AuditLog
from gateway.bells import Bells
from gateway.leaves import leaf_about, leaf_of
from gateway.messages import event_message, log_message
from gateway.storage import queries
from gateway.storage.blobs import BlobStore, Result
from gateway.storage.records import JobKey, StoredAttempt, StoredJob
from gateway.storage.segments import Position
from gateway.storage.store import Store

wait_seconds_max: Final = 30.0
page: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What returns work with; joined in services.py."""

    store: Store
    log: AuditLog
    blobs: BlobStore
    bells: Bells


class Returns:
    """Sends home, for one gateway process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def watch(self, key: JobKey, *, event_index: int, log_index: int) -> AsyncIterator[pb.WatchJobResponse]:
        """Events and sealed log records from these indices on, until the job has ended."""
        store, shown = self._parts.store, 0
        while True:
            bell = self._parts.bells.listen(key)
            job, news = await store.job(key), False
            # Records are read after events: whatever came before the last event is sent before it ends the watch.
            events = await store.read(queries.events, key, start=event_index, limit=page)
            for record in await store.read(queries.log_records, key, start=log_index, limit=page):
                if record.attempt != shown:
                    shown = record.attempt
                    yield pb.WatchJobResponse(started=await self._started(key, shown))
                log_index, news = record.index + 1, True
                yield pb.WatchJobResponse(log=log_message(record))
            if news and events and events[-1].event.state.terminal:
                continue
            for stored in events:
                event_index, news = stored.index + 1, True
                yield pb.WatchJobResponse(event=event_message(stored))
                if stored.event.state.terminal:
                    return
            if not news:
                if job is None or job.life.state.terminal:
                    return  # it had ended before anything was read: there is nothing after what was sent
                await _wait(bell)

    async def fetch(self, job: StoredJob, at: Position) -> AsyncIterator[pb.FetchResultResponse]:
        """The receipt file, then the sealed results from a place on. Raises `NotFound` where there is no receipt."""
        attempt = await self._parts.store.attempt(job.key, job.life.attempt)
        if attempt is None or not attempt.receipt or not job.life.state.terminal:
            raise NotFound("The job has no receipt.")
        yield pb.FetchResultResponse(receipt=await self.receipt_file(job, attempt))
        result = Result(key=job.key, attempt=attempt.attempt)
        for object_id, segment, _ in await self._parts.blobs.sizes(result):
            if (object_id, segment) < (at.object_id, at.segment):
                continue
            offset = at.offset if (object_id, segment) == (at.object_id, at.segment) else 0
            place = Position(object_id=object_id, segment=segment, offset=offset)
            async for data in self._parts.blobs.read(result, place):
                chunk = pb.FetchResultResponse.Chunk(object=object_id, segment=segment, offset=offset, data=data)
                yield pb.FetchResultResponse(chunk=chunk)
                offset += len(data)

    async def receipt_file(self, job: StoredJob, attempt: StoredAttempt) -> pb.ReceiptFile:
        """All that is needed to check an ended job offline."""
        store, log = self._parts.store, self._parts.log
        documents = await store.documents(job.key)
        if documents is None:
            raise NotFound
        grant = signed_from_bytes(attempt.grant)
        checkpoint = statements.GRANT.parse(grant.payload).checkpoint.decode()
        permit = signed_from_bytes(attempt.permit)
        prepared = statements.PERMIT.parse(permit.payload).prepare_decision_digest
        dispatched = await self._decision(attempt.decision_digest, checkpoint=checkpoint)
        return pb.ReceiptFile(
            manifest=signed_to_proto(signed_from_bytes(documents.manifest)),
            tenant_key_set=signed_to_proto(signed_from_bytes(documents.tenant_key_set)),
            addenda=[signed_to_proto(signed_from_bytes(addendum)) for addendum in documents.addenda],
            facts=documents.facts,
            prepared=await self._decision(prepared),
            dispatched=dispatched,
            permit=signed_to_proto(permit),
            grant=signed_to_proto(grant),
            start=signed_to_proto(signed_from_bytes(attempt.start)),
            receipt=signed_to_proto(signed_from_bytes(attempt.receipt)),
            chain=list(attempt.chain),
            status=signed_to_proto(signed_from_bytes(attempt.status)),
            card=signed_to_proto(signed_from_bytes(attempt.card)),
            accepted=logged_to_proto(await leaf_of(store, log, job.key, "job.accepted")),
            outcome=logged_to_proto(await leaf_of(store, log, job.key, "job.outcome")),
        )

    async def _decision(self, digest: bytes, *, checkpoint: str = "") -> pb.Decision:
        store = self._parts.store
        found = await store.decision(digest)
        if found is None:
            raise NotFound
        return pb.Decision(
            record=signed_to_proto(signed_from_bytes(found.record)),
            body=found.body,
            logged=logged_to_proto(await leaf_about(store, self._parts.log, digest, checkpoint=checkpoint)),
        )

    async def _started(self, key: JobKey, number: int) -> pb.AttemptStarted:
        attempt = await self._parts.store.attempt(key, number)
        if attempt is None:
            raise NotFound
        return pb.AttemptStarted(
            attempt=number,
            chain=list(attempt.chain),
            grant=signed_to_proto(signed_from_bytes(attempt.grant)),
            start=signed_to_proto(signed_from_bytes(attempt.start)),
        )


async def _wait(bell: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(wait_seconds_max):
            await bell.wait()
    except TimeoutError:
        return
