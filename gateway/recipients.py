"""Recipients: more of them for a job whose list is used up, added by its owner while it waits.

- The addendum is signed by a client of the tenant, under a key set that is no older than any that was seen and is
  stored with it; it names the one before it (the first names the manifest), and stays within the places that the
  manifest allows.
- It names a fresh decision about the very facts of the job; every recipient is on that decision's short list. Approvals
  that it rests on must be this very job's.
- What it would add to the ledger is weighed under the tenant's lock like a new submission, by both stages for every
  recipient, and exemptions that it used are counted: a job that waited for its approval had no runner to be weighed
  with before.
- A key that was listed before is refused: no recipient is tried twice under the same key.
- Wraps go the way of the first ones: sealed under the day's key, apart from everything.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from carnet.authorship import Written, open_written
from carnet.core.decision import approvals_needed, check_record, check_usable, recipients_max
from carnet.core.errors import ApprovalRequired, FactsMismatch, FieldInvalid, IllegalTransition, JobNotWaiting
from carnet.core.job import Addendum, JobState
from carnet.core.lifecycle import Contender, RecipientsAdded
from carnet.pins import Pins
from carnet.v1 import jobs_pb2 as pb
from carnet.verdict import Decided, check_tenant, open_decision
from carnet.wire import signed_from_bytes, signed_from_proto, signed_to_bytes
from gateway.exemptions import Exemptions
from gateway.identity import Caller
from gateway.judge import Judge
from gateway.keysets import KeySets
from gateway.ledger import Ledger
from gateway.lives import Dossier, Lives
from gateway.requests import done_before, remember_request
from gateway.roster import Roster
from gateway.standing import Standing
from gateway.storage import policyqueries
from gateway.storage.operations import CountVolumes, InsertAddendum, InsertWraps, Operation
from gateway.storage.policyoperations import SetRequester
from gateway.storage.policyrecords import StoredExemption
from gateway.storage.records import SealedWrap, StoredJob
from gateway.storage.store import Store
from gateway.storage.wraps import WrapKeys, day_of
from policy.engine import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What additions work with; joined in services.py."""

    store: Store
    lives: Lives
    wraps: WrapKeys
    ledger: Ledger
    key_sets: KeySets
    standing: Standing
    exemptions: Exemptions
    judge: Judge
    roster: Roster
    pins: Pins
    clock: Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Addition:
    """An addendum that was found good, with the decision that it names and the job as it was."""

    job: StoredJob
    dossier: Dossier
    addendum: Addendum
    decided: Decided

    @property
    def runners(self) -> list[str]:
        return [recipient.spiffe_id for recipient in self.addendum.recipients]


class Recipients:
    """Takes addenda in, for one gateway process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def add(self, caller: Caller, job: StoredJob, request: pb.AddRecipientsRequest) -> None:
        """Add recipients. Raises what is wrong with the addendum, `ApprovalRequired`, or `JobNotWaiting`."""
        signed = signed_from_proto(request.addendum)
        if await done_before(self._parts.store, caller, request.request_id, signed.payload) is not None:
            return
        _check_waits(job)
        dossier = await self._parts.lives.dossier(job)
        written = self._open(caller, dossier, request)
        await self._parts.key_sets.note(written.key_set)
        addendum = written.addenda[-1]
        decided = self._decide(caller, dossier, addendum, request)
        _check_recipients(addendum, decided, job, wraps=len(request.wraps))
        if approvals_needed(decided.body.obligations) > await self._parts.store.read(policyqueries.approvals, job.key):
            raise ApprovalRequired
        addition = _Addition(job=job, dossier=dossier, addendum=addendum, decided=decided)
        async with self._parts.exemptions.holding(job.key, decided.body) as held:

            async def weigh(volumes: tuple[Volume, ...]) -> None:
                told = await self._parts.standing.now(job.key, dossier.requester, dossier.facts, held=held)
                told = replace(told, volumes=volumes)
                runners = self._parts.roster.facts_of(addition.runners, now_ns=self._parts.clock())
                weighed = await self._parts.judge.weigh(dossier.facts, told, runners, prepared=decided.body)
                weighed.check(addition.runners)

            async with self._parts.ledger.holding(job.key, dossier.facts, addition.runners, weigh) as volumes:
                await self._keep(caller, addition, request, volumes, held)

    async def _keep(
        self,
        caller: Caller,
        addition: _Addition,
        request: pb.AddRecipientsRequest,
        volumes: tuple[Volume, ...],
        held: tuple[StoredExemption, ...],
    ) -> None:
        job, addendum, now_ns = addition.job, addition.addendum, self._parts.clock()
        sealed = await asyncio.to_thread(self._seal, job, addendum, tuple(request.wraps), now_ns)
        signed = signed_from_proto(request.addendum)
        contenders = tuple(
            Contender(spiffe_id=r.spiffe_id, jurisdiction=r.jurisdiction, kid=r.kid) for r in addendum.recipients
        )
        try:
            await self._parts.lives.step(
                job.key,
                RecipientsAdded(contenders=contenders),
                operations=(
                    InsertAddendum(
                        key=job.key,
                        sequence=addendum.sequence,
                        statement=signed_to_bytes(signed),
                        tenant_key_set=signed_to_bytes(signed_from_proto(request.tenant_key_set)),
                    ),
                    InsertWraps(key=job.key, wraps=sealed),
                    *self._counted(addition, volumes),
                    *self._parts.exemptions.counted(job.key, held),
                    remember_request(caller, request.request_id, signed.payload, now_ns=now_ns),
                ),
                entries=self._parts.exemptions.leaves(job.key, held),
                addendum=addendum.digest,
                decision=addendum.decision_digest,
            )
        except IllegalTransition:
            raise JobNotWaiting from None

    def _counted(self, addition: _Addition, volumes: tuple[Volume, ...]) -> tuple[Operation, ...]:
        counted = self._parts.ledger.volumes_of(addition.dossier.facts, addition.runners)
        if not counted:
            return ()
        # The sums that this addition was weighed with are those that its checks at dispatch hear.
        requester = replace(addition.dossier.requester, volumes=volumes)
        return (
            CountVolumes(key=addition.job.key, volumes=counted),
            SetRequester(key=addition.job.key, requester=requester.document()),
        )

    def _open(self, caller: Caller, dossier: Dossier, request: pb.AddRecipientsRequest) -> Written:
        before = tuple(signed_from_bytes(data) for data in dossier.documents.addenda)
        return open_written(
            signed_from_proto(request.tenant_key_set),
            signed_from_bytes(dossier.documents.manifest),
            (*before, signed_from_proto(request.addendum)),
            tenants=(self._parts.pins.tenant(caller.tenant_id),),
            sequence_seen=self._parts.key_sets.seen(caller.tenant_id),
            now_ns=self._parts.clock(),
        )

    def _decide(
        self, caller: Caller, dossier: Dossier, addendum: Addendum, request: pb.AddRecipientsRequest
    ) -> Decided:
        now_ns = self._parts.clock()
        decided = open_decision(pb.Decision(record=request.decision, body=request.body), pins=self._parts.pins.gateway)
        check_tenant(decided, caller.tenant_id)
        _check_named(addendum, decided)
        check_record(decided.record, decided.body, facts_digest=dossier.facts.digest, now_ns=now_ns)
        check_usable(decided.body, now_ns=now_ns)
        return decided

    def _seal(
        self, job: StoredJob, addendum: Addendum, wraps: tuple[bytes, ...], now_ns: int
    ) -> tuple[SealedWrap, ...]:
        day = day_of(now_ns)
        return tuple(
            self._parts.wraps.seal(job.key, wrap, kid=recipient.kid, day=day)
            for recipient, wrap in zip(addendum.recipients, wraps, strict=True)
        )


def _check_waits(job: StoredJob) -> None:
    if job.life.state is not JobState.NEEDS_RECIPIENTS:
        raise JobNotWaiting(metadata={"state": job.life.state})


def _check_named(addendum: Addendum, decided: Decided) -> None:
    if addendum.decision_digest != decided.record.digest:
        raise FactsMismatch("The addendum names another decision.", metadata={"field": "decision"})


def _check_recipients(addendum: Addendum, decided: Decided, job: StoredJob, *, wraps: int) -> None:
    permitted = {(e.spiffe_id, e.jurisdiction) for e in decided.record.shortlist if e.permitted}
    known = {contender.kid for contender in job.life.contenders}
    if len(addendum.recipients) != wraps:
        raise FieldInvalid("There must be one wrap for each recipient.", metadata={"field": "wraps"})
    if len(addendum.recipients) > recipients_max(decided.body.obligations):
        raise FactsMismatch("More recipients than the decision allows.", metadata={"field": "recipients"})
    for recipient in addendum.recipients:
        if (recipient.spiffe_id, recipient.jurisdiction) not in permitted:
            raise FactsMismatch("A recipient is not permitted by the decision.", metadata={"field": "recipients"})
        if recipient.kid in known:
            raise FactsMismatch("A recipient's key was listed before.", metadata={"field": "recipients"})
