"""Preparing: where a job may run, why, and on whom. The dry run, the explanation, and what a client seals under.

- Policy is asked, and the signed decision is logged, a denial like a permission: both are answers.
- Runners are shown with all that a client needs to judge them by itself; the others with what stands in their way.
- No byte of the job was sent to get here.
"""

from collections.abc import Callable

from carnet.core.decision import Effect, Reason
from carnet.core.facts import JobFacts, parse_facts
from carnet.core.placement import Rejection
from carnet.v1 import jobs_pb2 as pb
from carnet.vetting import candidate_of
from carnet.wire import Logged, audit_entry, logged_to_proto, signed_to_proto
from gateway import validation
from gateway.identity import Caller
from gateway.judge import Judge, Judgement, stored_decision
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.roster import Roster
from gateway.storage.operations import Batch, InsertDecision
from gateway.storage.records import NewEntry
from gateway.storage.store import Store
from policy.engine import GatewayFacts, Screening, Volume
from policy.rendering import Sentence


class Preparing:
    """Answers PrepareJob, for one gateway process."""

    def __init__(
        self,
        store: Store,
        roster: Roster,
        judge: Judge,
        ledger: Ledger,
        metrics: Metrics,
        in_words: Callable[[Reason], Sentence],
        *,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._roster = roster
        self._judge = judge
        self._metrics = metrics
        self._in_words = in_words
        self._clock = clock

    async def prepare(self, caller: Caller, request: pb.PrepareJobRequest) -> pb.PrepareJobResponse:
        """Where may this job run, and on whom."""
        validation.check(request)
        facts = parse_facts(request.facts)
        judgement = await self._judge.prepare(
            facts,
            requester_of(caller, volumes=await self._ledger.sent(caller.tenant_id, facts)),
            self._roster.offers(now_ns=self._clock()),
            tenant_id=caller.tenant_id,
            explain=tuple(request.explain),
        )
        self._metrics.decisions.labels(judgement.body.verdict).inc()
        logged = await self._log_decision(judgement, facts)
        return pb.PrepareJobResponse(
            decision=pb.Decision(
                record=signed_to_proto(judgement.signed),
                body=judgement.body.payload,
                logged=logged_to_proto(logged),
            ),
            candidates=list(self._candidates(judgement)),
            rejected=[self._rejected(judgement, rejection) for rejection in judgement.placement.rejected],
        )

    def _rejected(self, judgement: Judgement, rejection: Rejection) -> pb.Rejected:
        denials = [
            self._denial(reason)
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

    def _denial(self, reason: Reason) -> pb.RuleDenial:
        words = self._in_words(reason)
        return pb.RuleDenial(rule=reason.rule, text=words.text, citations=reason.citations, fix=words.fix)

    async def _log_decision(self, judgement: Judgement, facts: JobFacts) -> Logged:
        record = judgement.record
        entry = audit_entry(
            "decision.prepared",
            time_ns=record.evaluated_ns,
            tenant_id=record.tenant_id,
            job_id=b"",
            record=record.digest,
            body=record.body_digest,
            facts=record.facts_digest,
        )
        decision = stored_decision(record, judgement.signed, judgement.body, facts)
        written = await self._store.write(
            Batch(
                operations=(InsertDecision(decision=decision),),
                entries=(NewEntry(kind=entry.kind, data=entry.to_bytes(), subject=record.digest),),
            )
        )
        return written.logged[0]

    def _candidates(self, judgement: Judgement) -> list[pb.Candidate]:
        found = []
        for match in judgement.placement.matched:
            presence = self._roster.find(match.offer.facts.spiffe_id)
            if presence is not None and presence.runner.card.digest == match.offer.card.digest:
                found.append(candidate_of(presence.runner.presented, price_micro_usd=match.price_micro_usd))
        return found


def requester_of(caller: Caller, *, volumes: tuple[Volume, ...] = ()) -> GatewayFacts:
    """What the gateway tells policy of a caller and what they sent. Nobody is screened here, and decisions say so."""
    return GatewayFacts(
        issuer=caller.issuer,
        subject=caller.subject,
        tenant=caller.tenant_id.hex(),
        roles=tuple(sorted(caller.roles)),
        screening=Screening.OFF,
        volumes=volumes,
    )
