"""Judge: asks policy, and signs what came of it.

- Prepare asks stage 1 once, then stage 2 in one batch for the short list; the signed record names the runners by the
  digests of the very cards that were judged. A denial is signed and logged like a permission.
- A job that is handed in is weighed by both stages: with what was sent meanwhile, places may be left, and no runner.
- A re-check asks both stages again for one runner. It only narrows: a place must be permitted by the decision that the
  client sealed under, and by today's.
- No answer, no permission: `PolicyEngineUnavailable` goes up as it is. It also ends a question that policy changed
  under: both stages of one decision are from the same revisions.
- Nothing is valid longer than the law dates that the evaluation looked at, nor than `decision_seconds_max`.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from carnet import statements
from carnet.core import limits
from carnet.core.decision import (
    DecisionBody,
    DecisionRecord,
    Effect,
    Permit,
    Reason,
    Revisions,
    RunnerVerdict,
    ShortlistEntry,
    Verdict,
    both_permit,
    check_obligations,
    for_runner,
    narrow,
    unverified_rows_of,
)
from carnet.core.errors import NoCapacity, PolicyDenied, PolicyEngineUnavailable
from carnet.core.facts import JobFacts, country_of
from carnet.core.placement import Placement, RunnerOffer, place, shortlist
from carnet.core.runner import RunnerFacts
from carnet.core.statement import Signed, Signer
from carnet.vetting import VettedRunner
from carnet.wire import signed_to_bytes
from gateway.storage.records import StoredDecision
from policy.engine import GatewayFacts, JobQuery, PolicyEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A signed decision, who may take the job, and what stage 2 said of `runners`, all that it was asked about."""

    query: JobQuery
    runners: tuple[RunnerFacts, ...]
    record: DecisionRecord
    signed: Signed
    body: DecisionBody
    placement: Placement
    verdicts: tuple[RunnerVerdict, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A re-check that permits one runner: the decision of now, and the permit for it."""

    query: JobQuery
    runners: tuple[RunnerFacts, ...]
    record: DecisionRecord
    signed: Signed
    body: DecisionBody
    permit: Permit
    signed_permit: Signed


class RunnerDenied(PolicyDenied):
    """Policy does not permit this runner for this job."""


class NothingLeft(PolicyDenied):
    """Policy changed since the decision, or what was sent meanwhile counts: no place or no runner is permitted by both.

    `reasons` are those that deny.
    """

    def __init__(self, reasons: tuple[Reason, ...]) -> None:
        super().__init__()
        self.reasons = tuple(reason for reason in reasons if reason.effect is Effect.DENY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What both stages say now of the runners that a job may be sealed for, by SPIFFE id."""

    verdicts: dict[str, RunnerVerdict]
    permitted: frozenset[str]

    def check(self, runners: Iterable[str]) -> None:
        """Raise `NothingLeft` for one that is not permitted now, `NoCapacity` for one that was not there to be judged.

        Who is away may be whose operator is counted against: what can not be weighed is not taken.
        """
        for name in runners:
            if name in self.permitted:
                continue
            if name not in self.verdicts:
                raise NoCapacity("A runner of this job is not attached, and can not be weighed now.")
            raise NothingLeft(self.verdicts[name].reasons)


class Judge:
    """One gateway's voice. `tenant_id` is 16 bytes throughout."""

    def __init__(self, engine: PolicyEngine, signer: Signer, *, clock: Callable[[], int]) -> None:
        self._engine = engine
        self._signer = signer
        self._clock = clock

    @property
    def revisions(self) -> object:
        """What the next answer will be from; another value means that policy changed."""
        return self._engine.revisions

    async def prepare(
        self,
        facts: JobFacts,
        requester: GatewayFacts,
        offers: tuple[RunnerOffer, ...],
        *,
        tenant_id: bytes,
        explain: Collection[str] = (),
    ) -> Judgement:
        """Where the job may run, and on whom. Raises `PolicyEngineUnavailable`.

        Runners in `explain` are judged by stage 2 whatever else is in their way. A denial tells of no other runner.
        """
        query = JobQuery(facts=facts, gateway=requester, now_ns=self._clock())
        before = self._engine.revisions
        body = await self._engine.decide(query)
        named = tuple(offer for offer in offers if offer.facts.spiffe_id in explain)
        if body.verdict is not Verdict.PERMIT:
            offers = named
        # Placement looks at every runner: with thousands of them it would hold up whoever waits for the loop.
        short = await asyncio.to_thread(
            shortlist, facts, body, offers, now_ns=query.now_ns, limit=limits.shortlist_max - len(named)
        )
        asked = {offer.facts.spiffe_id: offer.facts for offer in (*(m.offer for m in short.matched), *named)}
        runners = tuple(asked.values())
        verdicts = await self._engine.judge(query, runners) if runners else ()
        self._expect(before)
        placement = await asyncio.to_thread(
            place, facts, body, offers, verdicts, now_ns=query.now_ns, limit=limits.recipients_max
        )
        record, signed = self._record(query, body, verdicts, tenant_id=tenant_id)
        return Judgement(
            query=query,
            runners=runners,
            record=record,
            signed=signed,
            body=body,
            placement=placement,
            verdicts=verdicts,
        )

    async def weigh(
        self, facts: JobFacts, requester: GatewayFacts, runners: tuple[RunnerFacts, ...], *, prepared: DecisionBody
    ) -> Weighed:
        """Both stages of now, for a job that is handed in and may be sealed for these runners.

        Raises `NothingLeft` where both bodies permit no place, or none of the runners; for a job that is to be approved
        first, and names no runner yet, where both would permit no place.
        """
        query = JobQuery(facts=facts, gateway=requester, now_ns=self._clock())
        before = self._engine.revisions
        body = await self._engine.decide(query)
        waits = prepared.verdict is Verdict.REVIEW
        if waits and not any(body.lists(place) for place in prepared.permitted):
            raise NothingLeft(body.reasons)
        if not waits and (body.verdict is not Verdict.PERMIT or not narrow(prepared, body)):
            raise NothingLeft(body.reasons)
        verdicts = await self._engine.judge(query, runners) if runners else ()
        self._expect(before)
        permitted = frozenset(
            verdict.spiffe_id
            for verdict, runner in zip(verdicts, runners, strict=True)
            if verdict.permitted
            and verdict.card_digest == runner.card_digest
            and both_permit(prepared, body, runner.jurisdiction)
        )
        if runners and not permitted:
            places = {place for runner in runners for place in (runner.jurisdiction, country_of(runner.jurisdiction))}
            there = tuple(reason for reason in body.reasons if places & set(reason.jurisdictions))
            raise NothingLeft(there + tuple(reason for verdict in verdicts for reason in verdict.reasons))
        return Weighed(verdicts={verdict.spiffe_id: verdict for verdict in verdicts}, permitted=permitted)

    async def recheck(
        self,
        facts: JobFacts,
        requester: GatewayFacts,
        runner: VettedRunner,
        *,
        prepared: DecisionBody,
        prepared_digest: bytes,
        manifest_digest: bytes,
        tenant_id: bytes,
    ) -> Passage:
        """Ask again for one runner. Raises `PolicyDenied` for the job, `RunnerDenied` for this runner alone."""
        query = JobQuery(facts=facts, gateway=requester, now_ns=self._clock())
        before = self._engine.revisions
        body = await self._engine.decide(query)
        if body.verdict is not Verdict.PERMIT or not narrow(prepared, body):
            raise PolicyDenied(metadata={"verdict": body.verdict})
        check_obligations(body.obligations)
        if not (prepared.permits(runner.jurisdiction) and body.permits(runner.jurisdiction)):
            raise RunnerDenied(metadata={"jurisdiction": runner.jurisdiction})
        verdicts = await self._engine.judge(query, (runner.facts,))
        self._expect(before)
        if len(verdicts) != 1 or not verdicts[0].permitted or verdicts[0].card_digest != runner.card.digest:
            raise RunnerDenied(metadata={"runner": runner.spiffe_id})
        check_obligations(verdicts[0].obligations)
        record, signed = self._record(query, body, verdicts, tenant_id=tenant_id)
        permit, signed_permit = statements.PERMIT.sign(
            Permit(
                payload=b"",
                manifest_digest=manifest_digest,
                facts_digest=facts.digest,
                spiffe_id=runner.spiffe_id,
                card_digest=runner.card.digest,
                jurisdiction=runner.jurisdiction,
                obligations=for_runner(prepared.obligations + body.obligations + verdicts[0].obligations),
                prepare_decision_digest=prepared_digest,
                record_digest=record.digest,
                body_digest=body.digest,
                valid_until_ns=self._permit_until(body, verdicts[0], facts),
            ),
            self._signer,
        )
        return Passage(
            query=query,
            runners=(runner.facts,),
            record=record,
            signed=signed,
            body=body,
            permit=permit,
            signed_permit=signed_permit,
        )

    def _expect(self, before: Revisions) -> None:
        if self._engine.revisions != before:
            raise PolicyEngineUnavailable(detail="policy changed while it was asked")

    def _record(
        self, query: JobQuery, body: DecisionBody, verdicts: tuple[RunnerVerdict, ...], *, tenant_id: bytes
    ) -> tuple[DecisionRecord, Signed]:
        until_ns = min([query.now_ns + limits.decision_seconds_max * 10**9, body.valid_until_ns])
        record = DecisionRecord(
            payload=b"",
            id=secrets.token_bytes(16),
            tenant_id=tenant_id,
            body_digest=body.digest,
            facts_digest=query.facts.digest,
            gateway_facts_digest=query.gateway.digest,
            engine=self._engine.name,
            engine_version=self._engine.version,
            evaluated_ns=query.now_ns,
            valid_until_ns=min([until_ns, *(v.valid_until_ns for v in verdicts if v.permitted)]),
            shortlist=tuple(
                ShortlistEntry(
                    spiffe_id=v.spiffe_id,
                    jurisdiction=v.jurisdiction,
                    card_digest=v.card_digest,
                    permitted=v.permitted,
                )
                for v in verdicts
            ),
            unverified_rows_used=unverified_rows_of(verdicts),
        )
        return statements.DECISION.sign(record, self._signer)

    def _permit_until(self, body: DecisionBody, verdict: RunnerVerdict, facts: JobFacts) -> int:
        # A permit lasts for the whole attempt, unless a law date comes first: renewals ask again when policy changes.
        longest = self._clock() + (facts.caps.seconds + limits.upload_seconds_max) * 10**9
        return min(longest, body.valid_until_ns, verdict.valid_until_ns)


def stored_decision(record: DecisionRecord, signed: Signed, body: DecisionBody, facts: JobFacts) -> StoredDecision:
    """The row of a decision."""
    return StoredDecision(
        digest=record.digest,
        tenant_id=record.tenant_id,
        record=signed_to_bytes(signed),
        body=body.payload,
        facts_digest=facts.digest,
        created_ns=record.evaluated_ns,
    )
