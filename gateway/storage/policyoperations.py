"""What may be asked of the store about overlays, exemptions and approvals; the rules are those of `operations.py`.

- Who may do what was settled before; here are the bounds that two callers at once could pass: a name has one tenant, a
  revision is changed from the value that was read, an exemption has its quorum and is used no more often than it may.
"""

from dataclasses import dataclass

from carnet.core import limits
from gateway.storage.policyrecords import (
    JobApproval,
    Person,
    RevisionKey,
    StoredDifference,
    StoredExemption,
    StoredRevision,
    overlay_bytes_max,
)
from gateway.storage.records import JobKey, check_bound, check_size, check_times


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertRevision:
    """A new revision with its files (as `gateway/revisions.py` packs them). The first tenant to use a name has it.

    Raises `OverlayTaken` where the name is another tenant's, and `Conflict` where the revision is there.
    """

    revision: StoredRevision
    files: bytes

    def __post_init__(self) -> None:
        check_bound("files", self.files, overlay_bytes_max)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRevision:
    """The next value of a revision that was read at `revision.version`. Raises `Conflict` where it changed since."""

    revision: StoredRevision


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareShadow:
    """How many decisions more a shadow was asked about, and those that it took otherwise."""

    key: RevisionKey
    compared: int
    differences: tuple[StoredDifference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertExemption:
    """A new exemption, which nobody has approved."""

    exemption: StoredExemption


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveExemption:
    """One person's approval, once; at the quorum the exemption counts. Raises `Conflict` where it is not asked for."""

    tenant_id: bytes
    exemption_id: bytes
    person: Person
    time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeExemption:
    """From now on it matches nothing. Raises `Conflict` where it was revoked before."""

    tenant_id: bytes
    exemption_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UseExemptions:
    """A job that is accepted with these exemptions: one use of each, however often the job comes back to it.

    Raises `ExemptionGone` where one of them is not approved, has expired or is used up: then the job is not accepted.
    """

    key: JobKey
    exemption_ids: tuple[bytes, ...]
    time_ns: int

    def __post_init__(self) -> None:
        check_times(self.time_ns)
        for exemption_id in self.exemption_ids:
            check_size("exemption_id", exemption_id, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertJobApproval:
    """What one person said of a job. Raises `Conflict` where the person spoke before."""

    approval: JobApproval


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRequester:
    """What policy hears of who handed a job in, from now on: it was weighed anew with further recipients."""

    key: JobKey
    requester: bytes

    def __post_init__(self) -> None:
        check_bound("requester", self.requester, limits.facts_bytes_max)


PolicyOperation = (
    InsertRevision
    | UpdateRevision
    | CompareShadow
    | InsertExemption
    | ApproveExemption
    | RevokeExemption
    | UseExemptions
    | InsertJobApproval
    | SetRequester
)
