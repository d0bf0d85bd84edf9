"""Lives: every job that has not ended, in memory as it is stored, and the one way to change it.

- Whatever happens to a job goes through `step`: under the job's own lock, `advance` gives the next job and the effects;
  job row, event row and audit leaf are one transaction; only then is the change seen here. A step that fails leaves
  nothing behind.
- A `fence` is held under the lock, before anything else: a late runner is refused there.
- A step is done whole: a caller that hangs up leaves memory and rows alike. Where a commit's outcome is not known, the
  row is read again.
- Effects that are rows (wraps destroyed, outcome leaf) are part of the transaction; the others are handed back. So is
  what a job counted in the ledger, where it ends and no attempt of it was ever made: it is taken back.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from carnet import statements
from carnet.core.decision import DecisionBody, parse_body
from carnet.core.errors import CarnetError, IllegalTransition, LeaseLost, NotFound, StoreUnavailable
from carnet.core.facts import JobFacts, parse_facts
from carnet.core.job import Addendum, Manifest
from carnet.core.job import JobState as State
from carnet.core.lifecycle import AttemptLost, DropWraps, Effect, Event, LogOutcome, RecipientsAdded, advance
from carnet.wire import audit_entry, signed_from_bytes
from gateway.bells import Bells
from gateway.metrics import Metrics
from gateway.storage.operations import Batch, DeleteWraps, Operation, ReleaseVolumes, UpdateJob, Written
from gateway.storage.records import Conflict, JobDocuments, JobKey, NewEntry, NewEvent, StoredJob
from gateway.storage.store import Store
from gateway.whole import whole
from policy.engine import GatewayFacts

ENDED: Final = frozenset(state for state in State if state.terminal)

Fence = Callable[[StoredJob], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The prepare decision that manifest or addendum names for a recipient: its digest, and its body."""

    digest: bytes
    body: DecisionBody


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """What a job's documents say, parsed once: its facts, who asked, and the decisions that it was sealed under."""

    documents: JobDocuments
    facts: JobFacts
    requester: GatewayFacts
    prepared: dict[bytes, Prepared]

    def prepared_for(self, kid: bytes) -> Prepared:
        """The decision for this recipient. Raises `NotFound` where no signed document lists the key."""
        found = self.prepared.get(kid)
        if found is None:
            raise NotFound(detail="no signed document lists this key")
        return found


class Lives:
    """The jobs of one gateway process. `on_step` hears of every change, with the effects that are left to carry out."""

    def __init__(self, store: Store, bells: Bells, metrics: Metrics, *, clock: Callable[[], int]) -> None:
        self._store = store
        self._bells = bells
        self._metrics = metrics
        self._clock = clock
        self._active: dict[JobKey, StoredJob] = {}
        self._grants: dict[bytes, JobKey] = {}
        self._locks: dict[JobKey, asyncio.Lock] = {}
        self._dossiers: dict[JobKey, Dossier] = {}
        self.on_step: Callable[[StoredJob, StoredJob, tuple[Effect, ...]], None] = lambda *_: None

    async def load(self) -> tuple[StoredJob, ...]:
        """Read every job that has not ended, after a start."""
        jobs = await self._store.jobs_in_states(frozenset(State) - ENDED)
        for job in jobs:
            self.adopt(job)
        return tuple(jobs)

    def adopt(self, job: StoredJob) -> None:
        """Take in a job as it is stored."""
        self._active[job.key] = job
        if job.lease is not None:
            self._grants[job.lease.grant_digest] = job.key
        self._bells.ring(job.key)

    def all(self) -> tuple[StoredJob, ...]:
        """Every job that has not ended."""
        return tuple(self._active.values())

    def find(self, key: JobKey) -> StoredJob | None:
        """The job of this name, unless it has ended."""
        return self._active.get(key)

    def of_grant(self, grant_digest: bytes) -> StoredJob:
        """The job of a live grant. Raises `LeaseLost` where there is none."""
        key = self._grants.get(grant_digest)
        job = self._active.get(key) if key is not None else None
        if job is None or job.lease is None or job.lease.grant_digest != grant_digest:
            raise LeaseLost
        return job

    async def step(
        self,
        key: JobKey,
        event: Event,
        *,
        operations: Iterable[Operation] = (),
        entries: Iterable[NewEntry] = (),
        fence: Fence | None = None,
        leaf: str = "",
        **digests: bytes,
    ) -> Written:
        """One event in a job's life, durable on return. Raises `IllegalTransition`, or what the fence raises.

        The event's own leaf comes first (`leaf` names another kind of it), then an outcome, then `entries`. Where the
        operations remember a request that was done before, nothing is done: `applied` is False.
        """
        return await whole(self._step(key, event, tuple(operations), tuple(entries), fence, leaf, digests))

    async def _step(
        self,
        key: JobKey,
        event: Event,
        operations: tuple[Operation, ...],
        entries: tuple[NewEntry, ...],
        fence: Fence | None,
        leaf: str,
        digests: dict[str, bytes],
    ) -> Written:
        async with self._lock(key):
            before = self._job(key)
            if fence is not None:
                fence(before)
            now_ns = self._clock()
            life, effects = advance(before.life, event, now_ns=now_ns)
            held = life.runner and not life.state.terminal and before.life.attempt == life.attempt
            after = replace(before, life=life, updated_ns=now_ns, lease=before.lease if held else None)
            kind = kind_of(event)
            leaves = _leaves(before, effects, kind=f"job.{kind}", leaf=leaf, time_ns=now_ns, digests=digests)
            drops: list[Operation] = [DeleteWraps(key=key) for effect in effects if isinstance(effect, DropWraps)]
            if life.state.terminal and life.attempt == 0:  # an attempt counts, whatever became of its offer
                drops.append(ReleaseVolumes(key=key))
            happened = NewEvent.of(kind, life, time_ns=now_ns)
            if isinstance(event, AttemptLost):
                happened = replace(happened, reason=event.reason)
            update = UpdateJob(job=after, events=(happened,))
            written = await self._write(key, Batch(operations=(update, *operations, *drops), entries=leaves + entries))
            if not written.applied:
                return written
            self._see(written.jobs[0])
            if isinstance(event, RecipientsAdded):
                self._dossiers.pop(key, None)
        self._metrics.job_events.labels(kind).inc()
        self.on_step(before, written.jobs[0], effects)
        self._bells.ring(key)
        return written

    async def amend(
        self,
        key: JobKey,
        change: Callable[[StoredJob], tuple[StoredJob, tuple[Operation, ...]]],
        *,
        leaf: str = "",
        **digests: bytes,
    ) -> StoredJob:
        """Change a job's row without an event (a lease): `change` is called under the lock, and may raise."""
        return await whole(self._amend(key, change, leaf, digests))

    async def _amend(
        self,
        key: JobKey,
        change: Callable[[StoredJob], tuple[StoredJob, tuple[Operation, ...]]],
        leaf: str,
        digests: dict[str, bytes],
    ) -> StoredJob:
        async with self._lock(key):
            job, operations = change(self._job(key))
            entries = (_entry(job, kind=leaf, time_ns=self._clock(), digests=digests),) if leaf else ()
            written = await self._write(key, Batch(operations=(UpdateJob(job=job), *operations), entries=entries))
            self._see(written.jobs[0])
            return written.jobs[0]

    async def _write(self, key: JobKey, batch: Batch) -> Written:
        try:
            return await self._store.write(batch)
        except (Conflict, StoreUnavailable):
            # It may have been committed all the same; what is stored is what is so.
            with contextlib.suppress(CarnetError):
                stored = await self._store.job(key)
                if stored is not None:
                    self._see(stored)
            raise

    async def dossier(self, job: StoredJob) -> Dossier:
        """What a job's documents say."""
        found = self._dossiers.get(job.key)
        if found is None:
            documents = await self._store.documents(job.key)
            if documents is None:
                raise NotFound(detail="a job without documents")
            found = Dossier(
                documents=documents,
                facts=parse_facts(documents.facts),
                requester=GatewayFacts.parse(documents.requester),
                prepared=await self._prepared(documents),
            )
            self._dossiers[job.key] = found
        return found

    async def _prepared(self, documents: JobDocuments) -> dict[bytes, Prepared]:
        manifest = statements.MANIFEST.parse(signed_from_bytes(documents.manifest).payload)
        addenda = (statements.ADDENDUM.parse(signed_from_bytes(data).payload) for data in documents.addenda)
        found: dict[bytes, Prepared] = {}
        documents_signed: tuple[Manifest | Addendum, ...] = (manifest, *addenda)
        for signed in documents_signed:
            decision = await self._store.decision(signed.decision_digest)
            if decision is None:
                raise NotFound(detail="a job without its decision")
            prepared = Prepared(digest=signed.decision_digest, body=parse_body(decision.body))
            found |= {recipient.kid: prepared for recipient in signed.recipients}
        return found

    def _see(self, job: StoredJob) -> None:
        before = self._active.get(job.key)
        if before is not None and before.lease is not None:
            self._grants.pop(before.lease.grant_digest, None)
        if job.life.state.terminal:
            for table in (self._active, self._dossiers, self._locks):
                table.pop(job.key, None)
            return
        self._active[job.key] = job
        if job.lease is not None:
            self._grants[job.lease.grant_digest] = job.key

    def _job(self, key: JobKey) -> StoredJob:
        job = self._active.get(key)
        if job is None:
            self._locks.pop(key, None)
            raise IllegalTransition("The job has ended.")
        return job

    def _lock(self, key: JobKey) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())


def kind_of(event: Event) -> str:
    """The word for an event, in rows and leaves: AttemptLost is `attempt_lost`."""
    name = type(event).__name__
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


def _leaves(
    job: StoredJob, effects: tuple[Effect, ...], *, kind: str, leaf: str, time_ns: int, digests: dict[str, bytes]
) -> tuple[NewEntry, ...]:
    outcome = ("job.outcome",) if any(isinstance(effect, LogOutcome) for effect in effects) else ()
    kinds = (*([leaf] if leaf else []), *outcome) or (kind,)
    return tuple(_entry(job, kind=name, time_ns=time_ns, digests=digests) for name in kinds)


def _entry(job: StoredJob, *, kind: str, time_ns: int, digests: dict[str, bytes]) -> NewEntry:
    entry = audit_entry(
        kind,
        time_ns=time_ns,
        tenant_id=job.key.tenant_id,
        job_id=job.key.job_id,
        manifest=job.manifest_digest,
        **digests,
    )
    return NewEntry(kind=kind, data=entry.to_bytes(), key=job.key, subject=digests.get("record", b""))
