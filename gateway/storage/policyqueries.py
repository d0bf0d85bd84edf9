"""What may be read of overlays, exemptions and approvals; the rules are those of `queries.py`."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, func, or_, select

from carnet.core import limits
from gateway.storage import policyrows as rows
from gateway.storage import policytables as tables
from gateway.storage.policyrecords import (
    Person,
    RevisionKey,
    RevisionState,
    StoredDifference,
    StoredExemption,
    StoredRevision,
)
from gateway.storage.records import JobKey
from gateway.storage.rows import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """Where the page before ended: a time, and the id of its last row."""

    time_ns: int
    id: bytes


# --- revisions of overlays -----------------------------------------------------------------------------------------


def owner(connection: Connection, overlay: str) -> bytes | None:
    """The tenant that has this overlay's name."""
    column = tables.overlays.c
    return connection.execute(select(column.tenant_id).where(column.overlay == overlay)).scalar_one_or_none()


def revision(connection: Connection, key: RevisionKey) -> StoredRevision | None:
    """One revision."""
    column = tables.policy_revisions.c
    found = select(tables.policy_revisions).where(column.tenant_id == key.tenant_id, column.digest == key.digest)
    row = connection.execute(found).one_or_none()
    return None if row is None else rows.revision_value(row)


def files(connection: Connection, key: RevisionKey) -> bytes | None:
    """The packed files of one revision."""
    column = tables.policy_files.c
    found = select(column.files).where(column.tenant_id == key.tenant_id, column.digest == key.digest)
    return connection.execute(found).scalar_one_or_none()


def revisions_of(
    connection: Connection, tenant_id: bytes, *, after: After | None = None, limit: int = limits.page_size_default
) -> tuple[StoredRevision, ...]:
    """A tenant's revisions, newest first, from the one after `after` on."""
    column = tables.policy_revisions.c
    found = select(tables.policy_revisions).where(column.tenant_id == tenant_id)
    page = _page(found, column.created_ns, column.digest, after, limit)
    return tuple(map(rows.revision_value, connection.execute(page)))


def revisions_deciding(connection: Connection) -> tuple[StoredRevision, ...]:
    """The active and the shadow revisions of all tenants, by tenant: what must be live after a start."""
    column = tables.policy_revisions.c
    deciding = or_(column.state == RevisionState.ACTIVE.value, column.shadow)
    found = select(tables.policy_revisions).where(deciding).order_by(column.tenant_id, column.digest)
    return tuple(map(rows.revision_value, connection.execute(found)))


def differences_of(
    connection: Connection, key: RevisionKey, *, after: After | None = None, limit: int = limits.page_size_default
) -> tuple[StoredDifference, ...]:
    """What a shadow said otherwise, newest first."""
    column = tables.shadow_differences.c
    found = select(tables.shadow_differences).where(column.tenant_id == key.tenant_id, column.digest == key.digest)
    page = _page(found, column.time_ns, column.decision, after, limit)
    return tuple(map(rows.difference_value, connection.execute(page)))


# --- exemptions ------------------------------------------------------------------------------------------------------


def exemption(connection: Connection, tenant_id: bytes, exemption_id: bytes) -> StoredExemption | None:
    """One exemption, with who approved it."""
    column = tables.exemptions.c
    found = select(tables.exemptions).where(column.tenant_id == tenant_id, column.exemption_id == exemption_id)
    return next(iter(_exemptions(connection, found)), None)


def exemptions_of(
    connection: Connection, tenant_id: bytes, *, after: After | None = None, limit: int = limits.page_size_default
) -> tuple[StoredExemption, ...]:
    """A tenant's exemptions, newest first, whatever became of them."""
    column = tables.exemptions.c
    found = select(tables.exemptions).where(column.tenant_id == tenant_id)
    return _exemptions(connection, _page(found, column.created_ns, column.exemption_id, after, limit))


def exemptions_granted(connection: Connection, tenant_id: bytes, *, now_ns: int) -> tuple[StoredExemption, ...]:
    """A tenant's exemptions that may count now: approved, not expired, with uses left; the oldest first."""
    column = tables.exemptions.c
    found = (
        select(tables.exemptions)
        .where(column.tenant_id == tenant_id, column.state == "approved")
        .where(column.expires_ns > now_ns, column.uses < column.uses_max)
        .order_by(column.created_ns, column.exemption_id)
        .limit(limits.exemptions_max)
    )
    return _exemptions(connection, found)


def exemptions_used(connection: Connection, key: JobKey) -> tuple[StoredExemption, ...]:
    """The exemptions that a job was accepted with, whatever became of them since."""
    column, used = tables.exemptions.c, tables.exemption_uses.c
    same = and_(column.tenant_id == used.tenant_id, column.exemption_id == used.exemption_id)
    found = select(tables.exemptions).join(tables.exemption_uses, same)
    found = found.where(used.tenant_id == key.tenant_id, used.job_id == key.job_id)
    return _exemptions(connection, found.order_by(column.created_ns, column.exemption_id))


# --- approvals of jobs -----------------------------------------------------------------------------------------------


def approvers(connection: Connection, key: JobKey) -> tuple[Person, ...]:
    """Who approved a job, each once."""
    column = tables.job_approvals.c
    found = select(column.issuer, column.subject).where(_of_job(tables.job_approvals, key), column.approved)
    return tuple(Person(issuer=issuer, subject=subject) for issuer, subject in connection.execute(found))


def approvals(connection: Connection, key: JobKey) -> int:
    """How many persons approved a job."""
    column = tables.job_approvals.c
    found = select(func.count()).where(_of_job(tables.job_approvals, key), column.approved)
    return connection.execute(found).scalar_one()


def _exemptions(connection: Connection, found: Select[tuple[Cell, ...]]) -> tuple[StoredExemption, ...]:
    every = connection.execute(found).all()
    column = tables.exemption_approvals.c
    named = select(tables.exemption_approvals).where(
        column.tenant_id.in_({row.tenant_id for row in every}),
        column.exemption_id.in_({row.exemption_id for row in every}),
    )
    persons: dict[tuple[bytes, bytes], list[Person]] = {}
    for row in connection.execute(named.order_by(column.time_ns, column.issuer, column.subject)) if every else ():
        person = Person(issuer=row.issuer, subject=row.subject)
        persons.setdefault((row.tenant_id, row.exemption_id), []).append(person)
    return tuple(rows.exemption_value(row, persons.get((row.tenant_id, row.exemption_id), ())) for row in every)


def _page(
    found: Select[tuple[Cell, ...]],
    time_ns: ColumnElement[int],
    name: ColumnElement[bytes],
    after: After | None,
    limit: int,
) -> Select[tuple[Cell, ...]]:
    if after is not None:
        same_time = and_(time_ns == after.time_ns, name < after.id)
        found = found.where(or_(time_ns < after.time_ns, same_time))
    return found.order_by(time_ns.desc(), name.desc()).limit(max(1, min(limit, limits.page_size_max)))


def _of_job(table: Table, key: JobKey) -> ColumnElement[bool]:
    return and_(table.c.tenant_id == key.tenant_id, table.c.job_id == key.job_id)
