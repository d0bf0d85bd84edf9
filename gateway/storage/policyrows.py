"""Values of `policyrecords.py` to rows of `policytables.py` and back. A damaged row raises `StoreUnavailable`."""

import json
from collections.abc import Iterable

from sqlalchemy import Row, RowMapping

from carnet.core.errors import CarnetError, StoreUnavailable
from gateway.storage.policyrecords import (
    ExemptionState,
    JobApproval,
    Person,
    RevisionKey,
    RevisionState,
    StoredDifference,
    StoredExemption,
    StoredRevision,
)
from gateway.storage.rows import Cell, Cells, key_cells

_REVISION = ("overlay", "shadow", "comment", "created_ns", "approved_ns", "activated_ns", "bundle", "compared")
_EXEMPTION = ("rule", "reason", "ticket", "quorum", "created_ns", "expires_ns", "uses_max", "uses")
_SCOPE = ("places", "classes", "purposes")
_DIFFERENCE = ("decision", "time_ns", "live_verdict", "shadow_verdict")
_SETS = ("newly_permitted", "newly_denied", "rules")


def revision_cells(revision: StoredRevision) -> Cells:
    """One row of `policy_revisions`."""
    return {
        "tenant_id": revision.key.tenant_id,
        "digest": revision.key.digest,
        "state": revision.state.value,
        "version": revision.version,
        **{name: getattr(revision, name) for name in _REVISION},
        **_person_cells("author", revision.author),
        **_person_cells("approver", revision.approver),
        **_person_cells("activator", revision.activator),
    }


def revision_value(row: Row[tuple[Cell, ...]]) -> StoredRevision:
    """The revision of one row of `policy_revisions`."""
    cells = row._mapping
    try:
        author = _person_value("author", cells)
        if author is None:
            raise StoreUnavailable(detail="a revision without its author")
        return StoredRevision(
            key=RevisionKey(tenant_id=cells["tenant_id"], digest=cells["digest"]),
            state=RevisionState(cells["state"]),
            version=cells["version"],
            author=author,
            approver=_person_value("approver", cells),
            activator=_person_value("activator", cells),
            **{name: cells[name] for name in _REVISION},
        )
    except (CarnetError, ValueError, TypeError) as error:
        raise StoreUnavailable(detail="a row of policy_revisions is damaged") from error


def exemption_cells(exemption: StoredExemption) -> Cells:
    """One row of `exemptions`; its approvals are rows of their own."""
    return {
        "tenant_id": exemption.tenant_id,
        "exemption_id": exemption.exemption_id,
        "state": exemption.state.value,
        **{name: getattr(exemption, name) for name in _EXEMPTION},
        **{name: _list_text(getattr(exemption, name)) for name in _SCOPE},
        **_person_cells("requester", exemption.requester),
    }


def exemption_value(row: Row[tuple[Cell, ...]], approvers: Iterable[Person]) -> StoredExemption:
    """The exemption of one row of `exemptions`, with who approved it."""
    cells = row._mapping
    try:
        requester = _person_value("requester", cells)
        if requester is None:
            raise StoreUnavailable(detail="an exemption without its requester")
        return StoredExemption(
            tenant_id=cells["tenant_id"],
            exemption_id=cells["exemption_id"],
            state=ExemptionState(cells["state"]),
            requester=requester,
            approvers=tuple(approvers),
            **{name: cells[name] for name in _EXEMPTION},
            places=_list_value(cells["places"]),
            classes=_list_value(cells["classes"]),
            purposes=_list_value(cells["purposes"]),
        )
    except (CarnetError, ValueError, TypeError) as error:
        raise StoreUnavailable(detail="a row of exemptions is damaged") from error


def approval_cells(approval: JobApproval) -> Cells:
    """One row of `job_approvals`."""
    return {
        **key_cells(approval.key),
        "issuer": approval.person.issuer,
        "subject": approval.person.subject,
        "approved": approval.approved,
        "time_ns": approval.time_ns,
    }


def difference_cells(difference: StoredDifference) -> Cells:
    """One row of `shadow_differences`."""
    return {
        "tenant_id": difference.revision.tenant_id,
        "digest": difference.revision.digest,
        **{name: getattr(difference, name) for name in _DIFFERENCE},
        **{name: _list_text(getattr(difference, name)) for name in _SETS},
    }


def difference_value(row: Row[tuple[Cell, ...]]) -> StoredDifference:
    """The difference of one row of `shadow_differences`."""
    cells = row._mapping
    return StoredDifference(
        revision=RevisionKey(tenant_id=cells["tenant_id"], digest=cells["digest"]),
        **{name: cells[name] for name in _DIFFERENCE},
        newly_permitted=_list_value(cells["newly_permitted"]),
        newly_denied=_list_value(cells["newly_denied"]),
        rules=_list_value(cells["rules"]),
    )


def _person_cells(prefix: str, person: Person | None) -> Cells:
    return {
        f"{prefix}_issuer": person.issuer if person else "",
        f"{prefix}_subject": person.subject if person else "",
    }


def _person_value(prefix: str, cells: RowMapping) -> Person | None:
    issuer, subject = cells[f"{prefix}_issuer"], cells[f"{prefix}_subject"]
    return Person(issuer=issuer, subject=subject) if issuer or subject else None


def _list_text(items: tuple[str, ...]) -> str:
    return json.dumps(items, separators=(",", ":"))


def _list_value(text: str) -> tuple[str, ...]:
    return tuple(str(item) for item in json.loads(text))
