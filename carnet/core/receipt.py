"""Start and Receipt: the runner's signed word that it began, and how it ended.

- A Start is sent before the first log record; it carries the wrap of the result root for the client's result key.
- A Receipt names the manifest, grant, permit, Start, image, place, exit, results, the end of the log, and the meter.
- Exit class, times and resources come from the host, never from the job's output.
- `check_receipt` holds a receipt against what the client knows: anything that differs is named.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from carnet.core import limits
from carnet.core.errors import StatementInvalid
from carnet.core.job import Manifest
from carnet.core.runner import Isolation


class ExitClass(StrEnum):
    """How an attempt ended, as the host saw it."""

    SUCCEEDED = "succeeded"
    JOB_FAILED = "job_failed"
    TIMEOUT = "timeout"
    OOM = "oom"
    OUTPUT_LIMIT = "output_limit"
    CANCELLED = "cancelled"
    LEASE_LOST = "lease_lost"
    INFRA_LOST = "infra_lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The runner has opened the job and begins. `result_wrap` = HPKE(result key, result root)."""

    payload: bytes
    manifest_digest: bytes
    grant_digest: bytes
    spiffe_id: str
    result_wrap: bytes
    started_ns: int

    def __post_init__(self) -> None:
        if len(self.result_wrap) != limits.wrap_bytes:
            raise StatementInvalid("A result wrap must be 1168 bytes.")

    @property
    def digest(self) -> bytes:
        """SHA-256 over the signed bytes, 32 bytes."""
        return hashlib.sha256(self.payload).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultObject:
    """One sealed result: its id (0 is the index of names), plaintext size, and SHA-256 of each segment."""

    id: int
    size: int
    segment_digests: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.id <= limits.result_objects_max or not 0 <= self.size <= limits.result_bytes_max:
            raise StatementInvalid("A result object's id or size is out of bounds.")
        if not self.segment_digests or any(len(digest) != 32 for digest in self.segment_digests):
            raise StatementInvalid("A result object's segments are out of bounds.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """What the attempt took, and how each figure was got: where a method is `unavailable` its figure is 0, unmeasured.

    Energy in millijoules.
    """

    wall_ms: int
    cpu_ms: int
    memory_peak_bytes: int
    gpu_ms: int
    energy_mj: int
    energy_method: str
    price_micro_usd: int
    cpu_method: str
    memory_method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What ran, where, under which decision, and how it ended; signed by the runner's leaf."""

    payload: bytes
    job_id: bytes
    manifest_digest: bytes
    grant_digest: bytes
    permit_digest: bytes
    start_digest: bytes
    decision_digest: bytes
    record_digest: bytes
    spiffe_id: str
    jurisdiction: str
    isolation: Isolation
    template_digest: bytes
    profile_digest: bytes
    image: str
    attempt: int
    started_ns: int
    ended_ns: int
    exit_class: ExitClass
    exit_code: int
    results: tuple[ResultObject, ...]
    log_records: int
    evidence_digest: bytes
    meter: Meter

    @property
    def digest(self) -> bytes:
        """SHA-256 over the signed bytes, 32 bytes."""
        return hashlib.sha256(self.payload).digest()


def check_start(start: Start, *, manifest_digest: bytes, grant_digest: bytes, spiffe_id: str) -> None:
    """Raise `StatementInvalid` unless the Start is of this job, grant and runner."""
    expected: dict[str, tuple[object, object]] = {
        "manifest": (start.manifest_digest, manifest_digest),
        "grant": (start.grant_digest, grant_digest),
        "runner": (start.spiffe_id, spiffe_id),
    }
    _compare("Start", expected)


def check_receipt(receipt: Receipt, manifest: Manifest, start: Start, *, permit_digest: bytes) -> None:
    """Raise `StatementInvalid`, naming the field, unless the receipt is of this manifest, Start and permit."""
    expected: dict[str, tuple[object, object]] = {
        "job_id": (receipt.job_id, manifest.job_id),
        "manifest": (receipt.manifest_digest, manifest.digest),
        "grant": (receipt.grant_digest, start.grant_digest),
        "start": (receipt.start_digest, start.digest),
        "permit": (receipt.permit_digest, permit_digest),
        "runner": (receipt.spiffe_id, start.spiffe_id),
        "image": (receipt.image, manifest.image),
        "template": (receipt.template_digest, manifest.template_digest),
    }
    _compare("receipt", expected)
    if receipt.ended_ns < receipt.started_ns:
        raise StatementInvalid("The receipt's attempt ended before it started.")
    if receipt.jurisdiction not in manifest.allowed_jurisdictions:
        raise StatementInvalid("The receipt's jurisdiction is not allowed by the manifest.")
    if not receipt.isolation.at_least(manifest.isolation_min):
        raise StatementInvalid("The receipt's isolation is below the manifest's floor.")
    if tuple(r.id for r in receipt.results) != tuple(range(len(receipt.results))):
        raise StatementInvalid("The receipt's results are not numbered without gaps.")


def _compare(what: str, expected: dict[str, tuple[object, object]]) -> None:
    for name, (found, wanted) in expected.items():
        if found != wanted:
            raise StatementInvalid(f"The {what}'s {name} is another.", metadata={"field": name})
