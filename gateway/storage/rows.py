"""Values of `records.py` to rows of `tables.py` and back: the only translation.

A row that does not make a legal value raises `StoreUnavailable`: what is stored is damaged, and nothing is done on it.
"""

import json
import struct
from datetime import date

from sqlalchemy import Row, RowMapping

from carnet.core.errors import CarnetError, StoreUnavailable
from carnet.core.job import JobState
from carnet.core.lease import Lease
from carnet.core.lifecycle import Contender, Job
from gateway.storage.operations import InsertAddendum, RememberRequest
from gateway.storage.records import (
    JobDocuments,
    JobKey,
    NewEvent,
    NewLogRecord,
    SealedWrap,
    StoredAttempt,
    StoredDecision,
    StoredEntry,
    StoredEvent,
    StoredJob,
    StoredLogRecord,
    StoredVolume,
)

Cell = bytes | int | str | date | None
Cells = dict[str, Cell]


def key_cells(key: JobKey) -> Cells:
    """The two columns that name a job."""
    return {"tenant_id": key.tenant_id, "job_id": key.job_id}


def job_cells(job: StoredJob) -> Cells:
    """One row of `jobs`."""
    life = job.life
    waits_for = life.next_contender if life.state is JobState.QUEUED else None
    return {
        **key_cells(job.key),
        "manifest_digest": job.manifest_digest,
        "decision_digest": job.decision_digest,
        "created_ns": job.created_ns,
        "updated_ns": job.updated_ns,
        "version": job.version,
        "events_next": job.events_next,
        "state": life.state.value,
        "attempt": life.attempt,
        "attempts_max": life.attempts_max,
        "deadline_ns": life.deadline_ns,
        "contenders": _contenders_text(life.contenders),
        "waits_for": waits_for.spiffe_id if waits_for else "",
        "runner": life.runner,
        "cause": life.cause.value if life.cause else None,
        "reason": life.reason,
        **_lease_cells(job.lease),
    }


def job_value(row: Row[tuple[Cell, ...]]) -> StoredJob:
    """The job of one row of `jobs`."""
    cells = row._mapping
    try:
        return StoredJob(
            key=JobKey(tenant_id=cells["tenant_id"], job_id=cells["job_id"]),
            manifest_digest=cells["manifest_digest"],
            decision_digest=cells["decision_digest"],
            life=Job(
                state=JobState(cells["state"]),
                attempt=cells["attempt"],
                attempts_max=cells["attempts_max"],
                deadline_ns=cells["deadline_ns"],
                contenders=_contenders_value(cells["contenders"]),
                runner=cells["runner"],
                cause=JobState(cells["cause"]) if cells["cause"] else None,
                reason=cells["reason"],
            ),
            created_ns=cells["created_ns"],
            updated_ns=cells["updated_ns"],
            lease=_lease_value(cells),
            version=cells["version"],
            events_next=cells["events_next"],
        )
    except (CarnetError, ValueError, TypeError) as error:
        raise StoreUnavailable(detail="a row of jobs is damaged") from error


_DOCUMENTS = ("facts", "manifest", "tenant_key_set", "self_wrap", "requester")


def documents_cells(key: JobKey, documents: JobDocuments) -> Cells:
    """One row of `documents`."""
    return {**key_cells(key), **{name: getattr(documents, name) for name in _DOCUMENTS}}


def documents_value(row: Row[tuple[Cell, ...]], addenda: tuple[tuple[bytes, bytes], ...]) -> JobDocuments:
    """The documents of one row of `documents`, with addenda (statement, key set) in their order."""
    cells = {name: row._mapping[name] for name in _DOCUMENTS}
    if addenda:
        _, cells["tenant_key_set"] = addenda[-1]
    return JobDocuments(**cells, addenda=tuple(statement for statement, _ in addenda))


def addendum_cells(operation: InsertAddendum) -> Cells:
    """One row of `addenda`."""
    names = ("sequence", "statement", "tenant_key_set")
    return {**key_cells(operation.key), **{name: getattr(operation, name) for name in names}}


def event_cells(key: JobKey, index: int, event: NewEvent) -> Cells:
    """One row of `events`."""
    return {
        **key_cells(key),
        "event_index": index,
        "time_ns": event.time_ns,
        "kind": event.kind,
        "state": event.state.value,
        "attempt": event.attempt,
        "runner": event.runner,
        "reason": event.reason,
    }


def event_value(row: Row[tuple[Cell, ...]]) -> StoredEvent:
    """The event of one row of `events`."""
    cells = row._mapping
    event = NewEvent(
        time_ns=cells["time_ns"],
        kind=cells["kind"],
        state=JobState(cells["state"]),
        attempt=cells["attempt"],
        runner=cells["runner"],
        reason=cells["reason"],
    )
    return StoredEvent(index=cells["event_index"], event=event)


_ATTEMPT_AS_IS = (
    "attempt",
    "spiffe_id",
    "jurisdiction",
    "kid",
    "grant_digest",
    "decision_digest",
    "permit",
    "status",
    "ownership",
    "card",
    "start",
    "receipt",
    "log_next",
    "log_bytes",
)


def attempt_cells(attempt: StoredAttempt) -> Cells:
    """One row of `attempts`."""
    as_is: Cells = {name: getattr(attempt, name) for name in _ATTEMPT_AS_IS}
    return {**key_cells(attempt.key), **as_is, "grant_statement": attempt.grant, "chain": _joined(attempt.chain)}


def attempt_value(row: Row[tuple[Cell, ...]]) -> StoredAttempt:
    """The attempt of one row of `attempts`."""
    cells = row._mapping
    return StoredAttempt(
        key=JobKey(tenant_id=cells["tenant_id"], job_id=cells["job_id"]),
        grant=cells["grant_statement"],
        chain=_split(cells["chain"]),
        **{name: cells[name] for name in _ATTEMPT_AS_IS},
    )


def log_cells(key: JobKey, index: int, attempt: int, record: NewLogRecord) -> Cells:
    """One row of `log_records`."""
    return {
        **key_cells(key),
        "log_index": index,
        "attempt": attempt,
        "sequence": record.sequence,
        "stream": record.stream,
        "final": record.final,
        "ciphertext": record.ciphertext,
    }


def log_value(row: Row[tuple[Cell, ...]]) -> StoredLogRecord:
    """The log record of one row of `log_records`."""
    cells = row._mapping
    record = NewLogRecord(
        sequence=cells["sequence"], stream=cells["stream"], final=cells["final"], ciphertext=cells["ciphertext"]
    )
    return StoredLogRecord(index=cells["log_index"], attempt=cells["attempt"], record=record)


_DECISION = ("digest", "tenant_id", "record", "body", "facts_digest", "created_ns")


def decision_cells(decision: StoredDecision) -> Cells:
    """One row of `decisions`."""
    return {name: getattr(decision, name) for name in _DECISION}


def decision_value(row: Row[tuple[Cell, ...]]) -> StoredDecision:
    """The decision of one row of `decisions`."""
    return StoredDecision(**{name: row._mapping[name] for name in _DECISION})


_REQUEST = ("tenant_id", "request_id", "body_digest", "response", "created_ns")


def request_cells(request: RememberRequest) -> Cells:
    """One row of `requests`."""
    return {name: getattr(request, name) for name in _REQUEST}


def wrap_cells(key: JobKey, wrap: SealedWrap) -> Cells:
    """One row of `wraps`."""
    return {**key_cells(key), "kid": wrap.kid, "day": wrap.day, "data": wrap.data}


def wrap_value(row: Row[tuple[Cell, ...]]) -> SealedWrap:
    """The wrap of one row of `wraps`."""
    cells = row._mapping
    return SealedWrap(kid=cells["kid"], day=cells["day"], data=cells["data"])


def volume_cells(key: JobKey, volume: StoredVolume) -> Cells:
    """One row of `volumes`."""
    return {
        **key_cells(key),
        "counterparty": volume.counterparty,
        "category": volume.category,
        "records": volume.records,
        "created_ns": volume.created_ns,
    }


def entry_value(row: Row[tuple[Cell, ...]]) -> StoredEntry:
    """The leaf of one row of `entries`."""
    cells = row._mapping
    return StoredEntry(index=cells["leaf_index"], kind=cells["kind"], data=cells["data"])


def _lease_cells(lease: Lease | None) -> Cells:
    return {
        "lease_attempt": lease.attempt if lease else None,
        "lease_spiffe_id": lease.spiffe_id if lease else None,
        "lease_grant_digest": lease.grant_digest if lease else None,
        "lease_deadline_ns": lease.deadline_ns if lease else None,
        "lease_permit_until_ns": lease.permit_until_ns if lease else None,
    }


def _lease_value(cells: RowMapping) -> Lease | None:
    match [cells[f"lease_{n}"] for n in ("attempt", "spiffe_id", "grant_digest", "deadline_ns", "permit_until_ns")]:
        case [int(attempt), str(spiffe_id), bytes(grant_digest), int(deadline_ns), int(permit_until_ns)]:
            return Lease(
                attempt=attempt,
                spiffe_id=spiffe_id,
                grant_digest=grant_digest,
                deadline_ns=deadline_ns,
                permit_until_ns=permit_until_ns,
            )
        case [None, None, None, None, None]:
            return None
        case _:
            raise StoreUnavailable(detail="a row of jobs has half a lease")


def _contenders_text(contenders: tuple[Contender, ...]) -> str:
    return json.dumps([[c.spiffe_id, c.jurisdiction, c.kid.hex(), c.spent] for c in contenders], separators=(",", ":"))


def _contenders_value(text: str) -> tuple[Contender, ...]:
    return tuple(
        Contender(spiffe_id=spiffe_id, jurisdiction=jurisdiction, kid=bytes.fromhex(kid), spent=bool(spent))
        for spiffe_id, jurisdiction, kid, spent in json.loads(text)
    )


def _joined(parts: tuple[bytes, ...]) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _split(joined: bytes) -> tuple[bytes, ...]:
    parts = []
    while joined:
        (size,) = struct.unpack_from(">I", joined)
        parts.append(joined[4 : 4 + size])
        joined = joined[4 + size :]
    return tuple(parts)
