"""Delivery: one attempt's Start, log, results and receipt, in that order, until the gateway has all of it.

- What was said is kept until it is accepted (log records in memory, results as ciphertext on disk), so a broken stream
  is taken up where the gateway says that it broke, for as long as the attempt has time: `stopped` says when not.
- A store that is busy breaks a stream, and so does an answer that makes no sense.
- LEASE_LOST is the end: nothing is sent again, and the caller stops the cage.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Final

from carnet.core import limits
from carnet.core.errors import GatewayUnavailable
from carnet.core.receipt import Receipt
from carnet.core.segment import ciphertext_size
from carnet.core.statement import Signed
from carnet.patience import AGAIN
from carnet.rpc import AnswerMalformed
from carnet.v1 import jobs_pb2
from carnet.v1 import runners_pb2 as pb
from carnet.wire import signed_to_proto
from sandbox.link import Link
from sandbox.sealing import SealedRecord
from sandbox.spool import Spool

pause_seconds: Final = 1.0
_offset_max: Final = ciphertext_size(limits.segment_bytes)


class Delivery:
    """The delivery of one attempt."""

    def __init__(
        self,
        link: Link,
        spool: Spool,
        *,
        grant_digest: bytes,
        attempt: int,
        start: Signed,
        stopped: Callable[[], bool],
    ) -> None:
        self._link = link
        self._stopped = stopped
        self._spool = spool
        self._attempt = attempt
        self._open = pb.DeliverResultRequest(
            open=pb.DeliverResultRequest.Open(grant_digest=grant_digest, start=signed_to_proto(start))
        )
        self._records: list[SealedRecord] = []
        self._receipt: tuple[Receipt, Signed] | None = None
        self._news = asyncio.Event()
        self.opened = asyncio.Event()

    def emit(self, record: SealedRecord) -> None:
        """Take a log record."""
        self._records.append(record)
        self._news.set()

    def finish(self, receipt: Receipt, signed: Signed) -> None:
        """Take the receipt: its results are in the spool, and nothing more will come."""
        self._receipt = (receipt, signed)
        self._news.set()

    async def run(self) -> None:
        """Deliver until the receipt is accepted. Raises `LeaseLost`, or the refusal that the gateway gave."""
        while True:
            try:
                if await self._once():
                    return
            except (*AGAIN, AnswerMalformed):
                if self._stopped():
                    raise
                await asyncio.sleep(pause_seconds)

    async def _once(self) -> bool:
        place: asyncio.Future[pb.DeliverResultResponse] = asyncio.get_running_loop().create_future()
        try:
            async with aclosing(self._link.deliver(self._parts(place))) as answers:
                async for answer in answers:
                    self._check(answer)
                    if answer.accepted:
                        return True
                    if not place.done():
                        place.set_result(answer)
                        self.opened.set()
        finally:
            if not place.done():
                place.cancel()
        raise GatewayUnavailable(detail="the gateway ended the delivery")

    def _check(self, answer: pb.DeliverResultResponse) -> None:
        """Nobody accepts a receipt that does not exist, or has records and bytes that were never sent."""
        if answer.accepted and self._receipt is None:
            raise AnswerMalformed("The gateway accepted a receipt that there is not.")
        if answer.log_sequence_next > len(self._records) or answer.offset > _offset_max:
            raise AnswerMalformed("The gateway has more than was sent.")

    async def _parts(self, place: "asyncio.Future[pb.DeliverResultResponse]") -> AsyncIterator[pb.DeliverResultRequest]:
        yield self._open
        resume = await place
        position = resume.log_sequence_next
        while True:
            self._news.clear()
            for record in self._records[position:]:
                yield pb.DeliverResultRequest(log=self._record(record))
                position += 1
            if self._receipt is not None and position == len(self._records):
                break
            await self._news.wait()
        receipt, signed = self._receipt
        async for part in self._segments(receipt, resume):
            yield part
        yield pb.DeliverResultRequest(receipt=signed_to_proto(signed))

    async def _segments(
        self, receipt: Receipt, resume: pb.DeliverResultResponse
    ) -> AsyncIterator[pb.DeliverResultRequest]:
        at = (resume.object, resume.segment)
        for item in receipt.results:
            for index in range(len(item.segment_digests)):
                if (item.id, index) < at:
                    continue
                offset = resume.offset if (item.id, index) == at else 0
                pieces = self._spool.read_result(item.id, index, offset)
                while (data := await asyncio.to_thread(next, pieces, b"")) != b"":
                    part = pb.DeliverResultRequest.Segment(object=item.id, segment=index, offset=offset, data=data)
                    yield pb.DeliverResultRequest(segment=part)
                    offset += len(data)

    def _record(self, record: SealedRecord) -> jobs_pb2.LogRecord:
        return jobs_pb2.LogRecord(
            attempt=self._attempt,
            sequence=record.sequence,
            stream=record.stream,
            final=record.final,
            ciphertext=record.ciphertext,
        )
