"""A fleet: offers of so many runners, and an engine that counts what it is asked.

engine = Counted(EmbeddedEngine(...))
await Judge(engine, ...).prepare(facts, requester, offers(10_000, like=runner, now_ns=now), tenant_id=bytes(16))
engine.decided, engine.judged, engine.seconds
"""

import hashlib
import time
from dataclasses import replace

from carnet.core import limits
from carnet.core.decision import DecisionBody, Revisions, RunnerVerdict
from carnet.core.placement import RunnerOffer
from carnet.core.runner import RunnerCard, RunnerFacts
from policy.engine import JobQuery, PolicyEngine
from policy.masking import MaskRule


class Counted:
    """An engine behind which another one answers: how often, about how many runners, and for how long."""

    def __init__(self, engine: PolicyEngine) -> None:
        self._engine = engine
        self.name, self.version = engine.name, engine.version
        self.decided = 0
        self.judged: list[int] = []
        self.seconds = 0.0

    @property
    def revisions(self) -> Revisions:
        """The engine's own."""
        return self._engine.revisions

    async def decide(self, query: JobQuery) -> DecisionBody:
        """Stage 1."""
        self.decided += 1
        began = time.perf_counter()
        body = await self._engine.decide(query)
        self.seconds += time.perf_counter() - began
        return body

    async def judge(self, query: JobQuery, runners: tuple[RunnerFacts, ...]) -> tuple[RunnerVerdict, ...]:
        """Stage 2."""
        self.judged.append(len(runners))
        began = time.perf_counter()
        verdicts = await self._engine.judge(query, runners)
        self.seconds += time.perf_counter() - began
        return verdicts

    async def mask(self, query: JobQuery, body: DecisionBody) -> tuple[MaskRule, ...]:
        """Not asked here."""
        return await self._engine.mask(query, body)

    async def close(self) -> None:
        """The engine is closed by who opened it."""


def offers(count: int, *, like: RunnerFacts, now_ns: int) -> tuple[RunnerOffer, ...]:
    """So many runners in one place, each with room, a card and a price of its own."""
    return tuple(_offer(number, like, now_ns) for number in range(count))


def _offer(number: int, like: RunnerFacts, now_ns: int) -> RunnerOffer:
    name = f"{like.spiffe_id}{number}"
    payload = name.encode()
    card = RunnerCard(
        payload=payload,
        spiffe_id=name,
        issued_ns=now_ns,
        expires_ns=now_ns + limits.seal_seconds_max * 10**9,
        agent_version="1",
        slots=1,
        cpu_millis=64_000,
        memory_bytes=256 * limits.GIB,
        work_bytes=256 * limits.GIB,
        devices=(),
        isolation=like.isolation,
        isolation_facts=(),
        template_digest=bytes(32),
        images=("*",),
        price_micro_usd_second=number % 97,
    )
    facts = replace(like, spiffe_id=name, gpus=0, gpu_models=(), card_digest=hashlib.sha256(payload).digest())
    return RunnerOffer(facts=facts, card=card, slots_free=1, draining=False, seal_until_ns=card.expires_ns)
