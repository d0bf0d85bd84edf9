"""Recipients: more of them for a job whose list is used up, added by its owner while it waits.

- The addendum is signed by a client of the tenant, under a key set that is no older than any that was seen and is
  stored with it; it names the one before it (the first names the manifest), and stays within the places that the
  manifest allows.
- It names a fresh decision about the very facts of the job; every recipient is on that decision's short list.
- A key that was listed before is refused: no recipient is tried twice under the same key.
- Wraps go the way of the first ones: sealed under the day's key, apart from everything.
"""

import asyncio
from collections.abc import Callable

from carnet.authorship import Written, open_written
from carnet.core.decision import check_record, check_usable, recipients_max
from carnet.core.errors import FactsMismatch, FieldInvalid, IllegalTransition, JobNotWaiting
from carnet.core.job import Addendum, JobState
from carnet.core.lifecycle import Contender, RecipientsAdded
from carnet.pins import Pins
from carnet.v1 import jobs_pb2 as pb
from carnet.verdict import Decided, check_tenant, open_decision
from carnet.wire import signed_from_bytes, signed_from_proto, signed_to_bytes
from gateway.identity import Caller
from gateway.keysets import KeySets
from gateway.ledger import Ledger
from gateway.lives import Dossier, Lives
from gateway.requests import remember_request
from gateway.storage.operations import CountVolumes, InsertAddendum, InsertWraps
from gateway.storage.records import SealedWrap, StoredJob
from gateway.storage.wraps import WrapKeys, day_of


class Recipients:
    """Takes addenda in, for one gateway process."""

    def __init__(
        self,
        lives: Lives,
        wraps: WrapKeys,
        ledger: Ledger,
        key_sets: KeySets,
        pins: Pins,
        *,
        clock: Callable[[], int],
    ) -> None:
        self._lives = lives
        self._key_sets = key_sets
        self._ledger = ledger
        self._wraps = wraps
        self._pins = pins
        self._clock = clock

    async def add(self, caller: Caller, job: StoredJob, request: pb.AddRecipientsRequest) -> None:
        """Add recipients. Raises what is wrong with the addendum, or `JobNotWaiting`."""
        _check_waits(job)
        dossier = await self._lives.dossier(job)
        written = self._open(caller, dossier, request)
        await self._key_sets.note(written.key_set)
        addendum = written.addenda[-1]
        decided = self._decide(caller, dossier, addendum, request)
        _check_recipients(addendum, decided, job, wraps=len(request.wraps))
        now_ns = self._clock()
        sealed = await asyncio.to_thread(self._seal, job, addendum, tuple(request.wraps), now_ns)
        signed = signed_from_proto(request.addendum)
        contenders = tuple(
            Contender(spiffe_id=r.spiffe_id, jurisdiction=r.jurisdiction, kid=r.kid) for r in addendum.recipients
        )
        try:
            await self._lives.step(
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
                    CountVolumes(
                        key=job.key,
                        volumes=self._ledger.volumes_of(dossier.facts, [r.spiffe_id for r in addendum.recipients]),
                    ),
                    remember_request(caller, request.request_id, signed.payload, now_ns=now_ns),
                ),
                addendum=addendum.digest,
                decision=addendum.decision_digest,
            )
        except IllegalTransition:
            raise JobNotWaiting from None

    def _open(self, caller: Caller, dossier: Dossier, request: pb.AddRecipientsRequest) -> Written:
        before = tuple(signed_from_bytes(data) for data in dossier.documents.addenda)
        return open_written(
            signed_from_proto(request.tenant_key_set),
            signed_from_bytes(dossier.documents.manifest),
            (*before, signed_from_proto(request.addendum)),
            tenants=(self._pins.tenant(caller.tenant_id),),
            sequence_seen=self._key_sets.seen(caller.tenant_id),
            now_ns=self._clock(),
        )

    def _decide(
        self, caller: Caller, dossier: Dossier, addendum: Addendum, request: pb.AddRecipientsRequest
    ) -> Decided:
        now_ns = self._clock()
        decided = open_decision(pb.Decision(record=request.decision, body=request.body), pins=self._pins.gateway)
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
            self._wraps.seal(job.key, wrap, kid=recipient.kid, day=day)
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
