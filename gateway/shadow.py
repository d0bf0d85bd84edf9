"""Shadow: a revision that is asked beside the live one, decides nothing, and whose differences are written down.

- It runs on the engine that is built in, off the path of every call: a prepared decision is put in a queue, and nobody
  waits for what becomes of it. A full queue drops, and counts what it dropped.
- The question is the very one that was decided, but for the name of the overlay; other tenants' overlays have no part.
- What differs is the verdict, the places or the duties. An engine that does not answer is counted, never compared.

    shadow = Shadow(store, composition, metrics)
    await shadow.start()
    shadow.compare(tenant_id, query, body, record.digest)
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Final

import structlog

from carnet.core.decision import DecisionBody
from carnet.core.errors import CarnetError, PolicyEngineUnavailable
from gateway.composition import Composition
from gateway.metrics import Metrics
from gateway.storage import policyqueries
from gateway.storage.operations import Batch
from gateway.storage.policyoperations import CompareShadow
from gateway.storage.policyrecords import RevisionKey, StoredDifference
from gateway.storage.store import Store
from policy.engine import JobQuery
from policy.engines.embedded import EmbeddedEngine
from policy.overlay import Overlay

waiting_max: Final = 1024
group_max: Final = 32

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A decision that was prepared."""

    key: RevisionKey
    query: JobQuery
    body: DecisionBody
    decision: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Follower:
    """A tenant's shadow: which revision, under which name, on which engine."""

    key: RevisionKey
    overlay: str
    engine: EmbeddedEngine


class Shadow:
    """The shadows of one gateway process. `start` first, then `close`."""

    def __init__(self, store: Store, composition: Composition, metrics: Metrics) -> None:
        self._store = store
        self._composition = composition
        self._metrics = metrics
        self._followers: dict[bytes, _Follower] = {}
        self._waiting: asyncio.Queue[_Asked] = asyncio.Queue(waiting_max)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up the shadows that are stored, and begin. One that does not start is left out, and logged."""
        for revision in await self._store.read(policyqueries.revisions_deciding):
            if revision.shadow:
                try:
                    await self.follow(revision.key, await self._composition.read(revision))
                except CarnetError as error:
                    _log.warning("no shadow", action="shadow", reason=error.reason, detail=error.detail or error.text)
        self._task = asyncio.create_task(self._run(), name="shadow")

    async def close(self) -> None:
        """Stop; what waits is not compared."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for follower in self._followers.values():
            await follower.engine.close()

    async def follow(self, key: RevisionKey, overlay: Overlay | None) -> None:
        """Ask this revision from now on, or none. Raises `FieldInvalid` or `PolicyEngineUnavailable`."""
        follower = await self._started(key, overlay) if overlay is not None else None
        before = self._followers.pop(key.tenant_id, None)
        if follower is not None:
            self._followers[key.tenant_id] = follower
        if before is not None:
            await before.engine.close()

    def compare(self, tenant_id: bytes, query: JobQuery, body: DecisionBody, decision: bytes) -> None:
        """Take note of a decision for the tenant's shadow, where it has one. Never waits, and never fails."""
        follower = self._followers.get(tenant_id)
        if follower is None:
            return
        try:
            self._waiting.put_nowait(_Asked(key=follower.key, query=query, body=body, decision=decision))
        except asyncio.QueueFull:
            self._metrics.shadowed.labels("dropped").inc()

    async def _started(self, key: RevisionKey, overlay: Overlay) -> _Follower:
        bundle = await asyncio.to_thread(self._composition.base.with_overlays, (overlay,))
        engine = EmbeddedEngine(bundle=bundle)
        try:
            await engine.start()
        except PolicyEngineUnavailable:
            await engine.close()
            raise
        return _Follower(key=key, overlay=overlay.name, engine=engine)

    async def _run(self) -> None:
        while True:
            group = [await self._waiting.get()]
            while len(group) < group_max and not self._waiting.empty():
                group.append(self._waiting.get_nowait())
            try:
                await self._compare(group)
            except Exception:  # noqa: BLE001  # a task's root: it logs, and the next group is compared
                _log.exception("shadow failed", action="shadow")
                self._metrics.task_failures.inc()

    async def _compare(self, group: list[_Asked]) -> None:
        compared: defaultdict[RevisionKey, list[StoredDifference | None]] = defaultdict(list)
        for asked in group:
            follower = self._followers.get(asked.key.tenant_id)
            if follower is None or follower.key != asked.key:
                continue
            try:
                body = await follower.engine.decide(_as_shadow(asked.query, follower.overlay))
            except CarnetError as error:
                self._metrics.shadowed.labels("failed").inc()
                _log.warning("shadow silent", action="shadow", reason=error.reason, detail=error.detail or error.text)
                continue
            self._metrics.shadowed.labels("compared").inc()
            compared[asked.key].append(difference(asked, body))
        operations = tuple(
            CompareShadow(key=key, compared=len(found), differences=tuple(d for d in found if d is not None))
            for key, found in compared.items()
        )
        if operations:
            await self._store.write(Batch(operations=operations))


def difference(asked: _Asked, shadow: DecisionBody) -> StoredDifference | None:
    """What the shadow said otherwise, if it did."""
    live = asked.body
    same = (live.verdict, live.permitted, _duties(live)) == (shadow.verdict, shadow.permitted, _duties(shadow))
    if same:
        return None
    return StoredDifference(
        revision=asked.key,
        decision=asked.decision,
        time_ns=asked.query.now_ns,
        live_verdict=live.verdict,
        shadow_verdict=shadow.verdict,
        newly_permitted=tuple(sorted(set(shadow.permitted) - set(live.permitted))),
        newly_denied=tuple(sorted(set(live.permitted) - set(shadow.permitted))),
        rules=tuple(sorted(name for name, _ in set(_said(live)) ^ set(_said(shadow)))),
    )


def _as_shadow(query: JobQuery, overlay: str) -> JobQuery:
    return replace(query, gateway=replace(query.gateway, overlay=overlay))


def _duties(body: DecisionBody) -> tuple[tuple[str, str | int], ...]:
    return tuple((duty.type, duty.value) for duty in body.obligations)


def _said(body: DecisionBody) -> list[tuple[str, object]]:
    """What each rule did: it blocked these places, or it asked for that."""
    duties = [(duty.rule, (duty.type, duty.value)) for duty in body.obligations]
    return [*body.blocked, *duties]
