"""The simulated world: one clock, a network that drops, doubles and reorders, and a policy that changes its mind.

Real time is `world.now_ns`. All chance comes from one seeded generator, so that a seed replays to the event.
"""

import heapq
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from carnet.core.decision import DecisionBody, parse_body

SECOND: Final = 10**9
START_NS: Final = 1_790_000_000 * SECOND
PLACES: Final = ("DE", "FR", "US")


@dataclass(slots=True, kw_only=True)
class Weather:
    """How bad the network is: probabilities, the longest delay in seconds, and how rare long delays are (1: not)."""

    dropped: float
    doubled: float
    delay_seconds_max: float
    delay_power: int


@dataclass(slots=True)
class World:
    """The event queue. `run` stops at a time; `after_each` is called after every event."""

    random: Random
    weather: Weather
    now_ns: int = START_NS
    after_each: Callable[[], None] = lambda: None
    _queue: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    _order: int = 0

    @property
    def seconds(self) -> float:
        """Seconds since the world began."""
        return (self.now_ns - START_NS) / SECOND

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something later."""
        self._order += 1
        heapq.heappush(self._queue, (self.now_ns + int(seconds * SECOND), self._order, act))

    def send(self, deliver: Callable[[], None]) -> None:
        """A message: it may be lost, come twice, and overtake another."""
        if self.random.random() < self.weather.dropped:
            return
        copies = 2 if self.random.random() < self.weather.doubled else 1
        for _ in range(copies):
            self.after(self.random.random() ** self.weather.delay_power * self.weather.delay_seconds_max, deliver)

    def run(self, *, until_seconds: float) -> None:
        """Process events until the given time of the world."""
        until_ns = START_NS + int(until_seconds * SECOND)
        while self._queue and self._queue[0][0] <= until_ns:
            self.now_ns, _, act = heapq.heappop(self._queue)
            act()
            self.after_each()
        self.now_ns = until_ns


@dataclass(slots=True)
class Policy:
    """The officers' policy: sets of permitted places by revision, and an engine that may be down."""

    world: World
    revisions: list[frozenset[str]]
    up: bool = True

    @property
    def revision(self) -> int:
        """The number of the revision in force."""
        return len(self.revisions) - 1

    @property
    def permitted(self) -> frozenset[str]:
        """The places that are permitted now: the truth that the oracle compares with."""
        return self.revisions[-1]

    def evaluate(self) -> DecisionBody:
        """The decision in force, valid for some minutes, through the real parser."""
        valid_ns = self.world.now_ns + self.world.random.randint(60, 600) * SECOND
        return body_of(self.permitted, valid_until_ns=valid_ns)


def body_of(permitted: frozenset[str], *, valid_until_ns: int) -> DecisionBody:
    """A `carnet.decision/v1` that permits these of `PLACES`."""
    blocked = sorted(set(PLACES) - permitted)
    document = {
        "schema": "carnet.decision/v1",
        "verdict": "permit" if permitted else "deny",
        "permitted": sorted(permitted),
        "blocked": {"SIM-1": blocked} if blocked else {},
        "obligations": [],
        "reasons": [],
        "rules_evaluated": ["SIM-1"],
        "exemptions_used": [],
        "unverified_rows_used": [],
        "valid_until_ns": valid_until_ns,
        "revisions": {"rules": "sha256:0", "data": "sha256:0"},
        "disclaimer": "not-legal-advice",
    }
    return parse_body(json.dumps(document).encode())
