"""Offering: one claim, step by step: policy asked again, the decision's leaf, the grant, the lease, the offer.

- The dispatch decision, its line in the decision log and its leaf are durable before the grant is signed, and the
  grant names the checkpoint that covers them.
- Attempt and lease are durable before the offer goes down the stream. A crash in between leaves an attempt that no
  runner ever heard of; it is found by having no lease.
- One runner's offers are made one after the other: it takes no checkpoint that is older than one that it has seen.
- A runner that does not take the offer off its stream has lost the attempt.
"""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from carnet import statements
from carnet.core import limits
from carnet.core.errors import IllegalTransition, LeaseLost, Unavailable
from carnet.core.job import JobState as State
from carnet.core.lease import Grant, grant_lease
from carnet.core.lifecycle import AttemptLost, Claimed, Contender
from carnet.core.statement import Signed, Signer
from carnet.wire import Logged, signed_to_bytes
from gateway.decisionlog import DecisionLog, Line
from gateway.judge import Judge, Passage, RunnerDenied, stored_decision
from gateway.lives import Dossier, Fence, Lives
from gateway.messages import offer_message
from gateway.metrics import Metrics
from gateway.roster import Presence, Roster
from gateway.standing import Standing
from gateway.storage.blobs import BlobStore
from gateway.storage.decisionlog import Stage
from gateway.storage.operations import InsertAttempt, InsertDecision, Operation
from gateway.storage.records import StoredAttempt, StoredJob
from gateway.storage.store import Store
from gateway.storage.wraps import WrapGone, WrapKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What dispatch works with; joined in parts.py."""

    store: Store
    lives: Lives
    wraps: WrapKeys
    blobs: BlobStore
    roster: Roster
    standing: Standing
    judge: Judge
    decisions: DecisionLog
    signer: Signer
    metrics: Metrics
    clock: Callable[[], int]
    lease_seconds: int = limits.lease_seconds


class Offering:
    """Makes the offers of one gateway process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lives = parts.lives
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def offer(self, job: StoredJob, contender: Contender, presence: Presence) -> bytes:
        """Make one offer; the grant's digest. Raises `PolicyDenied`, or `RunnerDenied` for this runner alone."""
        dossier = await self._lives.dossier(job)
        wrap = await self._open_wrap(job, contender)
        passage = await self.recheck(job, presence, contender.kid)
        line = await self._parts.decisions.line(passage, stage=Stage.DISPATCHED, job_id=job.key.job_id)
        async with self._turn(contender.spiffe_id):
            return await self._make(job, contender, presence, passage, line, dossier, wrap)

    def _turn(self, spiffe_id: str) -> AbstractAsyncContextManager[None]:
        return self._turns.setdefault(spiffe_id, asyncio.Lock())

    async def _make(
        self,
        job: StoredJob,
        contender: Contender,
        presence: Presence,
        passage: Passage,
        line: Line,
        dossier: Dossier,
        wrap: bytes,
    ) -> bytes:
        written = await self._lives.step(
            job.key,
            Claimed(spiffe_id=contender.spiffe_id),
            operations=(
                InsertDecision(decision=stored_decision(passage.record, passage.signed, passage.body, dossier.facts)),
                line.operation,
            ),
            leaf="decision.dispatched",
            record=passage.record.digest,
            body=passage.body.digest,
            permit=passage.permit.digest,
            line=line.event_digest,
            input=line.input_digest,
        )
        logged = written.logged[0]
        signed_grant = await self._grant(written.jobs[0], contender, presence, passage, logged)
        offer = offer_message(
            dossier.documents, permit=passage.signed_permit, grant=signed_grant, decision=logged, wrap=wrap
        )
        grant_digest = hashlib.sha256(signed_grant.payload).digest()
        try:
            presence.send(offer)
        except Unavailable:
            fence = held_by(presence, grant_digest)
            await self._lives.step(job.key, AttemptLost(reason="RUNNER_GONE"), fence=fence)
        return grant_digest

    async def recheck(self, job: StoredJob, presence: Presence, kid: bytes) -> Passage:
        """Ask policy again for this runner, under the decision that its key was sealed under."""
        dossier = await self._lives.dossier(job)
        prepared = dossier.prepared_for(kid)
        return await self._parts.judge.recheck(
            dossier.facts,
            await self._parts.standing.now(job.key, dossier.requester, dossier.facts),
            presence.runner,
            prepared=prepared.body,
            prepared_digest=prepared.digest,
            manifest_digest=job.manifest_digest,
            tenant_id=job.key.tenant_id,
        )

    async def _grant(
        self, job: StoredJob, contender: Contender, presence: Presence, passage: Passage, logged: Logged
    ) -> Signed:
        unsigned = Grant(
            payload=b"",
            manifest_digest=job.manifest_digest,
            attempt=job.life.attempt,
            spiffe_id=contender.spiffe_id,
            kid=contender.kid,
            permit_digest=passage.permit.digest,
            checkpoint=logged.checkpoint.encode(),
            issued_ns=self._parts.clock(),
        )
        grant, signed = statements.GRANT.sign(unsigned, self._parts.signer)

        def hold(current: StoredJob) -> tuple[StoredJob, tuple[Operation, ...]]:
            if current.life.attempt != grant.attempt or current.life.state is not State.DISPATCHING:
                raise IllegalTransition(detail="the job went on before its grant")
            lease = grant_lease(
                attempt=grant.attempt,
                spiffe_id=grant.spiffe_id,
                grant_digest=grant.digest,
                permit_until_ns=passage.permit.valid_until_ns,
                now_ns=self._parts.clock(),
                lease_seconds=self._parts.lease_seconds,
            )
            attempt = _stored_attempt(current, contender, presence, passage, grant, signed)
            return replace(current, lease=lease), (InsertAttempt(attempt=attempt),)

        await self._lives.amend(job.key, hold)
        return signed

    async def _open_wrap(self, job: StoredJob, contender: Contender) -> bytes:
        sealed = await self._parts.store.wrap(job.key, contender.kid)
        if sealed is None:
            raise RunnerDenied("The wrap for this runner is gone.")
        try:
            return await asyncio.to_thread(self._parts.wraps.open, job.key, sealed)
        except WrapGone as error:
            raise RunnerDenied("The wrap for this runner is gone.") from error


def _stored_attempt(
    job: StoredJob, contender: Contender, presence: Presence, passage: Passage, grant: Grant, signed: Signed
) -> StoredAttempt:
    shown = presence.runner.presented
    return StoredAttempt(
        key=job.key,
        attempt=grant.attempt,
        spiffe_id=contender.spiffe_id,
        jurisdiction=contender.jurisdiction,
        kid=contender.kid,
        grant_digest=grant.digest,
        decision_digest=passage.record.digest,
        permit=signed_to_bytes(passage.signed_permit),
        grant=signed_to_bytes(signed),
        chain=shown.chain,
        status=signed_to_bytes(shown.status),
        ownership=signed_to_bytes(shown.ownership),
        card=signed_to_bytes(shown.card),
    )


def held_by(presence: Presence, grant_digest: bytes) -> Fence:
    """The fence of one grant: `LeaseLost` unless this runner holds it now."""
    return lambda job: check_held(job, presence.runner.spiffe_id, grant_digest)


def check_held(job: StoredJob, spiffe_id: str, grant_digest: bytes) -> None:
    """Raise `LeaseLost` unless this runner holds the job by this grant."""
    lease = job.lease
    if lease is None or (lease.grant_digest, lease.spiffe_id) != (grant_digest, spiffe_id):
        raise LeaseLost
