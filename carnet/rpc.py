"""gRPC errors as errors of core: the reverse of the gateway's status table, by reason.

async with calling():
    response = await stub.GetJob(request, timeout=10)
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from carnet.core import errors
from carnet.core.errors import CarnetError, GatewayUnavailable


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
            assert isinstance(detail, Any)
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return info
    except (ValueError, DecodeError):
        return None  # the details are the gateway's, and may be anything
    return None
