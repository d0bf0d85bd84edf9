"""Gate: the interceptor that stands before every method of a listener.

- Before a method runs: a deadline on unary calls, then admission (who is this, until when), then revocation.
- A stream is ended at the expiry of what admitted it, and at once when its certificate is revoked.
- Carnet's errors, raised by admission or by the method, leave through `status.abort`. Any other exception is logged and
  leaves as INTERNAL with no text of its own.
- `observe` hears of every call's method and outcome: OK, or the reason of its error.
- Bytes that are not the method's message are refused like any other request: behind the gate, with a reason.
- Methods may be coroutines or asynchronous generators.

    gate = Gate(admission, revocations=Revocations(), clock=time.time_ns)
    grpc.aio.server(interceptors=[gate])
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from carnet.core.errors import (
    Bug,
    CarnetError,
    CredentialInvalid,
    CredentialRevoked,
    DeadlineRequired,
    EnvelopeMalformed,
    TokenExpired,
)
from gateway import status

_SECOND_NS: Final = 10**9

_log = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]  # what is in the messages is no matter of the gate
Q = TypeVar("Q")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """Who was let in: the certificate's digest, and when certificate and token end."""

    certificate_digest: bytes
    certificate_ns: int
    token_ns: int | None = None

    @property
    def expires_ns(self) -> int:
        """When the first of them ends."""
        return self.certificate_ns if self.token_ns is None else min(self.certificate_ns, self.token_ns)


class Admission(Protocol):
    """Who may call what on one listener."""

    async def admit(self, context: Context, method: str) -> Admitted:
        """Judge the caller of `/package.Service/Method`, and make it known to the service. Raises a `PeerError`."""
        ...


class Revocations:
    """Certificates that were revoked on this gateway, and the streams that hang on each."""

    def __init__(self) -> None:
        self._revoked: set[bytes] = set()
        self._streams: dict[bytes, set[asyncio.Timeout]] = {}

    def check(self, certificate_digest: bytes) -> None:
        """Raises `CredentialRevoked`."""
        if certificate_digest in self._revoked:
            raise CredentialRevoked

    def revoke(self, certificate_digest: bytes) -> None:
        """Refuse the certificate from now on, and end its streams."""
        self._revoked.add(certificate_digest)
        for scope in self._streams.get(certificate_digest, ()):
            scope.reschedule(asyncio.get_running_loop().time())

    @contextlib.contextmanager
    def hold(self, certificate_digest: bytes, scope: asyncio.Timeout) -> Iterator[None]:
        """Keep a stream's scope within reach of `revoke`."""
        scopes = self._streams.setdefault(certificate_digest, set())
        scopes.add(scope)
        try:
            yield
        finally:
            scopes.discard(scope)
            if not scopes:
                self._streams.pop(certificate_digest, None)


class Gate(grpc.aio.ServerInterceptor):
    """Wraps each method of a server in admission, expiry and the one way in which errors leave."""

    def __init__(
        self,
        admission: Admission,
        *,
        revocations: Revocations,
        clock: Callable[[], int],
        observe: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._admission = admission
        self._observe = observe
        self._revocations = revocations
        self._clock = clock

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Q, R] | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Q, R] | None":
        """The method's handler behind the gate."""
        handler = await continuation(handler_call_details)
        return None if handler is None else self._behind(handler, handler_call_details.method)

    def _behind(self, handler: "grpc.RpcMethodHandler[Q, R]", method: str) -> "grpc.RpcMethodHandler[Q, R]":
        behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        unary = not handler.request_streaming and not handler.response_streaming
        asked = _Requests if handler.request_streaming else _parsed

        async def answer(request: Any, context: Context) -> object:
            async with self._guard(context, method, unary=unary):
                return await behaviour(asked(request), context)

        async def stream(request: Any, context: Context) -> None:
            async with self._guard(context, method, unary=False):
                await _write_all(behaviour(asked(request), context), context)

        make = _MAKERS[handler.request_streaming, handler.response_streaming]
        return make(
            stream if handler.response_streaming else answer,
            request_deserializer=_reader(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    @contextlib.asynccontextmanager
    async def _guard(self, context: Context, method: str, *, unary: bool) -> AsyncIterator[None]:
        try:
            if unary and context.time_remaining() is None:
                raise DeadlineRequired
            admitted = await self._admission.admit(context, method)
            self._revocations.check(admitted.certificate_digest)
            async with self._until_expiry(admitted):
                yield
            self._observe(method, "OK")
        except grpc.aio.AbortError:
            raise
        except CarnetError as error:
            self._observe(method, error.reason)
            await status.abort(context, error)
        except Exception as error:  # noqa: BLE001  # the root of the call's task: logged, and closed
            _log.exception("a method failed", action="fail", method=method)
            self._observe(method, Bug.reason)
            await status.abort(context, Bug(detail=type(error).__name__))

    @contextlib.asynccontextmanager
    async def _until_expiry(self, admitted: Admitted) -> AsyncIterator[None]:
        seconds = (admitted.expires_ns - self._clock()) / _SECOND_NS
        try:
            async with asyncio.timeout(seconds) as scope:
                with self._revocations.hold(admitted.certificate_digest, scope):
                    yield
        except TimeoutError:
            if not scope.expired():
                raise
            self._revocations.check(admitted.certificate_digest)
            if admitted.token_ns is not None and admitted.token_ns <= admitted.certificate_ns:
                raise TokenExpired from None
            raise CredentialInvalid("The certificate has expired.") from None


_UNPARSED: Final = object()


def _reader(parse: Callable[[bytes], object] | None) -> Callable[[bytes], Any]:
    # gRPC calls this before any interceptor's code, and an error in it leaves as UNKNOWN with a Python text.
    def read(data: bytes) -> object:
        try:
            return data if parse is None else parse(data)
        except DecodeError:
            return _UNPARSED

    return read


def _parsed(request: object) -> object:
    if request is _UNPARSED:
        raise EnvelopeMalformed("The bytes are not the message that this method takes.")
    return request


class _Requests:
    def __init__(self, requests: AsyncIterator[object]) -> None:
        self._requests = aiter(requests)

    def __aiter__(self) -> "_Requests":
        return self

    async def __anext__(self) -> object:
        return _parsed(await anext(self._requests))


async def _write_all(result: Any, context: Context) -> None:
    if not hasattr(result, "__aiter__"):
        await result
        return
    async with contextlib.aclosing(result) as items:
        async for item in items:
            await context.write(item)


_MAKERS: Final = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
