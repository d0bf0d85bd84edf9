"""The oracle: what must never happen, as sentences. It watches from outside, and believes nobody's fields.

`promise(condition, sentence)` raises `Broken` with the sentence; a control expects exactly that sentence.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carnet.core.lifecycle import Job, LogOutcome, Offer
from tests.sim.world import Policy, World

if TYPE_CHECKING:
    from tests.sim.host import Host

OUTSIDE = "no runner outside the last decision gets a byte"
WIDENED = "a narrower policy is never widened"
ONE_LEASE = "at most one lease of a job is live on the gateway's clock"
ONE_HOLDER = "no two runners believe that they hold the lease"
RISING = "the attempt strictly rises"
LATE = "a result from a fenced attempt is never accepted"
OUTCOME = "a job has one outcome, when it has ended, and none before"
WAITING = "every job ends, or waits for a reason"


class Broken(AssertionError):
    """An invariant does not hold."""


def promise(condition: bool, sentence: str) -> None:
    """Raise `Broken` with the sentence unless the condition holds."""
    if not condition:
        raise Broken(sentence)


@dataclass(slots=True)
class Oracle:
    """Watches one job. `prepared` is what the client's decision permitted."""

    world: World
    policy: Policy
    prepared: frozenset[str]
    hosts: "list[Host]" = field(default_factory=list)
    attempt: int = 0
    lease_until_ns: int = 0
    released: bool = True
    denied: bool = False
    bytes_sent: int = 0
    results: int = 0

    def offered(self, offer: Offer, *, lease_until_ns: int) -> None:
        """The gateway committed an offer and its lease."""
        place = offer.contender.jurisdiction
        promise(offer.attempt > self.attempt, RISING)
        promise(self.released or self.world.now_ns >= self.lease_until_ns, ONE_LEASE)
        promise(place in self.prepared, WIDENED)
        promise(place in self.policy.permitted, OUTSIDE)
        self.attempt, self.lease_until_ns, self.released = offer.attempt, lease_until_ns, False
        self.denied = False

    def renewed(self, *, attempt: int, lease_until_ns: int) -> None:
        """The gateway promised the runner more time."""
        promise(attempt == self.attempt and not self.released, ONE_LEASE)
        self.lease_until_ns = max(self.lease_until_ns, lease_until_ns)

    def renewal_denied(self) -> None:
        """The last decision on the running attempt was a denial."""
        self.denied = True

    def told(self, *, attempt: int) -> None:
        """The gateway heard from the runner itself that this attempt is over."""
        if attempt == self.attempt:
            self.released = True

    def fetched(self, *, attempt: int, place: str) -> None:
        """The gateway handed ciphertext and wrap to a runner."""
        promise(attempt == self.attempt and not self.denied and place in self.prepared, OUTSIDE)
        self.bytes_sent += 1

    def result_accepted(self, *, attempt: int) -> None:
        """The gateway took a receipt as the job's."""
        promise(attempt == self.attempt and self.world.now_ns < self.lease_until_ns, LATE)
        self.results += 1

    def looked(self) -> None:
        """After every event: whoever believes to hold the lease does so alone."""
        promise(sum(host.believes() for host in self.hosts) <= 1, ONE_HOLDER)

    def recorded(self, job: Job, outcomes: list[LogOutcome]) -> None:
        """After every commit: outcome leaves and reasons to wait."""
        promise(len(outcomes) == int(job.state.terminal), OUTCOME)
        promise(all(outcome.state is job.state for outcome in outcomes), OUTCOME)
