"""The one table from errors of core to gRPC status.

- Every error leaves as a status with exactly one `google.rpc.ErrorInfo` (reason, domain, metadata), plus `BadRequest`
  for a field, `PreconditionFailure` for the rules of a denial, and `RetryInfo` where a retry can help.
- Only `text` and `metadata` go out; `detail` goes to the log.
- An exception that is not ours leaves as INTERNAL with no text of its own.
"""

from dataclasses import dataclass
from typing import Final, NoReturn

import grpc
import grpc.aio
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from carnet.core.errors import Bug, CallerError, CarnetError, PeerError, PolicyDenied, Refused, Unavailable

DOMAIN: Final = "carnet"
retry_seconds: Final = 2

_log = structlog.get_logger(__name__)

_BY_REASON: Final[dict[str, grpc.StatusCode]] = {
    "POLICY_DENIED": grpc.StatusCode.PERMISSION_DENIED,
    "ROLE_REQUIRED": grpc.StatusCode.PERMISSION_DENIED,
    "SECOND_PERSON_REQUIRED": grpc.StatusCode.PERMISSION_DENIED,
    "NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "REQUEST_ID_REUSED": grpc.StatusCode.ALREADY_EXISTS,
    "JOB_ID_TAKEN": grpc.StatusCode.ALREADY_EXISTS,
    "OVERLAY_TAKEN": grpc.StatusCode.ALREADY_EXISTS,
    "LEASE_LOST": grpc.StatusCode.ABORTED,
    "ETAG_MISMATCH": grpc.StatusCode.ABORTED,
    "POLICY_REVISION_CHANGED": grpc.StatusCode.ABORTED,
    "QUOTA_EXCEEDED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "NO_CAPACITY_IN_PERMITTED_JURISDICTION": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "CLIENT_CERT_REQUIRED": grpc.StatusCode.UNAUTHENTICATED,
    "CERT_INVALID": grpc.StatusCode.UNAUTHENTICATED,
    "CERT_REVOKED": grpc.StatusCode.UNAUTHENTICATED,
    "TOKEN_INVALID": grpc.StatusCode.UNAUTHENTICATED,
    "TOKEN_EXPIRED": grpc.StatusCode.UNAUTHENTICATED,
    "TOKEN_AUDIENCE": grpc.StatusCode.UNAUTHENTICATED,
}
_BY_FAMILY: Final[tuple[tuple[type[CarnetError], grpc.StatusCode], ...]] = (
    (CallerError, grpc.StatusCode.INVALID_ARGUMENT),
    (PeerError, grpc.StatusCode.INVALID_ARGUMENT),
    (Refused, grpc.StatusCode.FAILED_PRECONDITION),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
    (Bug, grpc.StatusCode.INTERNAL),
    (CarnetError, grpc.StatusCode.INTERNAL),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One rule that denied: its id, the places, and a sentence with its citations."""

    rule: str
    places: tuple[str, ...]
    sentence: str


class Denied(PolicyDenied):
    """Policy does not permit this job."""

    def __init__(self, text: str, *, violations: tuple[Violation, ...]) -> None:
        super().__init__(text)
        self.violations = violations


def code_of(error: CarnetError) -> grpc.StatusCode:
    """The status code of an error: by its reason, else by its family."""
    found = _BY_REASON.get(error.reason)
    return found or next(code for family, code in _BY_FAMILY if isinstance(error, family))


def status_of(error: CarnetError) -> status_pb2.Status:
    """The whole status, with its details."""
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    if field := error.metadata.get("field"):
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=error.text)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, Denied):
        violations = [
            error_details_pb2.PreconditionFailure.Violation(
                type=violation.rule, subject=",".join(violation.places), description=violation.sentence
            )
            for violation in error.violations
        ]
        details.append(error_details_pb2.PreconditionFailure(violations=violations))
    if isinstance(error, Unavailable):
        details.append(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=retry_seconds)))
    packed = []
    for detail in details:
        wrapper = any_pb2.Any()
        wrapper.Pack(detail)
        packed.append(wrapper)
    return status_pb2.Status(code=code_of(error).value[0], message=error.text, details=packed)


async def abort(context: grpc.aio.ServicerContext[object, object], error: CarnetError) -> NoReturn:
    """End the call with the status of this error, and log what operators need."""
    level = "error" if isinstance(error, Bug) else "info"
    getattr(_log, level)("call refused", action="refuse", reason=error.reason, detail=error.detail or error.text)
    status = rpc_status.to_status(status_of(error))
    await context.abort(status.code, status.details, status.trailing_metadata)
    raise AssertionError("abort returned")
