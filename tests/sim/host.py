"""A simulated runner host: takes offers, asks for time, fetches, works, delivers, and may be restarted at any moment.

Its clock runs a little fast or slow and starts anywhere. Its rules are those of design: nothing is opened before
renewal 1 was answered; an attempt not above the last seen is ignored; a lost lease kills the work first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carnet.core.errors import StatementInvalid
from carnet.core.lease import HeldLease, Renewal
from carnet.core.lifecycle import Offer
from carnet.core.receipt import ExitClass
from tests.sim.world import World

if TYPE_CHECKING:
    from tests.sim.dispatcher import Dispatcher

TICK_SECONDS = 4.0
ASK_SECONDS = 20.0
TICKS_MAX = 100
LOST = (ExitClass.INFRA_LOST, ExitClass.LEASE_LOST)
EXITS = (*[ExitClass.SUCCEEDED] * 3, ExitClass.JOB_FAILED, *LOST)


@dataclass(slots=True)
class Work:
    """One attempt on this host."""

    attempt: int
    grant: bytes
    lease: HeldLease
    answered: bool = False
    opened: bool = False
    ticks: int = 0
    ends_at: float = 0.0
    exit_class: ExitClass | None = None


class Host:
    """One runner. `believes` is the oracle's question: would it go on working now?"""

    def __init__(self, world: World, *, spiffe_id: str, place: str, number: int) -> None:
        self.world = world
        self.spiffe_id, self.place, self.number = spiffe_id, place, number
        self.dispatcher: Dispatcher
        self.rate = 1 + world.random.uniform(-0.002, 0.002)
        self.offset = world.random.uniform(1, 10**6)
        self.restarts = 0
        self.seen = 0
        self.work: Work | None = None
        self.mute = False
        self.busy_chance = world.random.choice((0.0, 0.0, 0.2))

    @property
    def kid(self) -> bytes:
        """The epoch key of this process; a restart makes another."""
        return bytes([self.number]) * 16 + self.restarts.to_bytes(16, "big")

    @property
    def monotonic(self) -> float:
        """Seconds of the host's own clock."""
        return self.offset + self.world.seconds * self.rate

    def believes(self) -> bool:
        """Whether this host would go on working on its attempt now."""
        return self.work is not None and self.work.lease.live(monotonic=self.monotonic)

    def restart(self) -> None:
        """The process dies and comes back with nothing but a new key."""
        self.work = None
        self.restarts += 1
        self.seen = 0

    def fall_silent(self, seconds: float) -> None:
        """Nothing that the host sends arrives for a while, though it still hears: half a network partition."""
        self.mute = True
        self.world.after(seconds, self._speak)

    def _speak(self) -> None:
        self.mute = False

    def on_offer(self, offer: Offer, grant: bytes) -> None:
        """An offer arrived; it may be a double, or older than the process."""
        if offer.contender.kid != self.kid:
            self._say_stopped(offer.attempt, grant)
            return
        if offer.attempt <= self.seen:
            return
        self.seen = offer.attempt
        if self.world.random.random() < self.busy_chance:
            self._say_stopped(offer.attempt, grant)
            return
        self.work = Work(attempt=offer.attempt, grant=grant, lease=HeldLease(grant_digest=grant))
        self._ask(self.work)
        self.world.after(TICK_SECONDS, lambda work=self.work: self._tick(work))  # type: ignore[misc]

    def on_renewal(self, renewal: Renewal) -> None:
        """Time was given; perhaps for an older ask, or an older attempt."""
        if self.work is None:
            return
        try:
            self.work.lease = self.work.lease.answer(renewal)
        except StatementInvalid:
            return
        self.work.answered = True
        if not self.work.opened and self.believes():
            self._send_fetch(self.work)

    def on_bytes(self, attempt: int) -> None:
        """Ciphertext and wrap arrived: open and begin, if the lease still lives."""
        work = self.work
        if work is None or work.attempt != attempt or work.opened or not self.believes():
            return
        work.opened = True
        work.ends_at = self.monotonic + self.world.random.choice((1, 10, 60, 200, 400))
        self._send_start(work)

    def on_revoke(self, attempt: int, grant: bytes) -> None:
        """The gateway says stop: kill first, then confirm."""
        if self.work and self.work.attempt == attempt:
            self.work = None
        if not self.work or self.work.attempt != attempt:
            self.seen = max(self.seen, attempt)
            self._say_stopped(attempt, grant)

    def on_delivered(self, attempt: int) -> None:
        """The receipt was taken, or refused for good."""
        if self.work and self.work.attempt == attempt:
            self.work = None

    def _tick(self, work: Work) -> None:
        if self.work is not work:
            return
        self._go_on(work)
        if self.work is work:
            self.world.after(TICK_SECONDS, lambda: self._tick(work))

    def _go_on(self, work: Work) -> None:
        work.ticks += 1
        lost = work.exit_class in LOST
        if work.ticks > TICKS_MAX or (not lost and work.answered and not self.believes()):
            self.work = None
            return
        if not lost and (not work.answered or self.monotonic - work.lease.asked_at >= ASK_SECONDS):
            self._ask(work)
        if work.opened:
            self._send_start(work)
        elif work.answered:
            self._send_fetch(work)
        if work.opened and work.exit_class is None and self.monotonic >= work.ends_at:
            self._finish(work)
        if work.exit_class:
            self._send_receipt(work, work.exit_class)

    def _finish(self, work: Work) -> None:
        work.exit_class = self.world.random.choice(EXITS)
        if work.exit_class in LOST:
            work.lease = HeldLease(grant_digest=work.grant)

    def _ask(self, work: Work) -> None:
        work.lease = work.lease.ask(monotonic=self.monotonic)
        sequence = work.lease.asked_sequence
        self._say(lambda: self.dispatcher.on_ask(self, work.attempt, work.grant, sequence))

    def _send_fetch(self, work: Work) -> None:
        self._say(lambda: self.dispatcher.on_fetch(self, work.attempt, work.grant))

    def _send_start(self, work: Work) -> None:
        self._say(lambda: self.dispatcher.on_start(self, work.attempt, work.grant))

    def _send_receipt(self, work: Work, exit_class: ExitClass) -> None:
        self._say(lambda: self.dispatcher.on_receipt(self, work.attempt, work.grant, exit_class))

    def _say(self, deliver: Callable[[], None]) -> None:
        if not self.mute:
            self.world.send(deliver)

    def _say_stopped(self, attempt: int, grant: bytes) -> None:
        self._say(lambda: self.dispatcher.on_stopped(self, attempt, grant))
