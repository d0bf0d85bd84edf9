"""Ledger: how many records of each bulk category an exporter sent to each operator in twelve months (28 CFR 202.205).

- Policy hears sums: a category's is the largest of any operator's who may get the job. What the job itself would add is
  the rule's to add.
- A submission is evaluated and held under one lock a tenant, at its header: what is held counts for the next at once,
  so that ten submissions of 9,000 records can not each be the first. A denial, or an upload that comes to nothing,
  lets go. What is accepted is a row, written in the job's own transaction, and taken back in that of its end where no
  attempt was made.
- What errs, errs upwards: every job with such data counts, wherever it runs; one that is being accepted may
  count twice for a moment, and never not at all.

    async with ledger.holding(key, facts, runners, evaluate) as volumes:
        ...                                             # evaluate with these; leave the block once the job is a row
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from typing import Final

from carnet.core.facts import JobFacts
from carnet.core.spiffe import SpiffeId
from gateway.storage import queries
from gateway.storage.records import JobKey, StoredVolume
from gateway.storage.store import Store
from policy.bundle import Bundle
from policy.engine import Volume

window_ns: Final = 366 * 86_400 * 10**9

_Sums = dict[tuple[str, str], int]


class Ledger:
    """One gateway's ledger, for all tenants. Counterparties are operators' trust domains."""

    def __init__(self, store: Store, bundle: Bundle, *, clock: Callable[[], int]) -> None:
        self._store = store
        self._classes = {name: frozenset(_texts(row["classes"])) for name, row in bundle.rows("bulk").items()}
        self._territory = frozenset(_texts(bundle.rows("groups")["DSP_US"]["members"]))
        self._places = bundle.rows("jurisdictions").keys()
        self._clock = clock
        self._turns: defaultdict[bytes, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._held: dict[object, tuple[JobKey, tuple[StoredVolume, ...]]] = {}

    def categories(self, facts: JobFacts) -> tuple[str, ...]:
        """The bulk categories that a job counts in: none where its data is surely of nobody in the territory."""
        subjects = facts.data.subject_jurisdictions
        concerned = not subjects or any(s in self._territory or s not in self._places for s in subjects)
        classes = frozenset(facts.data.classes)
        return tuple(sorted(name for name, row in self._classes.items() if concerned and row & classes))

    def volumes_of(self, facts: JobFacts, runners: Iterable[str]) -> tuple[StoredVolume, ...]:
        """What a job counts with these runners (SPIFFE ids): a row an operator and category."""
        operators = sorted({SpiffeId.parse(runner).trust_domain for runner in runners})
        return tuple(
            StoredVolume(counterparty=operator, category=category, records=facts.data.records, created_ns=self._clock())
            for operator in operators
            for category in self.categories(facts)
        )

    async def sent(self, tenant_id: bytes, facts: JobFacts) -> tuple[Volume, ...]:
        """What was sent before, for a job that names no runner yet: the largest of any operator's."""
        if not self.categories(facts):
            return ()
        return await self._sums(tenant_id, self.categories(facts), but=None, operators=None)

    @asynccontextmanager
    async def holding(
        self,
        key: JobKey,
        facts: JobFacts,
        runners: Collection[str],
        evaluate: Callable[[tuple[Volume, ...]], Awaitable[None]],
    ) -> AsyncIterator[tuple[Volume, ...]]:
        """Evaluate a submission under the tenant's lock and hold what it counts, as long as the block lasts.

        Raises what `evaluate` raises, and then holds nothing.
        """
        rows = self.volumes_of(facts, runners)
        if not rows:
            yield ()
            return
        operators = frozenset(row.counterparty for row in rows)
        async with self._turns[key.tenant_id]:
            volumes = await self._sums(key.tenant_id, self.categories(facts), but=key, operators=operators)
            await evaluate(volumes)
            token = object()
            self._held[token] = (key, rows)
        try:
            yield volumes
        finally:
            del self._held[token]

    async def _sums(
        self, tenant_id: bytes, categories: tuple[str, ...], *, but: JobKey | None, operators: frozenset[str] | None
    ) -> tuple[Volume, ...]:
        sums: _Sums = defaultdict(int)
        # What is held is looked at first: a job that is accepted meanwhile counts twice, and never not at all.
        for held, rows in self._held.values():
            if held.tenant_id == tenant_id and held != but:
                for row in rows:
                    sums[row.counterparty, row.category] += row.records
        since_ns = max(self._clock() - window_ns, 0)
        for row in await self._store.read(queries.volumes, tenant_id, since_ns=since_ns, but=but):
            sums[row.counterparty, row.category] += row.records
        largest: defaultdict[str, int] = defaultdict(int)
        for (operator, category), records in sums.items():
            if operators is None or operator in operators:
                largest[category] = max(largest[category], records)
        return tuple(Volume(category=name, records=largest[name]) for name in categories if largest[name])


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
