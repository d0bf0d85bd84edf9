"""The decision log: a line for each decision, in the batch that stores it, or no decision.

- The event is OPA's with ours, masked by the policy's own rules (`system.log.mask`). Without an answer for the mask
  there is no line, and without a line no decision: nothing is ever logged in clear.
- The whole input, with the runners that were judged, is sealed for the tenant's compliance key, bound to tenant and
  record. The gateway can not open it. A tenant that has pinned no key has no sealed inputs, and no replay.
- The decision's leaf commits to both (`line` and `input`), so that neither can be exchanged or left out later.
- Both are kept for the tenant's days; record, body and leaf stay.

    line = await log.line(judged, stage=Stage.PREPARED)
    Batch(operations=(InsertDecision(...), line.operation), entries=(leaf,))
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from carnet.core import limits
from carnet.core.decision import DecisionBody, DecisionRecord
from carnet.core.document import canonical
from carnet.core.encoding import ctx
from carnet.core.hybrid import HybridPublicKey
from carnet.core.runner import RunnerFacts
from carnet.pins import Pins
from gateway.storage.decisionlog import DecisionEvent, DecisionLine, LogDecision, Stage
from policy.engine import JobQuery, PolicyEngine
from policy.event import Decided, event_bytes

DAY_NS = 24 * 3600 * 10**9


class Judged(Protocol):
    """What came of a question: a `Judgement` or a `Passage`."""

    @property
    def query(self) -> JobQuery:
        """What was asked."""

    @property
    def runners(self) -> tuple[RunnerFacts, ...]:
        """The runners that were judged under it."""

    @property
    def body(self) -> DecisionBody:
        """What was answered."""

    @property
    def record(self) -> DecisionRecord:
        """What was signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that is ready to be stored, and what the decision's leaf must commit to."""

    operation: LogDecision

    @property
    def event_digest(self) -> bytes:
        """SHA-256 over the event, 32 bytes."""
        return hashlib.sha256(self.operation.event.event).digest()

    @property
    def input_digest(self) -> bytes:
        """SHA-256 over the sealed input, 32 bytes; of nothing where the tenant has no key."""
        return hashlib.sha256(self.operation.event.sealed_input).digest()


class DecisionLog:
    """One gateway's decision log. Events are kept for so many `days`; `tenant_days` (by id) where a tenant differs."""

    def __init__(
        self,
        engine: PolicyEngine,
        pins: Pins,
        *,
        days: int = limits.decision_days,
        tenant_days: Mapping[bytes, int] | None = None,
        clock: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._origin = pins.gateway.origin
        self._keys = {
            tenant.tenant_id: HybridPublicKey(tenant.compliance_key) for tenant in pins.tenants if tenant.compliance_key
        }
        self._days = days
        self._tenant_days = dict(tenant_days or {})
        self._clock = clock

    async def line(self, judged: Judged, *, stage: Stage, job_id: bytes = b"") -> Line:
        """The line of one decision. Raises `PolicyEngineUnavailable` where its mask can not be had."""
        record, body = judged.record, judged.body
        rules = await self._engine.mask(judged.query, body)
        decided = Decided(query=judged.query, body=body, record=record, stage=stage.value, origin=self._origin)
        kept_days = self._tenant_days.get(record.tenant_id, self._days)
        line = DecisionLine(
            digest=record.digest,
            tenant_id=record.tenant_id,
            stage=stage,
            verdict=body.verdict,
            bundle=body.revisions.bundle,
            created_ns=record.evaluated_ns,
            job_id=job_id,
        )
        event = DecisionEvent(
            digest=record.digest,
            event=event_bytes(decided, rules),
            sealed_input=self._sealed(judged),
            until_ns=self._clock() + kept_days * DAY_NS,
        )
        return Line(operation=LogDecision(line=line, event=event))

    def _sealed(self, judged: Judged) -> bytes:
        key = self._keys.get(judged.record.tenant_id)
        if key is None:
            return b""
        info = ctx("decision input", judged.record.tenant_id, judged.record.digest)
        return key.seal(canonical(judged.query.document(judged.runners)), info=info)
