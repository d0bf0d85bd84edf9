"""The Runners service: frames in, frames out. A runner dials out, shows itself, and waits for offers.

- Nothing is taken on the connection's word alone: the credentials in the stream must verify against the pinned
  operators, and be of the very certificate that the connection was made with.
- A message that does not verify, or comes out of order, ends the stream with its error.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc.aio
import structlog

from carnet.core.errors import CarnetError, CredentialInvalid, EnvelopeMalformed, IllegalTransition, LeaseLost
from carnet.core.receipt import ExitClass
from carnet.pins import Pins
from carnet.v1 import runners_pb2 as pb
from carnet.v1 import statements_pb2
from carnet.v1.runners_pb2_grpc import RunnersServicer, add_RunnersServicer_to_server
from carnet.vetting import VettedRunner, presented_from, vet
from gateway import validation
from gateway.deliveries import Deliveries
from gateway.dispatch import Dispatch
from gateway.identity import RunnerPeer, runner
from gateway.messages import revoked_message
from gateway.metrics import Metrics
from gateway.roster import Presence, Roster

opening_seconds_max: Final = 60.0
unread_seconds_max: Final = 5.0

_WORD: Final = re.compile(r"[A-Z][A-Z_]{0,63}")
_LATE: Final = (LeaseLost, IllegalTransition)  # the attempt was over before its runner said so

_log = structlog.get_logger(__name__)


class Runners(RunnersServicer):
    """What a runner calls."""

    def __init__(
        self,
        roster: Roster,
        dispatch: Dispatch,
        deliveries: Deliveries,
        metrics: Metrics,
        pins: Pins,
        *,
        clock: Callable[[], int],
    ) -> None:
        self._roster = roster
        self._dispatch = dispatch
        self._deliveries = deliveries
        self._metrics = metrics
        self._pins = pins
        self._clock = clock

    def register(self, server: grpc.aio.Server) -> str:
        """Let a server answer for this service; the service's full name."""
        add_RunnersServicer_to_server(self, server)
        return pb.DESCRIPTOR.services_by_name["Runners"].full_name

    async def Attach(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.AttachRequest],
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[pb.AttachResponse]:
        """One stream for the life of a runner."""
        peer, requests = runner(), aiter(request_iterator)
        presence = Presence(runner=self._vet(peer, await _first(requests)))
        self._roster.attach(presence)
        self._metrics.runners.set(len(self._roster))
        _log.info("runner attached", action="attach", runner=presence.runner.spiffe_id)
        hearing = asyncio.create_task(self._hear(peer, presence, requests), name="attach")
        letting_go = asyncio.create_task(_let_go(presence, asyncio.current_task()), name="let go")
        try:
            yield pb.AttachResponse(attached=pb.AttachResponse.Attached(time_ns=self._clock()))
            while (message := await presence.outgoing.get()) is not None:
                yield message
            if hearing.done():
                hearing.result()
        finally:
            letting_go.cancel()
            hearing.cancel()
            with contextlib.suppress(asyncio.CancelledError, CarnetError):
                await hearing
            self._roster.detach(presence)
            self._metrics.runners.set(len(self._roster))

    async def FetchPayload(  # noqa: N802
        self,
        request: pb.FetchPayloadRequest,
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[pb.FetchPayloadResponse]:
        """Sealed payload, for the holder of a live grant."""
        async for chunk in self._deliveries.fetch(runner(), request):
            yield chunk

    async def DeliverResult(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.DeliverResultRequest],
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[pb.DeliverResultResponse]:
        """One attempt's Start, log, results and receipt."""
        async for answer in self._deliveries.deliver(runner(), aiter(request_iterator)):
            yield answer

    async def _hear(self, peer: RunnerPeer, presence: Presence, requests: AsyncIterator[pb.AttachRequest]) -> None:
        try:
            async for message in requests:
                validation.check(message)
                await self._heard(peer, presence, message)
        finally:
            presence.end()

    async def _heard(self, peer: RunnerPeer, presence: Presence, message: pb.AttachRequest) -> None:
        match message.WhichOneof("item"):
            case "credentials":
                presence.runner = self._vet(peer, message.credentials)
                self._dispatch.nudge()
            case "state":
                presence.active = message.state.state == pb.RUNNER_STATE_ACTIVE
                presence.slots_said = message.state.slots_free
                self._dispatch.nudge()
            case "renewal":
                await self._renew(presence, message.renewal)
            case "refused":
                with contextlib.suppress(*_LATE):
                    await self._dispatch.refused(presence, message.refused.grant_digest, _word(message.refused.reason))
            case "ended":
                with contextlib.suppress(*_LATE):
                    await self._dispatch.ended(
                        presence, message.ended.grant_digest, _exit_class(message.ended.exit_class)
                    )
            case _:
                raise EnvelopeMalformed("The message is empty.")

    async def _renew(self, presence: Presence, ask: pb.AttachRequest.RenewalAsk) -> None:
        try:
            await self._dispatch.renew(presence, ask.grant_digest, ask.sequence)
        except LeaseLost:
            presence.send(revoked_message(ask.grant_digest, "LEASE_LOST"))
        except CarnetError as error:
            # No answer is no time: the runner asks again, and stops by itself when its time is over.
            _log.warning("renewal not answered", action="renew", reason=error.reason, detail=error.detail)

    def _vet(self, peer: RunnerPeer, credentials: pb.Credentials) -> VettedRunner:
        found = vet(presented_from(credentials), anchors=self._pins.operators, now_ns=self._clock())
        if found.identity.certificate_digest != peer.certificate_digest:
            raise CredentialInvalid("The credentials are of another certificate than the connection's.")
        return found


async def _first(requests: AsyncIterator[pb.AttachRequest]) -> pb.Credentials:
    try:
        async with asyncio.timeout(opening_seconds_max):
            first = await anext(requests)
    except StopAsyncIteration:
        raise EnvelopeMalformed("The stream ended before the credentials.") from None
    except TimeoutError:
        raise EnvelopeMalformed("The credentials did not come in time.") from None
    validation.check(first)
    if not first.HasField("credentials"):
        raise EnvelopeMalformed("The first message of a runner is its credentials.")
    return first.credentials


async def _let_go(presence: Presence, stream: "asyncio.Task[object] | None") -> None:
    # A runner that does not read holds its stream in a write, where nobody would see that it is over.
    await presence.over.wait()
    await asyncio.sleep(unread_seconds_max)
    if stream is not None:
        stream.cancel()


def _word(reason: str) -> str:
    # The job's owner is shown it: a runner chooses among words, and writes no text.
    return reason if _WORD.fullmatch(reason) else ""


def _exit_class(number: statements_pb2.ExitClass.ValueType) -> ExitClass:
    try:
        return ExitClass[statements_pb2.ExitClass.Name(number).removeprefix("EXIT_CLASS_")]
    except (KeyError, ValueError):
        raise EnvelopeMalformed("The exit class is unknown.") from None
