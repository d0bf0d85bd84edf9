"""What the store keeps, as values.

Rules:
- A value that exists is legal: ids and digests have their sizes, times fit in 63 bits, texts and lists are bounded.
- Statements are the verbatim bytes of a SignedStatement; the store never parses them.
- `New...` is a value before the store gave it an index; `Stored...` is one as its row says.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

from carnet.core import limits
from carnet.core.errors import FieldInvalid, Refused
from carnet.core.job import JobState
from carnet.core.lease import Lease
from carnet.core.lifecycle import Job

entry_bytes_max: Final = 65_535
log_record_sealed_bytes_max: Final = 2 * limits.log_record_bytes_max


class Conflict(Refused):
    """The resource changed since it was read; read it again."""

    reason = "ETAG_MISMATCH"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobKey:
    """A job's name: tenant id and job id, 16 bytes each."""

    tenant_id: bytes
    job_id: bytes

    def __post_init__(self) -> None:
        check_size("tenant_id", self.tenant_id, 16)
        check_size("job_id", self.job_id, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """One job as its row says. `version` and `events_next` belong to the store: pass them back as they were read."""

    key: JobKey
    manifest_digest: bytes
    decision_digest: bytes
    life: Job
    created_ns: int
    updated_ns: int
    lease: Lease | None = None
    version: int = 0
    events_next: int = 0

    def __post_init__(self) -> None:
        check_size("manifest_digest", self.manifest_digest, 32)
        check_size("decision_digest", self.decision_digest, 32)
        check_times(self.created_ns, self.updated_ns, self.life.deadline_ns)
        if self.lease is not None:
            check_times(self.lease.deadline_ns, self.lease.permit_until_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDocuments:
    """The bytes that came with a job, written once; its decision is found by the job's `decision_digest`.

    `requester` are the facts that the gateway itself added at Submit; the rest is the client's. `tenant_key_set` is
    the newest of the job: the one of its last addendum, where it has one.
    """

    facts: bytes
    manifest: bytes
    tenant_key_set: bytes
    self_wrap: bytes
    requester: bytes
    addenda: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        check_bound("facts", self.facts, limits.facts_bytes_max)
        check_bound("manifest", self.manifest, limits.manifest_bytes_max + limits.KIB)
        check_bound("tenant_key_set", self.tenant_key_set, limits.statement_bytes_max + limits.KIB)
        check_bound("requester", self.requester, limits.facts_bytes_max)
        check_size("self_wrap", self.self_wrap, limits.wrap_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """One thing that happened to a job, before it has an index. State and the rest are those after the event."""

    time_ns: int
    kind: str
    state: JobState
    attempt: int
    runner: str
    reason: str

    def __post_init__(self) -> None:
        check_times(self.time_ns)

    @classmethod
    def of(cls, kind: str, life: Job, *, time_ns: int) -> "NewEvent":
        """The event that led to this place in the job's life."""
        return cls(
            time_ns=time_ns, kind=kind, state=life.state, attempt=life.attempt, runner=life.runner, reason=life.reason
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One thing that happened to a job, by its index from 0 without gaps."""

    index: int
    event: NewEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAttempt:
    """One attempt: what the runner was given, what its credentials were, and what it sent back.

    `permit`, `grant`, `status`, `ownership`, `card`, `start` and `receipt` are SignedStatement bytes; `start` and
    `receipt` are empty until they arrive. `decision_digest` names the decision that was made at dispatch.
    """

    key: JobKey
    attempt: int
    spiffe_id: str
    jurisdiction: str
    kid: bytes
    grant_digest: bytes
    decision_digest: bytes
    permit: bytes
    grant: bytes
    chain: tuple[bytes, ...]
    status: bytes
    ownership: bytes
    card: bytes
    start: bytes = b""
    receipt: bytes = b""
    log_next: int = 0
    log_bytes: int = 0

    def __post_init__(self) -> None:
        check_size("kid", self.kid, 32)
        check_size("grant_digest", self.grant_digest, 32)
        check_size("decision_digest", self.decision_digest, 32)
        if not 1 <= self.attempt < 2**31 or len(self.chain) > limits.chain_certificates_max:
            raise FieldInvalid("The attempt or its chain is out of bounds.", metadata={"field": "attempt"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLogRecord:
    """One sealed log record as the runner sent it. `sequence` runs over both streams of the attempt."""

    sequence: int
    stream: int
    final: bool
    ciphertext: bytes

    def __post_init__(self) -> None:
        check_bound("ciphertext", self.ciphertext, log_record_sealed_bytes_max)
        if not 0 <= self.sequence < 2**62 or not 0 <= self.stream <= 2:
            raise FieldInvalid("The log record's sequence or stream is out of bounds.", metadata={"field": "log"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLogRecord:
    """One sealed log record, by its index in the job's log, over all attempts."""

    index: int
    attempt: int
    record: NewLogRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDecision:
    """A decision: the signed record (SignedStatement bytes) by SHA-256 of its payload, and the body it is about."""

    digest: bytes
    tenant_id: bytes
    record: bytes
    body: bytes
    facts_digest: bytes
    created_ns: int

    def __post_init__(self) -> None:
        check_size("digest", self.digest, 32)
        check_size("tenant_id", self.tenant_id, 16)
        check_size("facts_digest", self.facts_digest, 32)
        check_times(self.created_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedWrap:
    """A wrap under the key of its day (`gateway/storage/wraps.py`): nonce and ciphertext in `data`."""

    kid: bytes
    day: date
    data: bytes

    def __post_init__(self) -> None:
        check_size("kid", self.kid, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVolume:
    """Records of a bulk category that went to one operator (its trust domain), with one job."""

    counterparty: str
    category: str
    records: int
    created_ns: int

    def __post_init__(self) -> None:
        check_times(self.created_ns, self.records)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """One leaf for the audit log. `key` and `subject` (a digest) are for finding it again; they are not hashed."""

    kind: str
    data: bytes
    key: JobKey | None = None
    subject: bytes = b""

    def __post_init__(self) -> None:
        check_bound("entry", self.data, entry_bytes_max)
        check_bound("subject", self.subject, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """One leaf of the audit log, by its index."""

    index: int
    kind: str
    data: bytes


def check_size(name: str, value: bytes, size: int) -> None:
    if len(value) != size:
        raise FieldInvalid(f"{name} must be {size} bytes.", metadata={"field": name})


def check_bound(name: str, value: bytes, most: int) -> None:
    if len(value) > most:
        raise FieldInvalid(f"{name} must be at most {most} bytes.", metadata={"field": name})


def check_times(*times_ns: int) -> None:
    if any(not 0 <= time_ns < 2**63 for time_ns in times_ns):
        raise FieldInvalid("A time is out of bounds.", metadata={"field": "time"})
