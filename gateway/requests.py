"""Request ids, kept for 24 hours: what was done is not done twice; the same id with another body is refused.

Whoever did not hear the answer asks again with the same id, and is told how things stand, as after the first time:
`done_before` is asked before the state is looked at, since what was done changed it.
"""

import hashlib
import uuid

from carnet.core.errors import RequestIdReused
from gateway.identity import Caller
from gateway.storage import queries
from gateway.storage.operations import RememberRequest
from gateway.storage.store import Store


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


async def done_before(store: Store, caller: Caller, request_id: str, body: bytes) -> bytes | None:
    """What was remembered as the answer to this very request; None where it was not done.

    Raises `RequestIdReused` where the id is another request's.
    """
    found = await store.read(queries.request, caller.tenant_id, uuid.UUID(request_id).bytes)
    if found is None:
        return None
    digest, response = found
    if digest != hashlib.sha256(body).digest():
        raise RequestIdReused
    return response
