"""What may be read from the store. Each query takes a connection first: `await store.read(queries.job, key)`.

Rules:
- A query is one consistent look at the rows; it changes nothing.
- A single thing that is not there is None; a list is bounded by its `limit`, at most `page_size_max`.
- The tenant is part of each key, so that nobody reads another tenant's rows by an id alone. `attempt_by_grant` is for
  runners, `jobs_in_states` and `wrap_days` for the gateway itself.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, and_, func, or_, select

from carnet.core import limits
from carnet.core.job import JobState
from gateway.storage import rows, tables
from gateway.storage.records import (
    JobDocuments,
    JobKey,
    SealedWrap,
    StoredAttempt,
    StoredDecision,
    StoredEntry,
    StoredEvent,
    StoredJob,
    StoredLogRecord,
    StoredVolume,
)

_jobs: Final = tables.jobs.c
_index_max: Final = 2**63 - 1  # a caller's index may have 64 bits, and a row's has 63


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """Where the page before ended."""

    created_ns: int
    job_id: bytes


def job(connection: Connection, key: JobKey) -> StoredJob | None:
    """One job."""
    row = _one(connection, select(tables.jobs).where(_is(tables.jobs, key)))
    return None if row is None else rows.job_value(row)


def jobs_named(connection: Connection, keys: Collection[JobKey]) -> tuple[StoredJob, ...]:
    """Those of these jobs that exist; for the writer."""
    if not keys:
        return ()
    # Two lists use the key's index on every database; where they cross, a row too many is read and left out.
    found = select(tables.jobs).where(
        _jobs.tenant_id.in_({key.tenant_id for key in keys}), _jobs.job_id.in_({key.job_id for key in keys})
    )
    return tuple(job for job in map(rows.job_value, connection.execute(found)) if job.key in keys)


def documents(connection: Connection, key: JobKey) -> JobDocuments | None:
    """What came with a job, and its addenda in order; the key set is the one that came last."""
    row = _one(connection, select(tables.documents).where(_is(tables.documents, key)))
    if row is None:
        return None
    column = tables.addenda.c
    added = select(column.statement, column.tenant_key_set).where(_is(tables.addenda, key)).order_by(column.sequence)
    return rows.documents_value(row, tuple((r.statement, r.tenant_key_set) for r in connection.execute(added)))


def jobs_of(
    connection: Connection, tenant_id: bytes, *, after: After | None = None, limit: int = limits.page_size_default
) -> tuple[StoredJob, ...]:
    """A tenant's jobs, newest first, from the one after `after` on."""
    found = select(tables.jobs).where(_jobs.tenant_id == tenant_id)
    if after is not None:
        same_time = and_(_jobs.created_ns == after.created_ns, _jobs.job_id < after.job_id)
        found = found.where(or_(_jobs.created_ns < after.created_ns, same_time))
    found = found.order_by(_jobs.created_ns.desc(), _jobs.job_id.desc()).limit(_bounded(limit))
    return tuple(map(rows.job_value, connection.execute(found)))


def jobs_in_states(
    connection: Connection,
    states: Iterable[JobState],
    *,
    after: JobKey | None = None,
    limit: int = limits.page_size_max,
) -> tuple[StoredJob, ...]:
    """Jobs of all tenants that are in one of these states, by key, from the one after `after` on: for recovery."""
    found = select(tables.jobs).where(_jobs.state.in_([state.value for state in states]))
    if after is not None:
        same_tenant = and_(_jobs.tenant_id == after.tenant_id, _jobs.job_id > after.job_id)
        found = found.where(or_(_jobs.tenant_id > after.tenant_id, same_tenant))
    found = found.order_by(_jobs.tenant_id, _jobs.job_id).limit(_bounded(limit))
    return tuple(map(rows.job_value, connection.execute(found)))


def jobs_waiting_for(
    connection: Connection, spiffe_id: str, *, limit: int = limits.page_size_max
) -> tuple[StoredJob, ...]:
    """Queued jobs whose next recipient is this runner, oldest first."""
    waiting = and_(_jobs.state == JobState.QUEUED.value, _jobs.waits_for == spiffe_id)
    found = select(tables.jobs).where(waiting).order_by(_jobs.created_ns, _jobs.job_id).limit(_bounded(limit))
    return tuple(map(rows.job_value, connection.execute(found)))


def events(
    connection: Connection, key: JobKey, *, start: int = 0, limit: int = limits.page_size_max
) -> tuple[StoredEvent, ...]:
    """What happened to a job, from event `start` on."""
    column = tables.events.c
    found = select(tables.events).where(_is(tables.events, key), column.event_index >= min(start, _index_max))
    found = found.order_by(column.event_index).limit(_bounded(limit))
    return tuple(map(rows.event_value, connection.execute(found)))


def log_records(
    connection: Connection, key: JobKey, *, start: int = 0, limit: int = limits.page_size_default
) -> tuple[StoredLogRecord, ...]:
    """Sealed log records of a job, from index `start` on."""
    column = tables.log_records.c
    found = select(tables.log_records).where(_is(tables.log_records, key), column.log_index >= min(start, _index_max))
    found = found.order_by(column.log_index).limit(_bounded(limit))
    return tuple(map(rows.log_value, connection.execute(found)))


def log_ended(connection: Connection, key: JobKey, number: int) -> bool:
    """Whether the newest log record of an attempt is the final one."""
    column = tables.log_records.c
    found = select(column.final).where(_is(tables.log_records, key), column.attempt == number)
    return bool(connection.execute(found.order_by(column.sequence.desc()).limit(1)).scalar_one_or_none())


def attempt(connection: Connection, key: JobKey, number: int) -> StoredAttempt | None:
    """One attempt of a job."""
    found = select(tables.attempts).where(_is(tables.attempts, key), tables.attempts.c.attempt == number)
    row = _one(connection, found)
    return None if row is None else rows.attempt_value(row)


def attempt_by_grant(connection: Connection, grant_digest: bytes) -> StoredAttempt | None:
    """The attempt that this grant is for."""
    row = _one(connection, select(tables.attempts).where(tables.attempts.c.grant_digest == grant_digest))
    return None if row is None else rows.attempt_value(row)


def decision(connection: Connection, digest: bytes) -> StoredDecision | None:
    """The decision with this record digest."""
    row = _one(connection, select(tables.decisions).where(tables.decisions.c.digest == digest))
    return None if row is None else rows.decision_value(row)


def wrap(connection: Connection, key: JobKey, kid: bytes) -> SealedWrap | None:
    """A job's sealed wrap for one key id."""
    row = _one(connection, select(tables.wraps).where(_is(tables.wraps, key), tables.wraps.c.kid == kid))
    return None if row is None else rows.wrap_value(row)


def volumes(
    connection: Connection, tenant_id: bytes, *, since_ns: int, but: JobKey | None = None
) -> tuple[StoredVolume, ...]:
    """A tenant's sums since a time, one an operator and category; one job's left out. The time is the latest."""
    column = tables.volumes.c
    found = select(column.counterparty, column.category, func.sum(column.records), func.max(column.created_ns))
    found = found.where(column.tenant_id == tenant_id, column.created_ns > since_ns)
    if but is not None:
        found = found.where(column.job_id != but.job_id)
    return tuple(
        StoredVolume(counterparty=who, category=what, records=int(records), created_ns=latest)
        for who, what, records, latest in connection.execute(found.group_by(column.counterparty, column.category))
    )


def key_sequences(connection: Connection) -> dict[bytes, int]:
    """The highest sequence of each tenant's key set that was seen."""
    found = select(tables.key_sequences.c.tenant_id, tables.key_sequences.c.sequence)
    return {row.tenant_id: row.sequence for row in connection.execute(found)}


def wrap_days(connection: Connection) -> frozenset[date]:
    """The days whose key files are still needed."""
    return frozenset(connection.execute(select(tables.wraps.c.day).distinct()).scalars())


def job_keys(connection: Connection) -> frozenset[tuple[JobKey, bytes]]:
    """Every job and its manifest digest: for the sweep of orphaned ciphertext at start."""
    found = connection.execute(select(_jobs.tenant_id, _jobs.job_id, _jobs.manifest_digest))
    return frozenset((JobKey(tenant_id=tenant_id, job_id=job_id), digest) for tenant_id, job_id, digest in found)


def request(connection: Connection, tenant_id: bytes, request_id: bytes) -> tuple[bytes, bytes] | None:
    """The body digest and the answer of a request that was done, if it is remembered."""
    column = tables.requests.c
    found = select(column.body_digest, column.response).where(
        column.tenant_id == tenant_id, column.request_id == request_id
    )
    row = connection.execute(found).one_or_none()
    return None if row is None else (row.body_digest, row.response)


def requests_named(
    connection: Connection, names: Collection[tuple[bytes, bytes]]
) -> tuple[tuple[tuple[bytes, bytes], bytes, bytes, int], ...]:
    """Name, body digest, answer and time of those of these requests that were done; for the writer."""
    if not names:
        return ()
    column = tables.requests.c
    found = select(tables.requests).where(
        column.tenant_id.in_({tenant_id for tenant_id, _ in names}),
        column.request_id.in_({request_id for _, request_id in names}),
    )
    every = [((r.tenant_id, r.request_id), r.body_digest, r.response, r.created_ns) for r in connection.execute(found)]
    return tuple(one for one in every if one[0] in names)


# --- the audit log ------------------------------------------------------------------------------------------------


def entry(connection: Connection, index: int) -> StoredEntry | None:
    """One leaf."""
    row = _one(connection, select(tables.entries).where(tables.entries.c.leaf_index == index))
    return None if row is None else rows.entry_value(row)


def entries(
    connection: Connection, *, start: int = 0, limit: int = limits.page_size_default
) -> tuple[StoredEntry, ...]:
    """Leaves in the order of the log, from index `start` on."""
    column = tables.entries.c.leaf_index
    found = select(tables.entries).where(column >= start).order_by(column).limit(_bounded(limit))
    return tuple(map(rows.entry_value, connection.execute(found)))


def entries_of(connection: Connection, key: JobKey) -> tuple[StoredEntry, ...]:
    """The leaves about one job, in the order of the log."""
    found = select(tables.entries).where(_is(tables.entries, key)).order_by(tables.entries.c.leaf_index)
    return tuple(map(rows.entry_value, connection.execute(found.limit(limits.page_size_max))))


def entries_about(connection: Connection, subject: bytes) -> tuple[StoredEntry, ...]:
    """The leaves about one digest, in the order of the log."""
    column = tables.entries.c
    found = select(tables.entries).where(column.subject == subject).order_by(column.leaf_index)
    return tuple(map(rows.entry_value, connection.execute(found.limit(limits.page_size_max))))


def nodes(connection: Connection, places: Iterable[int]) -> dict[int, bytes]:
    """Hashes of the tree by place; those that are not there are left out."""
    column = tables.nodes.c
    found = connection.execute(select(column.place, column.hash).where(column.place.in_(sorted(places))))
    return {row.place: row.hash for row in found}


def nodes_between(connection: Connection, *, first: int, last: int) -> dict[int, bytes]:
    """Hashes of the tree at the places from `first` to `last`, both included."""
    column = tables.nodes.c
    found = connection.execute(select(column.place, column.hash).where(column.place.between(first, last)))
    return {row.place: row.hash for row in found}


def checkpoint(connection: Connection, size: int | None = None) -> tuple[int, str] | None:
    """Size and signed note of the checkpoint for this size, or of the newest; None where there is none."""
    column = tables.checkpoints.c
    found = select(column.size, column.note)
    found = found.order_by(column.size.desc()).limit(1) if size is None else found.where(column.size == size)
    row = connection.execute(found).one_or_none()
    return None if row is None else (row.size, row.note)


def log_counts(connection: Connection) -> tuple[int, int]:
    """How many leaves and how many nodes are stored."""
    leaves = connection.execute(select(func.count()).select_from(tables.entries)).scalar_one()
    return leaves, connection.execute(select(func.count()).select_from(tables.nodes)).scalar_one()


def _is(table: Table, key: JobKey) -> ColumnElement[bool]:
    return and_(table.c.tenant_id == key.tenant_id, table.c.job_id == key.job_id)


def _bounded(limit: int) -> int:
    return max(1, min(limit, limits.page_size_max))


def _one(connection: Connection, found: Select[tuple[rows.Cell, ...]]) -> Row[tuple[rows.Cell, ...]] | None:
    return connection.execute(found).one_or_none()
