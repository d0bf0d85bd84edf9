"""Approvals: what other persons say of a job that was handed in and may not run without their word.

- Approving takes the role, and another person than the one who handed the job in; one person counts once.
- The approver names the manifest that they looked at. With the quorum that the job's own decision asks for, the job
  needs recipients; nothing was wrapped before, so no runner could have opened it.
- One refusal denies the job.
- Each word is a row, and a leaf that names the manifest and the person by digest.
"""

import asyncio
from collections.abc import Callable
from weakref import WeakValueDictionary

from carnet.core.decision import approvals_needed, parse_body
from carnet.core.errors import FactsMismatch, IllegalTransition, JobNotWaiting, NotFound, RequestIdReused
from carnet.core.job import JobState
from carnet.core.lifecycle import ApprovalRefused, Approved
from gateway.identity import Caller
from gateway.lives import Lives
from gateway.requests import done_before, remember_request
from gateway.roles import Role, check_other, person_digest, person_of, require
from gateway.storage import policyqueries
from gateway.storage.operations import Operation
from gateway.storage.policyoperations import InsertJobApproval
from gateway.storage.policyrecords import JobApproval, Person
from gateway.storage.records import JobKey, StoredJob
from gateway.storage.store import Store


class Approvals:
    """Takes approvals and refusals of jobs, for one gateway process."""

    def __init__(self, store: Store, lives: Lives, *, clock: Callable[[], int]) -> None:
        self._store = store
        self._lives = lives
        self._clock = clock
        self._turns: WeakValueDictionary[JobKey, asyncio.Lock] = WeakValueDictionary()

    async def approve(self, caller: Caller, job: StoredJob, *, manifest_digest: bytes, request_id: str) -> None:
        """One person's approval. Raises `RoleRequired`, `SecondPersonRequired`, `JobNotWaiting` or `FactsMismatch`."""
        require(caller, Role.JOB_APPROVER)
        person = person_of(caller)
        async with self._turns.setdefault(job.key, asyncio.Lock()):
            before = await self._store.read(policyqueries.approvers, job.key)
            if person in before:
                return
            await self._check(job, person)
            if manifest_digest != job.manifest_digest:
                raise FactsMismatch("The job has another manifest.", metadata={"field": "manifest_digest"})
            operations = self._said(caller, job, request_id, approved=True)
            if len(before) + 1 < await self._quorum(job):
                await self._note(job, person, operations)
                return
            await self._step(job, Approved(), person, operations)

    async def refuse(self, caller: Caller, job: StoredJob, *, request_id: str) -> None:
        """The end of the job. Raises like `approve`."""
        require(caller, Role.JOB_APPROVER)
        person = person_of(caller)
        async with self._turns.setdefault(job.key, asyncio.Lock()):
            if await done_before(self._store, caller, request_id, _body(job, person, approved=False)) is not None:
                return
            await self._check(job, person)
            before = await self._store.read(policyqueries.approvers, job.key)
            # Whoever approved first and thinks better of it is a row already; the leaf says the rest.
            operations = self._said(caller, job, request_id, approved=False)[int(person in before) :]
            await self._step(job, ApprovalRefused(), person, operations)

    async def _check(self, job: StoredJob, person: Person) -> None:
        if job.life.state is not JobState.AWAITING_APPROVAL:
            raise JobNotWaiting("The job does not wait for an approval.", metadata={"state": job.life.state})
        requester = (await self._lives.dossier(job)).requester
        check_other(person, Person(issuer=requester.issuer, subject=requester.subject))

    async def _quorum(self, job: StoredJob) -> int:
        decision = await self._store.decision(job.decision_digest)
        if decision is None:
            raise NotFound(detail="a job without its decision")
        return approvals_needed(parse_body(decision.body).obligations)

    def _said(self, caller: Caller, job: StoredJob, request_id: str, *, approved: bool) -> tuple[Operation, ...]:
        now_ns = self._clock()
        approval = JobApproval(key=job.key, person=person_of(caller), approved=approved, time_ns=now_ns)
        body = _body(job, approval.person, approved=approved)
        return (InsertJobApproval(approval=approval), remember_request(caller, request_id, body, now_ns=now_ns))

    async def _note(self, job: StoredJob, person: Person, operations: tuple[Operation, ...]) -> None:
        await self._lives.amend(
            job.key, lambda current: (current, operations), leaf="job.approved", person=person_digest(person)
        )

    async def _step(
        self, job: StoredJob, event: Approved | ApprovalRefused, person: Person, operations: tuple[Operation, ...]
    ) -> None:
        leaf = "job.approved" if isinstance(event, Approved) else "job.refused"
        try:
            written = await self._lives.step(
                job.key, event, operations=operations, leaf=leaf, person=person_digest(person)
            )
        except IllegalTransition:
            raise JobNotWaiting("The job does not wait for an approval.") from None
        if not written.applied:
            raise RequestIdReused


def _body(job: StoredJob, person: Person, *, approved: bool) -> bytes:
    return job.key.job_id + job.manifest_digest + person_digest(person) + bytes([approved])
