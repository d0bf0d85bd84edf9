"""Roster: the runners that are attached now, what they showed, and how much room they have.

- One presence a runner: a runner that attaches again takes the place of its older stream, which is told to end.
- Room is counted by the gateway: a slot is taken before an offer is made, and given back when its attempt is over. What
  the runner says of its free slots can only lower it.
- A runner that was not here for minutes is absent: it is likely dead, and the keys that jobs were wrapped for with it.
- A presence is used by one event loop; what is sent to a runner goes through its bounded queue, and a runner that does
  not read is let go.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from carnet.core import limits
from carnet.core.errors import PeerError, RunnerDraining, Unavailable
from carnet.core.placement import RunnerOffer
from carnet.core.runner import RunnerFacts
from carnet.vetting import VettedRunner
from gateway.messages import RunnerMessage
from gateway.storage.records import JobKey

sends_max = 256

absent_seconds = float(limits.recipient_absent_seconds)


@dataclass(slots=True, eq=False, kw_only=True)
class Presence:
    """One attached runner. `held` are the jobs whose attempts it has, by grant or reservation."""

    runner: VettedRunner
    active: bool = False
    slots_said: int = 0
    held: set[JobKey] = field(default_factory=set)
    outgoing: asyncio.Queue[RunnerMessage | None] = field(default_factory=lambda: asyncio.Queue(sends_max))
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def slots_free(self) -> int:
        """Room for more attempts."""
        if not self.active:
            return 0
        return max(0, min(self.runner.card.slots, self.slots_said + len(self.held)) - len(self.held))

    def fresh(self, *, now_ns: int) -> bool:
        """Whether what the runner showed still stands; its operator's status is an hour old at most."""
        try:
            self.runner.check_fresh(now_ns=now_ns)
        except PeerError:
            return False
        return True

    def send(self, message: RunnerMessage) -> None:
        """Queue a message for the runner. Raises `Unavailable` when it does not read."""
        try:
            self.outgoing.put_nowait(message)
        except asyncio.QueueFull:
            raise Unavailable(detail=f"{self.runner.spiffe_id} does not read its stream") from None

    def end(self) -> None:
        """Let the stream of this presence end; it takes no more jobs."""
        self.active = False
        self.over.set()
        while self.outgoing.full():
            self.outgoing.get_nowait()
        self.outgoing.put_nowait(None)


class Roster:
    """Who is here."""

    def __init__(self) -> None:
        self._present: dict[str, Presence] = {}
        self._seen: dict[str, float] = {}
        self._since: float | None = None

    def note(self, *, now_ns: int, clock: float) -> None:
        """Remember who is here, with credentials that stand; to be called now and then.

        `clock` is a monotonic one, in seconds: a machine that slept, or whose time was set, makes nobody absent.
        """
        if self._since is None:
            self._since = clock
        here = {name: clock for name, presence in self._present.items() if presence.fresh(now_ns=now_ns)}
        recent = {name: at for name, at in self._seen.items() if clock - at <= absent_seconds}
        self._seen = recent | here

    def absent(self, spiffe_id: str, *, clock: float) -> bool:
        """Whether a runner was not here, or not with credentials that stand, for `limits.recipient_absent_seconds`.

        Nobody is absent for longer than this gateway listens: after a restart every runner has its time to come back.
        """
        if self._since is None:
            return False
        return clock - self._seen.get(spiffe_id, self._since) > absent_seconds

    def attach(self, presence: Presence) -> None:
        """Take a runner in; an older stream of the same runner is ended."""
        before = self._present.get(presence.runner.spiffe_id)
        if before is not None:
            presence.held = before.held if presence.runner.opens(before.runner.key.kid) else set()
            before.end()
        self._present[presence.runner.spiffe_id] = presence

    def detach(self, presence: Presence) -> None:
        """Let a runner go, unless a newer stream took its place."""
        if self._present.get(presence.runner.spiffe_id) is presence:
            del self._present[presence.runner.spiffe_id]

    def find(self, spiffe_id: str) -> Presence | None:
        """The runner of this name, if it is attached."""
        return self._present.get(spiffe_id)

    def facts_of(self, names: Iterable[str], *, now_ns: int) -> tuple[RunnerFacts, ...]:
        """What policy hears of these runners, each once: those of them that are attached and show what still stands."""
        found = (self._present.get(name) for name in dict.fromkeys(names))
        return tuple(p.runner.facts for p in found if p is not None and p.fresh(now_ns=now_ns))

    def reserve(self, presence: Presence, holder: JobKey) -> None:
        """Take a slot. Raises `RunnerDraining` where none is free."""
        if presence.slots_free < 1:
            raise RunnerDraining(detail=f"{presence.runner.spiffe_id} has no free slot")
        presence.held.add(holder)

    def release(self, spiffe_id: str, holder: JobKey) -> None:
        """Give a slot back; a second time changes nothing."""
        presence = self._present.get(spiffe_id)
        if presence is not None:
            presence.held.discard(holder)

    def settle(self, holds: Callable[[str, JobKey], bool]) -> None:
        """Give back every slot whose job is not held by its runner any more, whatever became of it."""
        for spiffe_id, presence in self._present.items():
            presence.held = {key for key in presence.held if holds(spiffe_id, key)}

    def offers(self, *, now_ns: int) -> tuple[RunnerOffer, ...]:
        """Every attached runner as placement sees it, by name; those whose credentials are stale are not here."""
        return tuple(
            RunnerOffer(
                facts=presence.runner.facts,
                card=presence.runner.card,
                slots_free=presence.slots_free,
                draining=not presence.active,
                seal_until_ns=presence.runner.key.seal_until_ns,
            )
            for _, presence in sorted(self._present.items())
            if presence.fresh(now_ns=now_ns)
        )

    def __len__(self) -> int:
        return len(self._present)
