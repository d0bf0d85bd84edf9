"""CachedPolicy: stage 1 asked once for all jobs that are equal in what policy reads.

- The key is the digest of the facets and the revisions of rules and data; an answer serves from the time it was asked
  at until its own `valid_until_ns`, which is the earliest day that its evaluation looked at. So the cache is exact.
- What the decision log does not show of an answer is kept likewise, by the answer too: a mask reads no time.
- Identical questions that come at once become one. Failures are never kept, nor an answer of other revisions than its
  key's: the policy changed between asking and answering. Stage 2 is never kept.
- At most `entries_max` answers; the one that was not used for longest goes first.

    engine = CachedPolicy(engine=OpaServer(...))
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from carnet.core.decision import DecisionBody, Revisions, RunnerVerdict
from carnet.core.runner import RunnerFacts
from policy.engine import JobQuery, PolicyEngine
from policy.masking import MaskRule

entries_max: Final = 4096

_Key = tuple[bytes, Revisions]
_MaskKey = tuple[bytes, bytes, Revisions]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    asked_ns: int
    revisions: Revisions
    answer: asyncio.Task[DecisionBody]

    def serves(self, now_ns: int) -> bool:
        if now_ns < self.asked_ns:
            return False
        if not self.answer.done():
            return True
        if self.answer.cancelled() or self.answer.exception() is not None:
            return False
        body = self.answer.result()
        return body.revisions == self.revisions and now_ns < body.valid_until_ns


class CachedPolicy:
    """A `PolicyEngine` around another one."""

    def __init__(self, *, engine: PolicyEngine) -> None:
        self._engine = engine
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._masks: OrderedDict[_MaskKey, tuple[MaskRule, ...]] = OrderedDict()

    @property
    def name(self) -> str:
        """The engine's name."""
        return self._engine.name

    @property
    def version(self) -> str:
        """The engine's version."""
        return self._engine.version

    @property
    def revisions(self) -> Revisions:
        """The engine's revisions."""
        return self._engine.revisions

    async def decide(self, query: JobQuery) -> DecisionBody:
        """Stage 1, from the cache where an answer holds at the query's time. Raises what the engine raises."""
        key = (query.facets_digest, self._engine.revisions)
        entry = self._entries.get(key)
        if entry is None or not entry.serves(query.now_ns):
            entry = self._ask(key, query)
        self._entries.move_to_end(key)
        # Shielded: one caller that goes away does not take the answer from the others.
        body = await asyncio.shield(entry.answer)
        if query.now_ns >= body.valid_until_ns:
            return await self._engine.decide(query)
        return body

    async def judge(self, query: JobQuery, runners: tuple[RunnerFacts, ...]) -> tuple[RunnerVerdict, ...]:
        """Stage 2, always from the engine."""
        return await self._engine.judge(query, runners)

    async def mask(self, query: JobQuery, body: DecisionBody) -> tuple[MaskRule, ...]:
        """What the decision log does not show, asked once for equal decisions. Raises what the engine raises."""
        key = (query.facets_digest, body.digest, self._engine.revisions)
        found = self._masks.get(key)
        if found is None:
            found = await self._engine.mask(query, body)
            if self._engine.revisions == key[-1]:
                self._masks[key] = found
            while len(self._masks) > entries_max:
                self._masks.popitem(last=False)
        return found

    async def close(self) -> None:
        """Forget every answer, and close the engine."""
        entries, self._entries = self._entries, OrderedDict()
        for entry in entries.values():
            entry.answer.cancel()
        await self._engine.close()

    def _ask(self, key: _Key, query: JobQuery) -> _Entry:
        task = asyncio.create_task(self._engine.decide(query), name="policy-decide")
        entry = _Entry(asked_ns=query.now_ns, revisions=key[1], answer=task)
        self._entries[key] = entry
        task.add_done_callback(lambda done: self._drop_failure(key, entry, done))
        while len(self._entries) > entries_max:
            self._entries.popitem(last=False)
        return entry

    def _drop_failure(self, key: _Key, entry: _Entry, done: asyncio.Task[DecisionBody]) -> None:
        failed = done.cancelled() or done.exception() is not None or done.result().revisions != key[1]
        if failed and self._entries.get(key) is entry:
            del self._entries[key]
