"""CurrentPolicy: the engine of the bundle that is live now, and how another bundle takes its place.

- `activate` starts an engine for the new bundle first, of the same kind as before. Only when it serves do questions go
  to it; one that does not start changes nothing. The old engine is closed when its last question has ended.
- A bundle is published (signed, kept, offered to an OPA that fetches it) before its engine starts, so no answer is of a
  bundle that was not kept. Where the start fails, the one before is published again.
- From its `expires_ns` on a bundle answers nothing: every question is `PolicyEngineUnavailable`, and says so. No answer
  is valid longer than its bundle; the bytes of a body are the engine's own all the same.
- One activation at a time. `revisions` and `bundle` are those of the next answer.

    policy = await CurrentPolicy.open(starter, bundle=bundle, publish=publishing.publish)
    await policy.activate(bundle.with_overlays(overlays))
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from carnet.core.decision import DecisionBody, Revisions, RunnerVerdict
from carnet.core.errors import PolicyEngineUnavailable
from carnet.core.runner import RunnerFacts
from policy.bundle import Bundle
from policy.engine import JobQuery, PolicyEngine
from policy.masking import MaskRule

Publish = Callable[[Bundle], Awaitable[None]]


class Starter(Protocol):
    """How engines of one kind are started; the kind is chosen once (`policy/engines/choice.py`)."""

    async def first(self, bundle: Bundle) -> PolicyEngine:
        """The engine of the bundle that is live at the start. Raises `PolicyEngineUnavailable`."""

    async def another(self, bundle: Bundle) -> PolicyEngine:
        """One that serves this bundle now. Raises `PolicyEngineUnavailable` where it does not come to that."""


class CurrentPolicy:
    """A `PolicyEngine` whose bundle may change while it runs."""

    def __init__(self, starter: Starter, live: "_Live", publish: Publish) -> None:
        self._starter = starter
        self._live = live
        self._publish = publish
        self._turn = asyncio.Lock()
        self._leaving: dict[asyncio.Task[None], _Live] = {}

    @classmethod
    async def open(cls, starter: Starter, *, bundle: Bundle, publish: Publish) -> "CurrentPolicy":
        """Publish the bundle and start its engine. Raises `PolicyEngineUnavailable`, and what `publish` raises."""
        await publish(bundle)
        return cls(starter, _Live(await starter.first(bundle), bundle), publish)

    @property
    def name(self) -> str:
        """The engine's name."""
        return self._live.engine.name

    @property
    def version(self) -> str:
        """The engine's version."""
        return self._live.engine.version

    @property
    def revisions(self) -> Revisions:
        """The revisions of the bundle that is live."""
        return self._live.bundle.revisions

    @property
    def bundle(self) -> Bundle:
        """The bundle that is live."""
        return self._live.bundle

    async def activate(self, bundle: Bundle) -> None:
        """Make a bundle live. Raises `PolicyEngineUnavailable` and what `publish` raises; then nothing changed."""
        async with self._turn:
            before = self._live
            await self._publish(bundle)
            try:
                self._live = _Live(await self._starter.another(bundle), bundle)
            finally:
                if self._live is before:
                    await self._publish(before.bundle)
            task = asyncio.create_task(before.leave(), name="policy-leaves")
            self._leaving[task] = before
            task.add_done_callback(self._leaving.pop)

    async def decide(self, query: JobQuery) -> DecisionBody:
        """Stage 1, from the live bundle. Raises `PolicyEngineUnavailable`, also where the bundle has expired."""
        with self._live.question(query.now_ns) as live:
            body = await live.engine.decide(query)
            return replace(body, valid_until_ns=live.until(body.valid_until_ns))

    async def judge(self, query: JobQuery, runners: tuple[RunnerFacts, ...]) -> tuple[RunnerVerdict, ...]:
        """Stage 2, from the live bundle. Raises like `decide`."""
        with self._live.question(query.now_ns) as live:
            verdicts = await live.engine.judge(query, runners)
            return tuple(replace(v, valid_until_ns=live.until(v.valid_until_ns)) for v in verdicts)

    async def mask(self, query: JobQuery, body: DecisionBody) -> tuple[MaskRule, ...]:
        """What the decision log does not show, from the live bundle. Raises like `decide`."""
        with self._live.question(query.now_ns) as live:
            return await live.engine.mask(query, body)

    async def close(self) -> None:
        """Close every engine, also those that still answer."""
        async with self._turn:
            for live in self._leaving.values():
                live.hurry()
            await asyncio.gather(*self._leaving)
            await self._live.engine.close()


class _Live:
    """An engine, its bundle, and how many questions it has open."""

    def __init__(self, engine: PolicyEngine, bundle: Bundle) -> None:
        self.engine = engine
        self.bundle = bundle
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def question(self, now_ns: int) -> Iterator["_Live"]:
        expires_ns = self.bundle.expires_ns
        if expires_ns is not None and now_ns >= expires_ns:
            raise PolicyEngineUnavailable(
                "The policy bundle has expired; nothing is decided until a newer one is active.",
                detail=f"the bundle {self.bundle.revision} expired at {expires_ns} ns",
            )
        self._open += 1
        self._idle.clear()
        try:
            yield self
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    def until(self, valid_until_ns: int) -> int:
        expires_ns = self.bundle.expires_ns
        return valid_until_ns if expires_ns is None else min(valid_until_ns, expires_ns)

    async def leave(self) -> None:
        await self._idle.wait()
        await self.engine.close()

    def hurry(self) -> None:
        self._idle.set()
