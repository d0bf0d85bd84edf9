"""Finding a job's leaves again: which leaf of the log says what about it, with its proof."""

from carnet.core.errors import NotFound
from carnet.wire import Logged
from gateway.auditlog import AuditLog
from gateway.storage import queries
from gateway.storage.records import JobKey
from gateway.storage.store import Store


async def leaf_of(store: Store, log: AuditLog, key: JobKey, kind: str) -> Logged:
    """The newest leaf of this kind about a job, proven under the newest checkpoint. Raises `NotFound`."""
    found = [entry for entry in await store.read(queries.entries_of, key) if entry.kind == kind]
    if not found:
        raise NotFound(detail=f"no {kind} leaf")
    return await log.prove(found[-1].index)


async def leaf_about(store: Store, log: AuditLog, subject: bytes, *, checkpoint: str = "") -> Logged:
    """The leaf about a digest, proven under this checkpoint, or under the newest. Raises `NotFound`."""
    found = await store.read(queries.entries_about, subject)
    if not found:
        raise NotFound(detail="no leaf about this digest")
    return await log.prove(found[-1].index, size_of(checkpoint) if checkpoint else None)


def size_of(checkpoint: str) -> int:
    """The tree size of a note that this gateway itself signed (its second line)."""
    return int(checkpoint.split("\n", 2)[1])
