"""Job: the manifest that a client signs, its addenda, and the states that a job can be in.

- A job's identity is (tenant, job id, manifest digest). The manifest is metadata that the gateway may read; everything
  secret is in sealed objects, and object 0 (names, argv, environment) is sealed too.
- A value that exists is legal: recipients distinct and bounded, jurisdictions sorted, sizes and times within limits.
- `check_facts` holds manifest and facts together: the same digest, image, resources, caps.
- The digest of a statement is taken over the bytes that were signed, never over a re-serialisation.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from carnet.core import limits
from carnet.core.errors import EnvelopeMalformed, FactsMismatch
from carnet.core.facts import JobFacts, Resources, check_jurisdiction
from carnet.core.runner import Isolation

VERSION: Final = 1
SUITE: Final = 0x0001


class Mode(StrEnum):
    """How the payload reaches the job: through our launcher, or as the stdin of the image's own command."""

    FRAMED = "framed"
    RAW = "raw"


class LogMode(StrEnum):
    """Whether the job's output comes back as sealed log records, or is dropped at the runner."""

    SEALED = "sealed"
    NONE = "none"


class JobState(StrEnum):
    """The states of `core/lifecycle.py`."""

    PENDING = "pending"
    AWAITING_APPROVAL = "awaiting_approval"
    QUEUED = "queued"
    DISPATCHING = "dispatching"
    RUNNING = "running"
    NEEDS_RECIPIENTS = "needs_recipients"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DENIED = "denied"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """Whether nothing can happen to the job any more."""
        return self in _TERMINAL


_TERMINAL: Final = frozenset(
    {JobState.SUCCEEDED, JobState.FAILED, JobState.DENIED, JobState.CANCELLED, JobState.EXPIRED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One runner that the client verified, and the epoch key that it wrapped the job for."""

    spiffe_id: str
    jurisdiction: str
    kid: bytes
    key_statement_digest: bytes

    def __post_init__(self) -> None:
        check_jurisdiction(self.jurisdiction)
        if len(self.kid) != 32 or len(self.key_statement_digest) != 32:
            raise EnvelopeMalformed("A recipient's key id and key statement digest are 32 bytes each.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedObject:
    """One sealed object: its id, its plaintext size in bytes, and SHA-256 of each segment's ciphertext."""

    id: int
    size: int
    segment_digests: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.id < limits.objects_max or not 0 <= self.size <= limits.object_bytes_max:
            raise EnvelopeMalformed("An object's id or size is out of bounds.")
        segments = max(1, -(-self.size // limits.segment_bytes))
        if len(self.segment_digests) != segments or any(len(d) != 32 for d in self.segment_digests):
            raise EnvelopeMalformed("An object's segments do not fit its size.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the client signs about one job. `payload` are the signed bytes; `digest` (md) is SHA-256 over them."""

    payload: bytes
    version: int
    suite: int
    job_id: bytes
    tenant_id: bytes
    nonce: bytes
    created_ns: int
    not_after_ns: int
    facts_digest: bytes
    decision_digest: bytes
    image: str
    mode: Mode
    command: tuple[str, ...]
    resources: Resources
    seconds_max: int
    isolation_min: Isolation
    template_digest: bytes
    allowed_jurisdictions: tuple[str, ...]
    recipients: tuple[Recipient, ...]
    objects: tuple[SealedObject, ...]
    root_commit: bytes
    result_public: bytes
    attempts_max: int
    log_mode: LogMode

    def __post_init__(self) -> None:
        _check_manifest(self)

    @property
    def digest(self) -> bytes:
        """md: SHA-256 over the signed bytes, 32 bytes."""
        return hashlib.sha256(self.payload).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Addendum:
    """More recipients for a job, signed by the client; each addendum names the one before it."""

    payload: bytes
    manifest_digest: bytes
    sequence: int
    previous_digest: bytes
    decision_digest: bytes
    recipients: tuple[Recipient, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.sequence <= limits.addenda_max:
            raise EnvelopeMalformed("An addendum's sequence is out of bounds.")
        _check_recipients(self.recipients, least=1)

    @property
    def digest(self) -> bytes:
        """SHA-256 over the signed bytes, 32 bytes."""
        return hashlib.sha256(self.payload).digest()


def check_facts(manifest: Manifest, facts: JobFacts) -> None:
    """Raise `FactsMismatch`, with the field, where manifest and facts contradict each other."""
    pairs = {
        "facts_digest": (manifest.facts_digest, facts.digest),
        "image": (manifest.image, facts.image),
        "resources": (manifest.resources, facts.resources),
        "seconds": (manifest.seconds_max, facts.caps.seconds),
        "attempts": (manifest.attempts_max, facts.caps.attempts),
        "isolation_min": (str(manifest.isolation_min), facts.constraints.isolation_min),
    }
    for name, (signed, declared) in pairs.items():
        if signed != declared:
            raise FactsMismatch(f"The manifest's {name} differs from the facts.", metadata={"field": name})
    _check_within(manifest.allowed_jurisdictions, facts.constraints.only, facts.constraints.never)


def find_recipient(manifest: Manifest, addenda: tuple[Addendum, ...], *, spiffe_id: str, kid: bytes) -> Recipient:
    """The entry for this runner and key, in the manifest or an addendum. Raises `EnvelopeMalformed`."""
    for recipient in (*manifest.recipients, *(r for a in addenda for r in a.recipients)):
        if recipient.spiffe_id == spiffe_id and recipient.kid == kid:
            return recipient
    raise EnvelopeMalformed("This runner and key are not among the recipients.")


def _check_manifest(manifest: Manifest) -> None:
    if (manifest.version, manifest.suite) != (VERSION, SUITE):
        raise EnvelopeMalformed("The manifest is of another version or suite.")
    _check_sizes(manifest)
    if not 0 < manifest.not_after_ns - manifest.created_ns <= limits.manifest_seconds_max * 10**9:
        raise EnvelopeMalformed("A manifest is valid for 24 hours at most.")
    _check_places(manifest.allowed_jurisdictions)
    _check_recipients(manifest.recipients, least=0)
    if any(r.jurisdiction not in manifest.allowed_jurisdictions for r in manifest.recipients):
        raise EnvelopeMalformed("A recipient is outside the allowed jurisdictions.")
    if not 1 <= len(manifest.objects) <= limits.objects_max:
        raise EnvelopeMalformed("A manifest needs object 0, and at most the bound of objects.")
    if tuple(o.id for o in manifest.objects) != tuple(range(len(manifest.objects))):
        raise EnvelopeMalformed("Objects are numbered from 0 without gaps.")
    if not 1 <= manifest.attempts_max <= limits.attempts_max:
        raise EnvelopeMalformed("The number of attempts is out of bounds.")


# A client's jobs allow the same hundreds of places, time after time: what was found good once is not looked at again.


@lru_cache(64)
def _check_places(places: tuple[str, ...]) -> None:
    if places != tuple(sorted(set(places))):
        raise EnvelopeMalformed("The allowed jurisdictions must be sorted and distinct.")
    for place in places:
        check_jurisdiction(place)


@lru_cache(64)
def _check_within(places: tuple[str, ...], only: tuple[str, ...], never: tuple[str, ...]) -> None:
    allowed, excluded = set(only), set(never)
    if only and any(place not in allowed and place[:2] not in allowed for place in places):
        raise FactsMismatch("The manifest allows a place outside the facts.", metadata={"field": "only"})
    if any(place in excluded or place[:2] in excluded for place in places):
        raise FactsMismatch("The manifest allows a place that the facts exclude.", metadata={"field": "never"})


def _check_sizes(manifest: Manifest) -> None:
    sizes = {
        16: (manifest.job_id, manifest.tenant_id, manifest.nonce),
        32: (manifest.facts_digest, manifest.decision_digest, manifest.template_digest, manifest.root_commit),
        limits.hybrid_public_bytes: (manifest.result_public,),
    }
    for size, values in sizes.items():
        if any(len(value) != size for value in values):
            raise EnvelopeMalformed("A field of the manifest has the wrong size.")


def _check_recipients(recipients: tuple[Recipient, ...], *, least: int) -> None:
    if not least <= len(recipients) <= limits.recipients_max:
        raise EnvelopeMalformed("The number of recipients is out of bounds.")
    if len({r.kid for r in recipients}) != len(recipients):
        raise EnvelopeMalformed("Two recipients name the same key.")
