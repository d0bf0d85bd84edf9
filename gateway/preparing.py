"""Preparing: where a job may run, why, and on whom. The dry run, the explanation, and what a client seals under.

- Policy is asked, and the signed decision is logged, a denial like a permission: both are answers. A decision that
  has no line in the decision log is none.
- Runners are shown with all that a client needs to judge them by itself; the others with what stands in their way.
- What rules say is told in the language that the caller asks for; of places that they ask about too.
- No byte of the job was sent to get here.
"""

from collections.abc import Callable
from dataclasses import dataclass

from carnet.core.decision import Effect
from carnet.core.errors import FactsMismatch, NotFound
from carnet.core.facts import JobFacts, parse_facts
from carnet.core.placement import Rejection
from carnet.v1 import jobs_pb2 as pb
from carnet.vetting import candidate_of
from carnet.wire import Logged, audit_entry, logged_to_proto, signed_to_proto
from gateway import validation
from gateway.decisionlog import DecisionLog
from gateway.identity import Caller
from gateway.judge import Judge, Judgement, stored_decision
from gateway.ledger import Ledger
from gateway.messages import job_key
from gateway.metrics import Metrics
from gateway.roster import Roster
from gateway.shadow import Shadow
from gateway.standing import Standing
from gateway.storage.decisionlog import Stage
from gateway.storage.operations import Batch, InsertDecision
from gateway.storage.records import JobKey, NewEntry
from gateway.storage.store import Store
from gateway.words import Told, Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What preparing works with; joined in services.py. `words` are those of a language."""

    store: Store
    roster: Roster
    judge: Judge
    ledger: Ledger
    standing: Standing
    shadow: Shadow
    metrics: Metrics
    decisions: DecisionLog
    words: Callable[[str], Words]
    clock: Callable[[], int]


class Preparing:
    """Answers PrepareJob, for one gateway process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def prepare(self, caller: Caller, request: pb.PrepareJobRequest) -> pb.PrepareJobResponse:
        """Where may this job run, and on whom."""
        validation.check(request)
        facts = parse_facts(request.facts)
        job = await self._waiting(caller, request.job, facts) if request.job else None
        volumes = await self._parts.ledger.sent(caller.tenant_id, facts)
        judgement = await self._parts.judge.prepare(
            facts,
            await self._parts.standing.of(caller, facts, volumes=volumes, job=job),
            self._parts.roster.offers(now_ns=self._parts.clock()),
            tenant_id=caller.tenant_id,
            explain=tuple(request.explain),
        )
        self._parts.metrics.decisions.labels(judgement.body.verdict).inc()
        logged = await self._log_decision(judgement, facts)
        self._parts.shadow.compare(caller.tenant_id, judgement.query, judgement.body, judgement.record.digest)
        words = self._parts.words(request.language)
        return pb.PrepareJobResponse(
            decision=pb.Decision(
                record=signed_to_proto(judgement.signed),
                body=judgement.body.payload,
                logged=logged_to_proto(logged),
            ),
            candidates=list(self._candidates(judgement)),
            rejected=[self._rejected(judgement, rejection, words) for rejection in judgement.placement.rejected],
            denials=map(_denial, words.denials(judgement.body, tuple(request.places))),
        )

    def _rejected(self, judgement: Judgement, rejection: Rejection, words: Words) -> pb.Rejected:
        denials = [
            _denial(words.denial(reason.rule, reason))
            for verdict in judgement.verdicts
            if verdict.spiffe_id == rejection.spiffe_id
            for reason in verdict.reasons
            if reason.effect is Effect.DENY
        ]
        return pb.Rejected(
            runner=rejection.spiffe_id,
            jurisdiction=rejection.jurisdiction,
            reason=rejection.first.cause,
            text="; ".join(obstacle.text for obstacle in rejection.obstacles),
            denials=denials,
        )

    async def _waiting(self, caller: Caller, name: str, facts: JobFacts) -> JobKey:
        """The job whose approvals count: the caller's own, of these very facts. Another one's is not there."""
        key = job_key(name)
        documents = await self._parts.store.documents(key) if key.tenant_id == caller.tenant_id else None
        if documents is None:
            raise NotFound
        if documents.facts != facts.payload:
            raise FactsMismatch("The job is of other facts.", metadata={"field": "job"})
        return key

    async def _log_decision(self, judgement: Judgement, facts: JobFacts) -> Logged:
        record = judgement.record
        line = await self._parts.decisions.line(judgement, stage=Stage.PREPARED)
        entry = audit_entry(
            "decision.prepared",
            time_ns=record.evaluated_ns,
            tenant_id=record.tenant_id,
            job_id=b"",
            record=record.digest,
            body=record.body_digest,
            facts=record.facts_digest,
            line=line.event_digest,
            input=line.input_digest,
        )
        decision = stored_decision(record, judgement.signed, judgement.body, facts)
        written = await self._parts.store.write(
            Batch(
                operations=(InsertDecision(decision=decision), line.operation),
                entries=(NewEntry(kind=entry.kind, data=entry.to_bytes(), subject=record.digest),),
            )
        )
        return written.logged[0]

    def _candidates(self, judgement: Judgement) -> list[pb.Candidate]:
        found = []
        for match in judgement.placement.matched:
            presence = self._parts.roster.find(match.offer.facts.spiffe_id)
            if presence is not None and presence.runner.card.digest == match.offer.card.digest:
                found.append(candidate_of(presence.runner.presented, price_micro_usd=match.price_micro_usd))
        return found


def _denial(told: Told) -> pb.RuleDenial:
    return pb.RuleDenial(rule=told.rule, text=told.text, citations=told.citations, fix=told.fix)
