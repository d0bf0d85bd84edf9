"""Errors on the wire: one reason each, text for clients, and nothing for operators."""

from typing import TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from carnet.core import errors
from carnet.core.errors import CarnetError
from carnet.rpc import _descendants
from gateway.status import code_of, status_of

M = TypeVar("M", bound=Message)
EVERY = [kind for kind in _descendants(CarnetError) if kind.__module__ == errors.__name__]


def details(status: status_pb2.Status, kind: type[M]) -> list[M]:
    found = []
    for detail in status.details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_error_has_one_reason_a_text_and_no_detail(kind: type[CarnetError]) -> None:
    status = status_of(kind("for clients", detail="for operators", metadata={"a": "b"}))
    assert status.message == "for clients"
    (info,) = details(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == (kind.reason, "carnet", {"a": "b"})
    assert b"for operators" not in status.SerializeToString()
    assert status.code != grpc.StatusCode.OK.value[0]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.FieldInvalid(), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.NotFound(), grpc.StatusCode.NOT_FOUND),
        (errors.PolicyDenied(), grpc.StatusCode.PERMISSION_DENIED),
        (errors.LeaseLost(), grpc.StatusCode.ABORTED),
        (errors.JobIdTaken(), grpc.StatusCode.ALREADY_EXISTS),
        (errors.RequestIdReused(), grpc.StatusCode.ALREADY_EXISTS),
        (errors.TokenExpired(), grpc.StatusCode.UNAUTHENTICATED),
        (errors.PolicyEngineUnavailable(), grpc.StatusCode.UNAVAILABLE),
        (errors.JobNotCancellable(), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.IllegalTransition(), grpc.StatusCode.INTERNAL),
    ],
)
def test_the_code_follows_reason_or_family(error: CarnetError, code: grpc.StatusCode) -> None:
    assert code_of(error) is code


def test_a_field_is_named_in_a_bad_request() -> None:
    (bad,) = details(
        status_of(errors.FieldInvalid("no", metadata={"field": "caps.seconds"})), error_details_pb2.BadRequest
    )
    assert [violation.field for violation in bad.field_violations] == ["caps.seconds"]


def test_only_what_may_come_back_is_to_be_tried_again() -> None:
    assert details(status_of(errors.PolicyEngineUnavailable()), error_details_pb2.RetryInfo)
    assert not details(status_of(errors.PolicyDenied()), error_details_pb2.RetryInfo)
