"""The decision log in rows: how its lines are written, read and forgotten.

Rules:
- The tenant is part of every query, and a list is bounded by its `limit`, at most `page_size_max`.
- A list goes by time and digest, so that a page can be taken up where it ended.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, or_, select

from carnet.core import limits
from carnet.core.decision import Verdict
from gateway.storage import rows, tables
from gateway.storage.decisionlog import DecisionEvent, DecisionLine, LogDecision, Stage
from gateway.storage.gathering import Gathering
from gateway.storage.records import StoredJob

_line: Final = tables.decision_log.c
_event: Final = tables.decision_events.c
_jobs: Final = tables.jobs.c
_time_max: Final = 2**63 - 1  # a caller's time may have 64 bits, and a row's has 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which lines: half-open in time, ns since 1970 UTC; no end is 0, and any verdict is the empty word."""

    from_ns: int = 0
    until_ns: int = 0
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterLine:
    """Where the page before ended."""

    created_ns: int
    digest: bytes


def line(connection: Connection, tenant_id: bytes, digest: bytes) -> DecisionLine | None:
    """One line of a tenant."""
    found = select(tables.decision_log).where(_line.tenant_id == tenant_id, _line.digest == digest)
    row = connection.execute(found).one_or_none()
    return None if row is None else _line_value(row)


def newest_lines(
    connection: Connection, tenant_id: bytes, window: Window, *, after: AfterLine | None, limit: int
) -> tuple[DecisionLine, ...]:
    """A tenant's lines in a window, newest first, from the one after `after` on."""
    found = select(tables.decision_log).where(_within(tenant_id, window))
    if after is not None:
        same_time = and_(_line.created_ns == after.created_ns, _line.digest < after.digest)
        found = found.where(or_(_line.created_ns < after.created_ns, same_time))
    found = found.order_by(_line.created_ns.desc(), _line.digest.desc()).limit(_bounded(limit))
    return tuple(map(_line_value, connection.execute(found)))


def oldest_lines(
    connection: Connection, tenant_id: bytes, window: Window, *, after: AfterLine | None, limit: int
) -> tuple[DecisionLine, ...]:
    """The same, oldest first."""
    found = select(tables.decision_log).where(_within(tenant_id, window))
    if after is not None:
        same_time = and_(_line.created_ns == after.created_ns, _line.digest > after.digest)
        found = found.where(or_(_line.created_ns > after.created_ns, same_time))
    found = found.order_by(_line.created_ns, _line.digest).limit(_bounded(limit))
    return tuple(map(_line_value, connection.execute(found)))


def event(connection: Connection, digest: bytes) -> DecisionEvent | None:
    """What is still kept of a decision's event and input."""
    row = connection.execute(select(tables.decision_events).where(_event.digest == digest)).one_or_none()
    if row is None:
        return None
    cells = row._mapping
    return DecisionEvent(**{name: cells[name] for name in ("digest", "event", "sealed_input", "until_ns")})


def decided_under(connection: Connection, tenant_id: bytes, bundle: str) -> bool:
    """Whether a bundle ever decided for this tenant."""
    found = select(_line.digest).where(_line.tenant_id == tenant_id, _line.bundle == bundle).limit(1)
    return connection.execute(found).first() is not None


def jobs_decided(connection: Connection, lines: Collection[DecisionLine]) -> dict[bytes, StoredJob]:
    """By the digest of the decision: the job that was dispatched by it, or the newest that was submitted under it."""
    if not lines:
        return {}
    tenants = {each.tenant_id for each in lines}
    names = {each.job_id for each in lines if each.job_id}
    digests = {each.digest for each in lines if not each.job_id}
    wanted = or_(_jobs.job_id.in_(names), _jobs.decision_digest.in_(digests))
    found = select(tables.jobs).where(_jobs.tenant_id.in_(tenants), wanted).order_by(_jobs.created_ns, _jobs.job_id)
    jobs = [rows.job_value(row) for row in connection.execute(found)]
    by_name = {(job.key.tenant_id, job.key.job_id): job for job in jobs}
    by_decision = {(job.key.tenant_id, job.decision_digest): job for job in jobs}
    places = {
        each.digest: by_name.get((each.tenant_id, each.job_id))
        if each.job_id
        else by_decision.get((each.tenant_id, each.digest))
        for each in lines
    }
    return {digest: job for digest, job in places.items() if job is not None}


def insert_line(gathering: Gathering, operation: LogDecision) -> None:
    """Write a line and its event, once."""
    made, kept = operation.line, operation.event
    if made.digest in gathering.lines:
        return
    gathering.lines.add(made.digest)
    if gathering.untouched.execute(select(_line.digest).where(_line.digest == made.digest)).first() is None:
        gathering.add(tables.decision_log, _line_cells(made))
        gathering.add(
            tables.decision_events,
            {
                "digest": kept.digest,
                "event": kept.event,
                "sealed_input": kept.sealed_input,
                "until_ns": kept.until_ns,
            },
        )


def forget_events(connection: Connection, now_ns: int) -> None:
    """Remove events and sealed inputs whose time has passed."""
    connection.execute(delete(tables.decision_events).where(_event.until_ns <= now_ns))


def _within(tenant_id: bytes, window: Window) -> ColumnElement[bool]:
    wanted = and_(_line.tenant_id == tenant_id, _line.created_ns >= min(window.from_ns, _time_max))
    if window.until_ns:
        wanted = and_(wanted, _line.created_ns < min(window.until_ns, _time_max))
    return and_(wanted, _line.verdict == window.verdict) if window.verdict else wanted


def _line_cells(made: DecisionLine) -> rows.Cells:
    return {
        "digest": made.digest,
        "tenant_id": made.tenant_id,
        "stage": made.stage.value,
        "verdict": made.verdict.value,
        "bundle": made.bundle,
        "created_ns": made.created_ns,
        "job_id": made.job_id or None,
    }


def _line_value(row: Row[tuple[rows.Cell, ...]]) -> DecisionLine:
    cells = row._mapping
    return DecisionLine(
        digest=cells["digest"],
        tenant_id=cells["tenant_id"],
        stage=Stage(cells["stage"]),
        verdict=Verdict(cells["verdict"]),
        bundle=cells["bundle"],
        created_ns=cells["created_ns"],
        job_id=cells["job_id"] or b"",
    )


def _bounded(limit: int) -> int:
    return max(1, min(limit, limits.page_size_max))
