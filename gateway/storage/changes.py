"""What a batch does to the rows: one function an operation, inside the writer's transaction.

Rules:
- `repeated` is asked first: a batch that was done before changes nothing.
- `carry_out` either does the whole batch or raises; the writer then takes back what it did. A `CarnetError` is for the
  batch's caller; a row that contradicts another raises `IntegrityError`, and the writer calls it `Conflict`.
- There is one writer, so what was looked at is still so when it is changed; on a database with several writers the
  same statements still hold, by the keys and by the version in the UPDATE.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, delete, func, insert, select, update

from carnet.core import limits
from carnet.core.errors import Bug, FieldInvalid, JobIdTaken, NotFound, QuotaExceeded, RequestIdReused
from gateway.storage import decisionrows, policychanges, queries, rows, tables
from gateway.storage.decisionlog import ForgetEvents, LogDecision
from gateway.storage.gathering import Gathering, Remembered
from gateway.storage.operations import (
    AppendLog,
    Batch,
    CountVolumes,
    DeleteWraps,
    ForgetRequests,
    InsertAddendum,
    InsertAttempt,
    InsertDecision,
    InsertJob,
    InsertWraps,
    Operation,
    RaiseKeySequence,
    ReleaseVolumes,
    RememberRequest,
    SetReceipt,
    SetStart,
    UpdateJob,
    Written,
)
from gateway.storage.policyoperations import PolicyOperation
from gateway.storage.records import (
    Conflict,
    JobKey,
    NewEntry,
    NewEvent,
    NewLogRecord,
    StoredAttempt,
    StoredJob,
    StoredVolume,
)

_SECOND: Final = 10**9
_jobs: Final = tables.jobs.c

# Built once: SQLAlchemy keeps what it compiled by the statement.
_WRITTEN_ONCE: Final = frozenset({"tenant_id", "job_id", "manifest_digest", "decision_digest", "created_ns"})
_UPDATE_JOB: Final = update(tables.jobs).where(
    _jobs.tenant_id == bindparam("of_tenant_id"),
    _jobs.job_id == bindparam("of_job_id"),
    _jobs.version == bindparam("of_version"),
)


def repeated(gathering: Gathering, batch: Batch) -> Written | None:
    """What the same batch left when it was done before, if it was. Raises `RequestIdReused`, `JobIdTaken`."""
    for operation in batch.operations:
        match operation:
            case RememberRequest():
                answer = _remembered(gathering, operation)
                if answer is not None:
                    return Written(applied=False, response=answer)
            case InsertJob(job=job):
                stored = gathering.jobs.get(job.key)
                if stored is not None:
                    if stored.manifest_digest != job.manifest_digest:
                        raise JobIdTaken
                    return Written(applied=False, jobs=(stored,))
            case _:
                pass
    return None


def carry_out(gathering: Gathering, batch: Batch) -> tuple[StoredJob, ...]:
    """Do every operation of a batch, in order; the jobs as they are now stored."""
    done = [_do(gathering, operation) for operation in batch.operations]
    return tuple(job for job in done if job is not None)


def _do(gathering: Gathering, operation: Operation) -> StoredJob | None:
    match operation:
        case InsertJob():
            return _insert_job(gathering, operation)
        case UpdateJob(job=job, events=events):
            return _update_job(gathering, job, events)
        case InsertAddendum():
            gathering.add(tables.addenda, rows.addendum_cells(operation))
        case InsertAttempt(attempt=attempt):
            gathering.add(tables.attempts, rows.attempt_cells(attempt))
        case InsertDecision():
            _insert_decision(gathering, operation)
        case LogDecision():
            decisionrows.insert_line(gathering, operation)
        case InsertWraps(key=key, wraps=wraps):
            gathering.add(tables.wraps, *(rows.wrap_cells(key, wrap) for wrap in wraps))
        case CountVolumes(key=key, volumes=volumes):
            _count_volumes(gathering, key, volumes)
        case RememberRequest():
            _remember(gathering, operation)
        case _ if isinstance(operation, PolicyOperation):
            policychanges.carry_out(gathering, operation)
        case _:
            _do_now(gathering.connection, operation)
    return None


def _do_now(connection: Connection, operation: Operation) -> None:
    match operation:
        case SetStart(key=key, attempt=number, start=start):
            _set_once(connection, _attempt(connection, key, number), "start", start)
        case SetReceipt(key=key, attempt=number, receipt=receipt):
            _set_once(connection, _attempt(connection, key, number), "receipt", receipt)
        case AppendLog(key=key, attempt=number, records=records):
            _append_log(connection, _attempt(connection, key, number), records)
        case ReleaseVolumes(key=key):
            connection.execute(delete(tables.volumes).where(_of(tables.volumes, key)))
        case DeleteWraps(key=key):
            connection.execute(delete(tables.wraps).where(_of(tables.wraps, key)))
        case RaiseKeySequence(tenant_id=tenant_id, sequence=sequence):
            _raise_key_sequence(connection, tenant_id, sequence)
        case ForgetRequests(before_ns=before_ns):
            connection.execute(delete(tables.requests).where(tables.requests.c.created_ns < before_ns))
        case ForgetEvents(now_ns=now_ns):
            decisionrows.forget_events(connection, now_ns)
        case _:
            raise Bug(detail="an operation that the store does not know")


def _insert_job(gathering: Gathering, operation: InsertJob) -> StoredJob:
    job = replace(operation.job, version=1, events_next=len(operation.events))
    gathering.add(tables.jobs, rows.job_cells(job))
    gathering.add(tables.documents, rows.documents_cells(job.key, operation.documents))
    _insert_events(gathering, job.key, 0, operation.events)
    for sequence, statement in enumerate(operation.documents.addenda, start=1):
        _do(
            gathering,
            InsertAddendum(
                key=job.key, sequence=sequence, statement=statement, tenant_key_set=operation.documents.tenant_key_set
            ),
        )
    gathering.jobs[job.key] = job
    return job


def _update_job(gathering: Gathering, job: StoredJob, events: tuple[NewEvent, ...]) -> StoredJob:
    after = replace(job, version=job.version + 1, events_next=job.events_next + len(events))
    which = {"of_tenant_id": job.key.tenant_id, "of_job_id": job.key.job_id, "of_version": job.version}
    cells = {name: cell for name, cell in rows.job_cells(after).items() if name not in _WRITTEN_ONCE}
    connection = gathering.connection if gathering.keeps(tables.jobs) else gathering.untouched
    if connection.execute(_UPDATE_JOB, {**cells, **which}).rowcount != 1:
        if queries.job(connection, job.key) is None:
            raise NotFound
        raise Conflict(detail="the job was updated since it was read")
    _insert_events(gathering, job.key, job.events_next, events)
    gathering.jobs[job.key] = after
    return after


def _insert_events(gathering: Gathering, key: JobKey, first: int, events: tuple[NewEvent, ...]) -> None:
    gathering.add(tables.events, *(rows.event_cells(key, first + i, event) for i, event in enumerate(events)))


def _set_once(connection: Connection, attempt: StoredAttempt, name: str, statement: bytes) -> None:
    if not statement:
        raise FieldInvalid("The statement is empty.", metadata={"field": name})
    stored = {"start": attempt.start, "receipt": attempt.receipt}[name]
    if stored and stored != statement:
        raise Conflict(detail=f"the attempt has another {name}")
    connection.execute(update(tables.attempts).where(_of_attempt(tables.attempts, attempt)).values({name: statement}))


def _append_log(connection: Connection, attempt: StoredAttempt, records: tuple[NewLogRecord, ...]) -> None:
    fresh = [record for record in records if record.sequence >= attempt.log_next]
    if not fresh:
        return
    if [record.sequence for record in fresh] != list(range(attempt.log_next, attempt.log_next + len(fresh))):
        raise FieldInvalid("A log record is missing before this one.", metadata={"field": "sequence"})
    if fresh[-1].sequence >= limits.log_records_max:
        raise QuotaExceeded("The attempt's log is full.", metadata={"quota": "log_records"})
    _check_open(connection, attempt, fresh)
    size = sum(len(record.ciphertext) for record in fresh)
    _check_quota(connection, attempt.key, size)
    column = tables.log_records.c
    highest = select(func.max(column.log_index)).where(_of(tables.log_records, attempt.key))
    found = connection.execute(highest).scalar_one()
    first = 0 if found is None else found + 1
    cells = [rows.log_cells(attempt.key, first + i, attempt.attempt, record) for i, record in enumerate(fresh)]
    connection.execute(insert(tables.log_records), cells)
    counts = {"log_next": fresh[-1].sequence + 1, "log_bytes": attempt.log_bytes + size}
    connection.execute(update(tables.attempts).where(_of_attempt(tables.attempts, attempt)).values(counts))


def _check_open(connection: Connection, attempt: StoredAttempt, fresh: list[NewLogRecord]) -> None:
    column = tables.log_records.c
    last = and_(_of_attempt(tables.log_records, attempt), column.sequence == attempt.log_next - 1)
    closed = connection.execute(select(column.final).where(last)).scalar_one_or_none()
    if closed or any(record.final for record in fresh[:-1]):
        raise Conflict("The log of this attempt has had its final record.")


def _check_quota(connection: Connection, key: JobKey, size: int) -> None:
    total = select(func.coalesce(func.sum(tables.attempts.c.log_bytes), 0)).where(_of(tables.attempts, key))
    # Sealing adds a little to each record; the bound on the job's own output is the runner's to keep.
    if connection.execute(total).scalar_one() + size > 2 * limits.log_bytes_max:
        raise QuotaExceeded("The job's log is full.", metadata={"quota": "log_bytes"})


def _insert_decision(gathering: Gathering, operation: InsertDecision) -> None:
    decision = operation.decision
    if decision.digest in gathering.decisions:
        return
    gathering.decisions.add(decision.digest)
    found = select(tables.decisions.c.digest).where(tables.decisions.c.digest == decision.digest)
    if gathering.untouched.execute(found).first() is None:
        gathering.add(tables.decisions, rows.decision_cells(decision))


def _count_volumes(gathering: Gathering, key: JobKey, volumes: tuple[StoredVolume, ...]) -> None:
    column = tables.volumes.c
    found = select(column.counterparty, column.category).where(_of(tables.volumes, key))
    counted = {tuple(row) for row in gathering.connection.execute(found)}
    fresh = [volume for volume in volumes if (volume.counterparty, volume.category) not in counted]
    gathering.add(tables.volumes, *(rows.volume_cells(key, volume) for volume in fresh))


def _raise_key_sequence(connection: Connection, tenant_id: bytes, sequence: int) -> None:
    column = tables.key_sequences.c
    if tenant_id not in queries.key_sequences(connection):
        connection.execute(insert(tables.key_sequences), {"tenant_id": tenant_id, "sequence": sequence})
        return
    lower = and_(column.tenant_id == tenant_id, column.sequence < sequence)
    connection.execute(update(tables.key_sequences).where(lower).values(sequence=sequence))


def _remembered(gathering: Gathering, asked: RememberRequest) -> bytes | None:
    found = gathering.requests.get((asked.tenant_id, asked.request_id))
    if found is None or found.created_ns + limits.request_id_seconds * _SECOND <= asked.created_ns:
        return None
    if found.body_digest != asked.body_digest:
        raise RequestIdReused
    return found.response


def _remember(gathering: Gathering, asked: RememberRequest) -> None:
    name = (asked.tenant_id, asked.request_id)
    if name in gathering.requests:
        # `repeated` let it pass, so what is there is older than a request is remembered.
        column = tables.requests.c
        mine = and_(column.tenant_id == asked.tenant_id, column.request_id == asked.request_id)
        gathering.connection.execute(delete(tables.requests).where(mine))
    gathering.requests[name] = Remembered(
        body_digest=asked.body_digest, response=asked.response, created_ns=asked.created_ns
    )
    gathering.add(tables.requests, rows.request_cells(asked))


def _attempt(connection: Connection, key: JobKey, number: int) -> StoredAttempt:
    found = queries.attempt(connection, key, number)
    if found is None:
        raise NotFound
    return found


def append_leaves(connection: Connection, first: int, leaves: Sequence[NewEntry], nodes: Mapping[int, bytes]) -> None:
    """Store these leaves from index `first` on, and the hashes that they completed."""
    cells = [
        {
            "leaf_index": first + i,
            "kind": leaf.kind,
            "data": leaf.data,
            "tenant_id": leaf.key.tenant_id if leaf.key else None,
            "job_id": leaf.key.job_id if leaf.key else None,
            "subject": leaf.subject or None,
        }
        for i, leaf in enumerate(leaves)
    ]
    connection.execute(insert(tables.entries), cells)
    connection.execute(insert(tables.nodes), [{"place": place, "hash": digest} for place, digest in nodes.items()])


def add_checkpoint(connection: Connection, size: int, note: str) -> None:
    """Store the signed note of this size: one a size, ever."""
    connection.execute(insert(tables.checkpoints), {"size": size, "note": note})


def _of(table: Table, key: JobKey) -> ColumnElement[bool]:
    return and_(table.c.tenant_id == key.tenant_id, table.c.job_id == key.job_id)


def _of_attempt(table: Table, attempt: StoredAttempt) -> ColumnElement[bool]:
    return and_(_of(table, attempt.key), table.c.attempt == attempt.attempt)
