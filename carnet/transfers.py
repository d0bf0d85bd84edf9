"""Transfers: sealed jobs up, sealed results down, taken up where they broke.

- An upload is sent again whole, byte for byte, under the same request id: the gateway takes it once.
- A download goes on at the byte where it broke; the receipt comes again, and must be the same one.
- Only silence is met by trying again (`GATEWAY_UNAVAILABLE`), and only for `silence_seconds_max`. A refusal goes up.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final

from carnet import proof
from carnet.core import limits
from carnet.core.errors import GatewayUnavailable, StatementInvalid
from carnet.inbox import ResultReader
from carnet.outbox import SealedJob
from carnet.rpc import calling
from carnet.submission import header_of, trailer_of
from carnet.v1 import jobs_pb2

if TYPE_CHECKING:
    from carnet.v1.jobs_pb2_grpc import JobsAsyncStub  # in the stubs only

silence_seconds_max: Final = 120.0
pause_seconds: Final = 1.0
result_seconds: Final = 3600.0

Metadata = Callable[[], tuple[tuple[str, str], ...]]
Open = Callable[[jobs_pb2.ReceiptFile], ResultReader]


async def send(jobs: "JobsAsyncStub", sealed: SealedJob, metadata: Metadata) -> jobs_pb2.SubmitJobResponse:
    """Send a sealed job until it is accepted. Raises what the gateway refuses it with."""
    began = time.monotonic()
    while True:
        try:
            async with calling():
                return await jobs.SubmitJob(_parts(sealed), timeout=limits.upload_seconds_max, metadata=metadata())
        except GatewayUnavailable:
            if time.monotonic() - began > silence_seconds_max:
                raise
            await asyncio.sleep(pause_seconds)


async def receive(
    jobs: "JobsAsyncStub", name: str, metadata: Metadata, open_reader: Open
) -> tuple[ResultReader, bytes]:
    """Fetch a job's results; the reader that took them, and the receipt file. `open_reader` verifies the receipt."""
    reader: ResultReader | None = None
    file, heard = b"", time.monotonic()
    while True:
        request = jobs_pb2.FetchResultRequest(name=name)
        if reader is not None:
            request.object, request.segment, request.offset = reader.position
        try:
            async with calling():
                async for part in jobs.FetchResult(request, timeout=result_seconds, metadata=metadata()):
                    heard = time.monotonic()
                    if part.HasField("receipt"):
                        reader, file = _opened(reader, part.receipt, open_reader), file or proof.to_file(part.receipt)
                    elif reader is None:
                        raise StatementInvalid("Results came before their receipt.")
                    else:
                        await asyncio.to_thread(reader.take, part.chunk)
            if reader is None:
                raise StatementInvalid("The gateway sent no receipt.")
            return reader, file
        except GatewayUnavailable:
            if time.monotonic() - heard > silence_seconds_max:
                raise
            await asyncio.sleep(pause_seconds)


def _opened(reader: ResultReader | None, receipt: jobs_pb2.ReceiptFile, open_reader: Open) -> ResultReader:
    if reader is None:
        return open_reader(receipt)
    if receipt.receipt.payload != reader.verified.receipt.payload:
        raise StatementInvalid("The gateway gave another receipt than before.")
    return reader


async def _parts(sealed: SealedJob) -> AsyncIterator[jobs_pb2.SubmitJobRequest]:
    yield jobs_pb2.SubmitJobRequest(header=header_of(sealed))
    for object_id, index, path in sealed.segments():
        with path.open("rb") as file:
            while data := await asyncio.to_thread(file.read, limits.chunk_bytes):
                chunk = jobs_pb2.SubmitJobRequest.Chunk(object=object_id, segment=index, data=data)
                yield jobs_pb2.SubmitJobRequest(chunk=chunk)
    yield jobs_pb2.SubmitJobRequest(trailer=trailer_of(sealed))
