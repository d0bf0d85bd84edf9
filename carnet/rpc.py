"""What comes back from a call: gRPC errors as errors of core, and answers that parse, or are the peer's fault.

- `calling` is the reverse of the gateway's status table, by reason.
- `strict` makes a channel whose answers parse, or raise `AnswerMalformed`: gRPC itself would log a Python error, and
  hand out None. Every stub is made on one.
- `reading`: what is malformed in an answer is said of the peer that sent it, and never of its reader.

jobs = JobsStub(strict(channel))
async with calling():
    response = await jobs.GetJob(request, timeout=10)
with reading():
    signed = signed_from_proto(response.manifest)
"""

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, cast

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from carnet.core import errors
from carnet.core.errors import CallerError, CarnetError, GatewayUnavailable, StatementInvalid


class AnswerMalformed(StatementInvalid):
    """The bytes are not what this method answers with."""


def _descendants(family: type[CarnetError]) -> Iterator[type[CarnetError]]:
    for child in family.__subclasses__():
        yield child
        yield from _descendants(child)


# Those of core alone: a subclass elsewhere may be made in another way.
_BY_REASON: Final = {k.reason: k for k in _descendants(errors.CarnetError) if k.__module__ == errors.__name__}
_BY_CODE: Final = {
    grpc.StatusCode.UNAVAILABLE: errors.GatewayUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.GatewayUnavailable,
    grpc.StatusCode.CANCELLED: errors.GatewayUnavailable,
    grpc.StatusCode.UNAUTHENTICATED: errors.TokenInvalid,
    grpc.StatusCode.PERMISSION_DENIED: errors.PolicyDenied,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.INVALID_ARGUMENT: errors.FieldInvalid,
    grpc.StatusCode.FAILED_PRECONDITION: errors.Refused,
    grpc.StatusCode.ABORTED: errors.Refused,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.QuotaExceeded,
}


@asynccontextmanager
async def calling() -> AsyncIterator[None]:
    """Turn whatever a call raises into the error of core that the gateway meant."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error) from error


@contextmanager
def reading() -> Iterator[None]:
    """Around what reads an answer, and not around the call: the caller's own faults are the gateway's to name."""
    try:
        yield
    except CallerError as error:
        raise StatementInvalid(error.text, detail=error.detail, metadata=error.metadata) from error


def from_rpc(error: grpc.aio.AioRpcError) -> CarnetError:
    """The error of core for a failed call. What the gateway says of an error is a hint: it is never verified."""
    text = error.details() or ""
    info = _error_info(error)
    if info is not None and (kind := _BY_REASON.get(info.reason)) is not None:
        return kind(text, metadata=dict(info.metadata))
    return _BY_CODE.get(error.code(), GatewayUnavailable)(text, detail=str(error.code()))


def _error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    try:
        status = rpc_status.from_call(error)
        for detail in status.details if status is not None else ():
            assert isinstance(detail, any_pb2.Any)
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return info
    except (ValueError, DecodeError):
        return None  # the details are the gateway's, and may be anything
    return None


# --- answers that parse ------------------------------------------------------------------------------------------

_UNPARSED: Final = object()

Parse = Callable[[bytes], object]


def strict(channel: grpc.aio.Channel) -> grpc.aio.Channel:
    """The channel, for stubs alone: closing it stays with who opened it."""
    return cast(grpc.aio.Channel, _Strict(channel))


class _Strict:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Callable[..., Callable[..., "_Call"]]:
        make = getattr(self._channel, name)

        def method(path: str, *, response_deserializer: Parse, **named: Any) -> Callable[..., _Call]:
            call = make(path, response_deserializer=_reader(response_deserializer), **named)
            return lambda *asked, **options: _Call(call(*asked, **options))

        return method


class _Call:
    """One call: awaited where there is one answer, iterated where there are many."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __await__(self) -> Generator[Any, None, object]:
        return self._one().__await__()

    async def __aiter__(self) -> AsyncIterator[object]:
        try:
            async for answer in self._call:
                yield _parsed(answer)
        finally:
            self._call.cancel()

    def cancel(self) -> bool:
        """Let go of the call; what it may still bring is not heard."""
        return bool(self._call.cancel())

    async def _one(self) -> object:
        return _parsed(await self._call)


def _reader(parse: Parse) -> Parse:
    def read(data: bytes) -> object:
        try:
            return parse(data)
        except DecodeError:
            return _UNPARSED

    return read


def _parsed(answer: object) -> object:
    if answer is _UNPARSED:
        raise AnswerMalformed
    return answer
