"""Link: the runner's one connection to its gateway, and what is said over it. It dials out; nothing dials in.

- `attached` keeps an Attach stream up: credentials first, then whatever is queued; a broken stream is dialled again
  after a pause with jitter. What was asked while no stream was up is lost on purpose: asks are repeated by who asks.
- Bytes that are no message break a stream like any cut: it is let go, and attempts go on under the leases they hold.
- Payload and results have calls of their own, and resume where they broke.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Final

import grpc.aio
import structlog

from carnet.core.errors import CarnetError, GatewayUnavailable
from carnet.core.receipt import ExitClass
from carnet.rpc import AnswerMalformed, calling, strict
from carnet.v1 import runners_pb2 as pb
from carnet.v1.runners_pb2_grpc import RunnersStub
from carnet.v1.statements_pb2 import ExitClass as ExitNumber
from carnet.vetting import Presented, credentials_of

if TYPE_CHECKING:
    from carnet.v1.runners_pb2_grpc import RunnersAsyncStub  # in the stubs only

pause_seconds: Final = 1.0
pause_seconds_max: Final = 15.0
attach_seconds: Final = 10.0

_log = structlog.get_logger(__name__)

Hear = Callable[[pb.AttachResponse], Awaitable[None]]


class Link:
    """A channel to the gateway. `presented` gives what to show, newest each time."""

    def __init__(self, channel: grpc.aio.Channel, *, presented: Callable[[], Presented]) -> None:
        self._stub: RunnersAsyncStub = RunnersStub(strict(channel))
        self._presented = presented
        self._outgoing: asyncio.Queue[pb.AttachRequest] | None = None
        self.up = asyncio.Event()

    async def attached(self, hear: Hear, state: Callable[[], pb.AttachRequest.StateChange]) -> None:
        """Keep a stream up for ever; `hear` is called with each message, one after the other."""
        pause = pause_seconds
        while True:
            try:
                await self._attach(hear, state)
            except CarnetError as error:
                _log.warning("not attached", action="attach", reason=error.reason, text=error.text)
            finally:
                pause = pause_seconds if self.up.is_set() else pause
                self._outgoing = None
                self.up.clear()
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
            pause = min(pause * 2, pause_seconds_max)

    def show(self) -> None:
        """Send the credentials again: a part of them changed."""
        self._say(pb.AttachRequest(credentials=credentials_of(self._presented())))

    def state(self, change: pb.AttachRequest.StateChange) -> None:
        """Say how much room there is."""
        self._say(pb.AttachRequest(state=change))

    def ask(self, grant_digest: bytes, sequence: int) -> None:
        """Ask for time."""
        ask = pb.AttachRequest.RenewalAsk(grant_digest=grant_digest, sequence=sequence)
        self._say(pb.AttachRequest(renewal=ask))

    def refuse(self, grant_digest: bytes, reason: str) -> None:
        """Turn an offer down."""
        self._say(pb.AttachRequest(refused=pb.AttachRequest.OfferRefused(grant_digest=grant_digest, reason=reason)))

    def ended(self, grant_digest: bytes, exit_class: ExitClass) -> None:
        """An attempt is over with nothing to deliver."""
        number = ExitNumber.Value(f"EXIT_CLASS_{exit_class.name}")
        self._say(pb.AttachRequest(ended=pb.AttachRequest.Ended(grant_digest=grant_digest, exit_class=number)))

    async def payload(
        self, grant_digest: bytes, *, object_id: int, segment: int, offset: int
    ) -> AsyncGenerator[tuple[tuple[int, int, int], bytes], None]:
        """Payload chunks from a place on: each with the (object, segment, offset) that the gateway says it has."""
        request = pb.FetchPayloadRequest(grant_digest=grant_digest, object=object_id, segment=segment, offset=offset)
        async with calling():
            call = self._stub.FetchPayload(request)
            try:
                async for chunk in call:
                    yield (chunk.object, chunk.segment, chunk.offset), chunk.data
            finally:
                call.cancel()

    async def deliver(
        self, parts: AsyncIterator[pb.DeliverResultRequest]
    ) -> AsyncGenerator[pb.DeliverResultResponse, None]:
        """One delivery stream: what the gateway says of it."""
        async with calling():
            call = self._stub.DeliverResult(parts)
            try:
                async for answer in call:
                    yield answer
            finally:
                call.cancel()

    async def _attach(self, hear: Hear, state: Callable[[], pb.AttachRequest.StateChange]) -> None:
        outgoing: asyncio.Queue[pb.AttachRequest] = asyncio.Queue()
        outgoing.put_nowait(pb.AttachRequest(credentials=credentials_of(self._presented())))

        async def said() -> AsyncIterator[pb.AttachRequest]:
            while True:
                yield await outgoing.get()

        async with calling():
            call = self._stub.Attach(said())
            try:
                async for message in call:
                    if not self.up.is_set() and not message.HasField("attached"):
                        raise AnswerMalformed("The gateway spoke before it attached this runner.")
                    if message.HasField("attached"):
                        self._outgoing = outgoing
                        self.state(state())
                        self.up.set()
                    await hear(message)
            finally:
                call.cancel()
        raise GatewayUnavailable(detail="the gateway ended the stream")

    def _say(self, message: pb.AttachRequest) -> None:
        if self._outgoing is not None:
            self._outgoing.put_nowait(message)
