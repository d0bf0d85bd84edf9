"""What may be asked of the store: operations, grouped in a `Batch`, and what a batch left, `Written`.

Rules:
- A batch is all or nothing. Its operations are carried out in order, its entries become leaves of the audit log, and
  all of it is in one transaction.
- A batch that was done before (the same request, or the same job with the same manifest) is not done again: `Written`
  says so and holds what the first one left.
- A job is updated from the value that was read: another update in between raises `Conflict`, and the caller reads anew.

    written = await store.write(Batch(operations=(UpdateJob(job=replace(job, life=life), events=(event,)),),
                                      entries=(NewEntry(kind="running", data=leaf, key=job.key),)))
    job = written.jobs[0]
"""

from dataclasses import dataclass
from typing import Final

from carnet.core import limits
from carnet.core.errors import FieldInvalid
from carnet.wire import Logged
from gateway.storage.decisionlog import ForgetEvents, LogDecision
from gateway.storage.policyoperations import InsertRevision, PolicyOperation
from gateway.storage.records import (
    JobDocuments,
    JobKey,
    NewEntry,
    NewEvent,
    NewLogRecord,
    SealedWrap,
    StoredAttempt,
    StoredDecision,
    StoredJob,
    StoredVolume,
    check_bound,
    check_size,
    check_times,
)

operations_max: Final = 64
entries_max: Final = 64
response_bytes_max: Final = limits.MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertJob:
    """A new job. The same manifest again changes nothing; another one raises `JobIdTaken`."""

    job: StoredJob
    documents: JobDocuments
    events: tuple[NewEvent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateJob:
    """The next value of a job that was read at `job.version`. Raises `Conflict` where it changed since."""

    job: StoredJob
    events: tuple[NewEvent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertAddendum:
    """One more addendum of a job, and the key set that it came with (SignedStatement bytes, both). Raises `Conflict`
    where the sequence is taken."""

    key: JobKey
    sequence: int
    statement: bytes
    tenant_key_set: bytes

    def __post_init__(self) -> None:
        check_bound("statement", self.statement, limits.manifest_bytes_max + limits.KIB)
        check_bound("tenant_key_set", self.tenant_key_set, limits.statement_bytes_max + limits.KIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertAttempt:
    """A new attempt of a job. Raises `Conflict` where the attempt or its grant exists."""

    attempt: StoredAttempt


@dataclass(frozen=True, slots=True, kw_only=True)
class SetStart:
    """The attempt's Start, once: the same bytes again change nothing, others raise `Conflict`."""

    key: JobKey
    attempt: int
    start: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SetReceipt:
    """The attempt's Receipt, once: the same bytes again change nothing, others raise `Conflict`."""

    key: JobKey
    attempt: int
    receipt: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendLog:
    """Log records of one attempt, in order. Those that are stored already are passed over; a gap raises `FieldInvalid`,
    more than the job may log raises `QuotaExceeded`, and one after the final record raises `Conflict`."""

    key: JobKey
    attempt: int
    records: tuple[NewLogRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertDecision:
    """A decision. The same one again changes nothing."""

    decision: StoredDecision


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertWraps:
    """Sealed wraps of a job, one a key id."""

    key: JobKey
    wraps: tuple[SealedWrap, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountVolumes:
    """What a job counts in the ledger. An operator and category that the job counted before counts once."""

    key: JobKey
    volumes: tuple[StoredVolume, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseVolumes:
    """All that a job counted in the ledger is taken back: it ended, and nothing of it went out."""

    key: JobKey


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteWraps:
    """All wraps of a job: no recipient may open it any more."""

    key: JobKey


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseKeySequence:
    """The highest sequence of a tenant's key set that was seen. A lower one changes nothing."""

    tenant_id: bytes
    sequence: int

    def __post_init__(self) -> None:
        check_size("tenant_id", self.tenant_id, 16)
        check_times(self.sequence)


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberRequest:
    """That this request was done, and what was answered, for 24 hours. Another body raises `RequestIdReused`."""

    tenant_id: bytes
    request_id: bytes
    body_digest: bytes
    response: bytes
    created_ns: int

    def __post_init__(self) -> None:
        check_size("tenant_id", self.tenant_id, 16)
        check_size("request_id", self.request_id, 16)
        check_size("body_digest", self.body_digest, 32)
        check_bound("response", self.response, response_bytes_max)
        check_times(self.created_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetRequests:
    """Remove what was remembered before this time."""

    before_ns: int


Operation = (
    InsertJob
    | UpdateJob
    | InsertAddendum
    | InsertAttempt
    | SetStart
    | SetReceipt
    | AppendLog
    | InsertDecision
    | LogDecision
    | ForgetEvents
    | InsertWraps
    | CountVolumes
    | ReleaseVolumes
    | DeleteWraps
    | RaiseKeySequence
    | RememberRequest
    | ForgetRequests
    | PolicyOperation
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is done together or not at all: at most one new job and one request to remember."""

    operations: tuple[Operation, ...] = ()
    entries: tuple[NewEntry, ...] = ()

    def __post_init__(self) -> None:
        if len(self.operations) > operations_max or len(self.entries) > entries_max:
            raise FieldInvalid("A batch has too many operations or entries.", metadata={"field": "batch"})
        for kind in (InsertJob, RememberRequest):
            if sum(isinstance(operation, kind) for operation in self.operations) > 1:
                raise FieldInvalid(f"A batch has at most one {kind.__name__}.", metadata={"field": "batch"})

    @property
    def weight(self) -> int:
        """About how many bytes this batch keeps in memory while it waits."""
        return sum(map(_weight, self.operations)) + sum(len(entry.data) for entry in self.entries) + limits.KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a batch left, durable. `logged` is in the order of the batch's entries, `jobs` of its job operations.

    Where it was done before, `applied` is False, and `response` (of the request) or `jobs` says what is there.
    """

    applied: bool = True
    response: bytes | None = None
    jobs: tuple[StoredJob, ...] = ()
    logged: tuple[Logged, ...] = ()


def _weight(operation: Operation) -> int:
    match operation:
        case InsertJob(documents=kept):
            return len(kept.facts) + len(kept.manifest) + len(kept.tenant_key_set) + len(kept.self_wrap)
        case AppendLog(records=records):
            return sum(len(record.ciphertext) for record in records)
        case InsertAddendum(statement=statement, tenant_key_set=key_set):
            return len(statement) + len(key_set)
        case InsertDecision(decision=decision):
            return len(decision.record) + len(decision.body)
        case InsertRevision(files=files):
            return len(files)
        case LogDecision(event=kept):
            return len(kept.event) + len(kept.sealed_input)
        case RememberRequest(response=response):
            return len(response)
        case _:
            return limits.KIB
