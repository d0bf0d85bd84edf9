"""What an operation of `policyoperations.py` does to the rows, inside the writer's transaction."""

from sqlalchemy import ColumnElement, and_, func, insert, select, update

from carnet.core.errors import ExemptionGone, NotFound, OverlayTaken
from gateway.storage import policyrows as rows
from gateway.storage import policytables as tables
from gateway.storage.gathering import Gathering
from gateway.storage.policyoperations import (
    ApproveExemption,
    CompareShadow,
    InsertExemption,
    InsertJobApproval,
    InsertRevision,
    PolicyOperation,
    RevokeExemption,
    SetRequester,
    UpdateRevision,
    UseExemptions,
)
from gateway.storage.policyrecords import ExemptionState, RevisionKey
from gateway.storage.records import Conflict
from gateway.storage.tables import documents


def carry_out(gathering: Gathering, operation: PolicyOperation) -> None:
    """Do one operation. Raises what the operation says."""
    match operation:
        case InsertRevision():
            _insert_revision(gathering, operation)
        case UpdateRevision():
            _update_revision(gathering, operation)
        case CompareShadow():
            _compare(gathering, operation)
        case InsertExemption(exemption=exemption):
            gathering.add(tables.exemptions, rows.exemption_cells(exemption))
        case ApproveExemption():
            _approve(gathering, operation)
        case RevokeExemption(tenant_id=tenant_id, exemption_id=exemption_id):
            _revoke(gathering, tenant_id, exemption_id)
        case UseExemptions():
            for exemption_id in operation.exemption_ids:
                _use(gathering, operation, exemption_id)
        case InsertJobApproval(approval=approval):
            gathering.add(tables.job_approvals, rows.approval_cells(approval))
        case SetRequester(key=key, requester=requester):
            column = documents.c
            mine = and_(column.tenant_id == key.tenant_id, column.job_id == key.job_id)
            gathering.connection.execute(update(documents).where(mine).values(requester=requester))


def _insert_revision(gathering: Gathering, operation: InsertRevision) -> None:
    key, name = operation.revision.key, operation.revision.overlay
    column = tables.overlays.c
    owner = gathering.connection.execute(select(column.tenant_id).where(column.overlay == name)).scalar_one_or_none()
    if owner is not None and owner != key.tenant_id:
        raise OverlayTaken(metadata={"overlay": name})
    if owner is None:
        gathering.add(tables.overlays, {"overlay": name, "tenant_id": key.tenant_id})
    gathering.add(tables.policy_revisions, rows.revision_cells(operation.revision))
    gathering.add(tables.policy_files, {"tenant_id": key.tenant_id, "digest": key.digest, "files": operation.files})


def _update_revision(gathering: Gathering, operation: UpdateRevision) -> None:
    revision, column = operation.revision, tables.policy_revisions.c
    cells = rows.revision_cells(revision)
    # The shadow's count is added to by itself, meanwhile too.
    changed = {name: cell for name, cell in cells.items() if name not in ("tenant_id", "digest", "compared")}
    found = and_(_of_revision(revision.key), column.version == revision.version)
    statement = update(tables.policy_revisions).where(found).values({**changed, "version": revision.version + 1})
    if gathering.connection.execute(statement).rowcount != 1:
        raise Conflict(detail="the revision was updated since it was read")


def _compare(gathering: Gathering, operation: CompareShadow) -> None:
    column = tables.policy_revisions.c
    counted = {"compared": column.compared + operation.compared}
    connection = gathering.connection
    connection.execute(update(tables.policy_revisions).where(_of_revision(operation.key)).values(counted))
    known = select(tables.shadow_differences.c.decision).where(
        tables.shadow_differences.c.tenant_id == operation.key.tenant_id,
        tables.shadow_differences.c.digest == operation.key.digest,
        tables.shadow_differences.c.decision.in_([found.decision for found in operation.differences]),
    )
    there = set(connection.execute(known).scalars())
    fresh = [found for found in operation.differences if found.decision not in there]
    gathering.add(tables.shadow_differences, *map(rows.difference_cells, fresh))


def _approve(gathering: Gathering, operation: ApproveExemption) -> None:
    connection, column = gathering.connection, tables.exemptions.c
    mine = _of_exemption(operation.tenant_id, operation.exemption_id)
    row = connection.execute(select(column.state, column.quorum).where(mine)).one_or_none()
    if row is None:
        raise NotFound
    if row.state != ExemptionState.ASKED.value:
        raise Conflict("The exemption does not wait for approvals.")
    person = {"issuer": operation.person.issuer, "subject": operation.person.subject}
    named = {"tenant_id": operation.tenant_id, "exemption_id": operation.exemption_id}
    connection.execute(insert(tables.exemption_approvals), {**named, **person, "time_ns": operation.time_ns})
    approvals = tables.exemption_approvals.c
    counted = select(func.count()).where(
        approvals.tenant_id == operation.tenant_id, approvals.exemption_id == operation.exemption_id
    )
    if connection.execute(counted).scalar_one() >= row.quorum:
        connection.execute(update(tables.exemptions).where(mine).values(state=ExemptionState.APPROVED.value))


def _revoke(gathering: Gathering, tenant_id: bytes, exemption_id: bytes) -> None:
    live = and_(_of_exemption(tenant_id, exemption_id), tables.exemptions.c.state != ExemptionState.REVOKED.value)
    statement = update(tables.exemptions).where(live).values(state=ExemptionState.REVOKED.value)
    if gathering.connection.execute(statement).rowcount != 1:
        raise Conflict("The exemption was revoked before.")


def _use(gathering: Gathering, operation: UseExemptions, exemption_id: bytes) -> None:
    connection, key = gathering.connection, operation.key
    used = tables.exemption_uses.c
    mine = and_(used.tenant_id == key.tenant_id, used.exemption_id == exemption_id, used.job_id == key.job_id)
    if connection.execute(select(used.time_ns).where(mine)).first() is not None:
        return
    column = tables.exemptions.c
    usable = and_(
        _of_exemption(key.tenant_id, exemption_id),
        column.state == ExemptionState.APPROVED.value,
        column.uses < column.uses_max,
        column.expires_ns > operation.time_ns,
    )
    counted = update(tables.exemptions).where(usable).values(uses=column.uses + 1)
    if connection.execute(counted).rowcount != 1:
        raise ExemptionGone(metadata={"exemption": exemption_id.hex()})
    named = {"tenant_id": key.tenant_id, "exemption_id": exemption_id, "job_id": key.job_id}
    gathering.add(tables.exemption_uses, {**named, "time_ns": operation.time_ns})


def _of_revision(key: RevisionKey) -> ColumnElement[bool]:
    column = tables.policy_revisions.c
    return and_(column.tenant_id == key.tenant_id, column.digest == key.digest)


def _of_exemption(tenant_id: bytes, exemption_id: bytes) -> ColumnElement[bool]:
    column = tables.exemptions.c
    return and_(column.tenant_id == tenant_id, column.exemption_id == exemption_id)
