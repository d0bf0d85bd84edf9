"""gRPC errors as errors of core: by reason, else by code, and always one of ours."""

import grpc
import grpc.aio
import pytest
from grpc_status import rpc_status

from carnet.core import errors
from carnet.core.errors import CarnetError, GatewayUnavailable
from carnet.rpc import _descendants, calling, from_rpc
from gateway.status import status_of

EVERY = [kind for kind in _descendants(CarnetError) if kind.__module__ == errors.__name__]


def failed(
    code: grpc.StatusCode, text: str = "text", trailing: grpc.aio.Metadata | None = None
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing or grpc.aio.Metadata(), text)


def sent(error: CarnetError) -> grpc.aio.AioRpcError:
    """The error as it arrives at a client."""
    status = rpc_status.to_status(status_of(error))
    return failed(status.code, status.details, grpc.aio.Metadata(*status.trailing_metadata))


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_what_the_gateway_raises_arrives_with_its_reason_text_and_metadata(kind: type[CarnetError]) -> None:
    arrived = from_rpc(sent(kind("a text", metadata={"field": "f"})))
    assert arrived.reason == kind.reason
    assert (arrived.text, arrived.metadata) == ("a text", {"field": "f"})
    assert type(arrived).__module__ == errors.__name__


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK], ids=str)
def test_a_status_with_no_reason_is_one_of_ours_too(code: grpc.StatusCode) -> None:
    assert isinstance(from_rpc(failed(code)), CarnetError)


def test_a_gateway_that_is_not_there_is_unavailable() -> None:
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        assert isinstance(from_rpc(failed(code)), GatewayUnavailable)


def test_attack_details_that_are_garbage() -> None:
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff\xff"))
    assert isinstance(from_rpc(failed(grpc.StatusCode.NOT_FOUND, trailing=trailing)), CarnetError)


async def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(KeyError):
        async with calling():
            raise KeyError("x")
    with pytest.raises(errors.NotFound):
        async with calling():
            raise sent(errors.NotFound())
