"""What the store keeps of overlays, exemptions and approvals, as values.

Rules:
- A value that exists is legal, as in `records.py`. A person is an issuer and a subject: the same subject of another
  issuer is another person.
- An exemption is never removed. Whether it has expired or is used up is asked of it at a time.
- A revision is known by the digest of its files, which never change; only its place in its life does.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from carnet.core.errors import FieldInvalid
from gateway.storage.records import JobKey, check_bound, check_size, check_times

overlay_bytes_max: Final = 2 * 1024 * 1024
person_bytes_max: Final = 1024
text_bytes_max: Final = 4096
uses_max: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody, as their tokens name them."""

    issuer: str
    subject: str

    def __post_init__(self) -> None:
        check_bound("issuer", self.issuer.encode(), person_bytes_max)
        check_bound("subject", self.subject.encode(), person_bytes_max)
        if not self.issuer or not self.subject:
            raise FieldInvalid("A person has an issuer and a subject.", metadata={"field": "subject"})


class RevisionState(StrEnum):
    """Where a revision of an overlay is in its life. At most one of a tenant is active."""

    DRAFT = "draft"
    APPROVED = "approved"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionKey:
    """A revision's name: tenant id (16 bytes) and the digest of its files (32)."""

    tenant_id: bytes
    digest: bytes

    def __post_init__(self) -> None:
        check_size("tenant_id", self.tenant_id, 16)
        check_size("digest", self.digest, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRevision:
    """One revision, without its files. `bundle` is the revision of the whole bundle once it was active with this one.

    `compared` counts the decisions that it was asked about as a shadow. `version` belongs to the store.
    """

    key: RevisionKey
    overlay: str
    author: Person
    created_ns: int
    comment: str = ""
    state: RevisionState = RevisionState.DRAFT
    shadow: bool = False
    approver: Person | None = None
    activator: Person | None = None
    approved_ns: int = 0
    activated_ns: int = 0
    bundle: str = ""
    compared: int = 0
    version: int = 1

    def __post_init__(self) -> None:
        check_bound("comment", self.comment.encode(), text_bytes_max)
        check_times(self.created_ns, self.approved_ns, self.activated_ns)


class ExemptionState(StrEnum):
    """How an exemption stands. The last two are seen at a time, and are in no row."""

    ASKED = "asked"
    APPROVED = "approved"
    REVOKED = "revoked"
    EXPIRED = "expired"
    USED_UP = "used_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredExemption:
    """One exemption with the persons that approved it. No class or purpose means any."""

    tenant_id: bytes
    exemption_id: bytes
    rule: str
    places: tuple[str, ...]
    classes: tuple[str, ...]
    purposes: tuple[str, ...]
    reason: str
    ticket: str
    requester: Person
    quorum: int
    created_ns: int
    expires_ns: int
    uses_max: int
    uses: int = 0
    state: ExemptionState = ExemptionState.ASKED
    approvers: tuple[Person, ...] = ()

    def __post_init__(self) -> None:
        check_size("tenant_id", self.tenant_id, 16)
        check_size("exemption_id", self.exemption_id, 16)
        check_times(self.created_ns, self.expires_ns)
        check_bound("reason", self.reason.encode(), text_bytes_max)
        if not self.places or self.quorum < 1 or not 0 <= self.uses <= self.uses_max <= uses_max:
            raise FieldInvalid("The exemption's places, quorum or uses are out of bounds.", metadata={"field": "uses"})

    def state_at(self, now_ns: int) -> ExemptionState:
        """How it stands at a time: what is revoked stays so, and what has expired never comes back."""
        if self.state is ExemptionState.REVOKED:
            return self.state
        if now_ns >= self.expires_ns:
            return ExemptionState.EXPIRED
        return ExemptionState.USED_UP if self.uses >= self.uses_max else self.state

    def counts(self, now_ns: int) -> bool:
        """Whether a job may be decided with it now."""
        return self.state_at(now_ns) is ExemptionState.APPROVED


@dataclass(frozen=True, slots=True, kw_only=True)
class JobApproval:
    """What one person said of a job that awaits approval."""

    key: JobKey
    person: Person
    approved: bool
    time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDifference:
    """One decision that a shadow took otherwise, by the digest of its record."""

    revision: RevisionKey
    decision: bytes
    time_ns: int
    live_verdict: str
    shadow_verdict: str
    newly_permitted: tuple[str, ...]
    newly_denied: tuple[str, ...]
    rules: tuple[str, ...]

    def __post_init__(self) -> None:
        check_size("decision", self.decision, 32)
        check_times(self.time_ns)
