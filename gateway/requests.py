"""Request ids, kept for 24 hours: what was done is not done twice; the same id with another body is refused."""

import hashlib
import uuid

from gateway.identity import Caller
from gateway.storage.operations import RememberRequest


def remember_request(
    caller: Caller, request_id: str, body: bytes, *, now_ns: int, response: bytes = b""
) -> RememberRequest:
    """The operation that remembers a request, for the batch that does it. `request_id` is a UUID.

    `response` is what the same request is told that comes again.
    """
    return RememberRequest(
        tenant_id=caller.tenant_id,
        request_id=uuid.UUID(request_id).bytes,
        body_digest=hashlib.sha256(body).digest(),
        response=response,
        created_ns=now_ns,
    )
