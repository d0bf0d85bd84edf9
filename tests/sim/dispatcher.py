"""The simulated gateway: the real lifecycle, leases and narrowing, over a store that survives crashes.

`Durable` is what a transaction keeps: accepted event rows, outcome leaves, the lease. Everything else dies in a crash
and is rebuilt from the rows. A crash may come between a commit and its effects.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from carnet.core import decision
from carnet.core.decision import DecisionBody
from carnet.core.errors import IllegalTransition, LeaseLost
from carnet.core.job import JobState as State
from carnet.core.lease import Lease, Renewal, grant_lease
from carnet.core.lifecycle import (
    AttemptClosed,
    AttemptLost,
    Claimed,
    DeadlinePassed,
    DeniedForAll,
    Effect,
    Event,
    Job,
    LogOutcome,
    Offer,
    ReceiptArrived,
    RecipientDenied,
    RecipientGone,
    RenewalDenied,
    Revoke,
    Started,
    advance,
)
from carnet.core.receipt import ExitClass
from tests.sim.host import Host
from tests.sim.oracle import WAITING, Oracle, promise
from tests.sim.world import SECOND, Policy, World

TICK_SECONDS = 5.0
WORKING = (State.DISPATCHING, State.RUNNING)
OPEN = (State.AWAITING_APPROVAL, State.QUEUED, State.NEEDS_RECIPIENTS, *WORKING)


Act = Callable[[], None]


class Crash(Exception):
    """The gateway's process died here."""


@dataclass(slots=True)
class Durable:
    """What the store holds for one job."""

    first: Job
    rows: list[tuple[Event, int]] = field(default_factory=list)
    outcomes: list[LogOutcome] = field(default_factory=list)
    lease: Lease | None = None
    revision: int = 0


class Dispatcher:
    """One gateway with one job."""

    def __init__(
        self, world: World, policy: Policy, oracle: Oracle, *, prepared: DecisionBody, job: Job, skew_seconds: float
    ) -> None:
        self.world, self.policy, self.oracle = world, policy, oracle
        self.prepared = prepared
        self.durable = Durable(first=job)
        self.job: Job | None = job
        self.skew_ns = int(skew_seconds * SECOND)
        self.hosts: dict[str, Host] = {}
        self.crash_chance = 0.0
        self.refused_results = 0

    @property
    def now_ns(self) -> int:
        """The gateway's clock."""
        return self.world.now_ns + self.skew_ns

    # --- life of the process ---------------------------------------------------------------------------------

    def crash(self) -> None:
        """Lose everything that is not durable, and come back after a while."""
        if self.job is not None:
            self.job = None
            self.world.after(self.world.random.choice((1.0, 10.0, 90.0)), self.recover)

    def recover(self) -> None:
        """Rebuild the job from its accepted events alone."""
        job = self.durable.first
        for event, now_ns in self.durable.rows:
            job, _ = advance(job, event, now_ns=now_ns)
        self.job = job

    def tick(self) -> None:
        """Look at leases, the deadline, and the queue; then again."""
        if self.job is not None:
            self._guard(self._look)
        if self.job is None or not self.job.state.terminal:
            self.world.after(TICK_SECONDS, self.tick)

    def feed(self, event: Event) -> None:
        """An event from a user; an illegal one is refused."""
        if self.job is not None:
            self._guard(lambda: self._apply(event))

    def _guard(self, act: Act) -> None:
        try:
            act()
        except IllegalTransition:
            return
        except LeaseLost:
            self.refused_results += 1
        except Crash:
            self.crash()

    def _apply(self, event: Event, lease: Lease | None = None) -> None:
        assert self.job is not None
        job, effects = advance(self.job, event, now_ns=self.now_ns)
        self._commit(event, job, effects, lease)
        self.job = job
        self.oracle.recorded(job, self.durable.outcomes)
        if self.world.random.random() < self.crash_chance:
            raise Crash
        self._carry_out(effects)

    def _commit(self, event: Event, job: Job, effects: tuple[Effect, ...], lease: Lease | None) -> None:
        self.durable.rows.append((event, self.now_ns))
        self.durable.outcomes += [effect for effect in effects if isinstance(effect, LogOutcome)]
        if job.state not in (*WORKING, State.CANCELLING):
            self.durable.lease = None
        elif lease:
            self.durable.lease = lease
        for effect in effects:
            if isinstance(effect, Offer) and lease:
                self.oracle.offered(effect, lease_until_ns=lease.deadline_ns - self.skew_ns)

    def _carry_out(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            if isinstance(effect, Offer):
                self._send_offer(effect)
            if isinstance(effect, Revoke) and self.job:
                self._send_revoke(self.hosts[effect.spiffe_id], self.job.attempt)

    def _send_offer(self, offer: Offer) -> None:
        host, grant = self.hosts[offer.contender.spiffe_id], grant_of(offer.attempt)
        self.world.send(lambda: host.on_offer(offer, grant))

    def _send_revoke(self, host: Host, attempt: int) -> None:
        grant = grant_of(attempt)
        self.world.send(lambda: host.on_revoke(attempt, grant))

    # --- the loop --------------------------------------------------------------------------------------------

    def _look(self) -> None:
        job, lease = self._job, self.durable.lease
        self._check_waiting(job)
        if job.state in (*WORKING, State.CANCELLING) and lease and not lease.live(now_ns=self.now_ns):
            self._apply(AttemptClosed() if job.state is State.CANCELLING else AttemptLost(reason="LEASE_LOST"))
        elif job.state in OPEN and self.now_ns >= job.deadline_ns:
            self._apply(DeadlinePassed())
        elif job.state is State.QUEUED and self.policy.up:
            self._dispatch(job)

    def _check_waiting(self, job: Job) -> None:
        if job.state is State.QUEUED:
            promise(job.next_contender is not None and job.attempt < job.attempts_max, WAITING)
        if job.state in (*WORKING, State.CANCELLING):
            promise(self.durable.lease is not None, WAITING)

    def _dispatch(self, job: Job) -> None:
        body = self._ask_policy()
        contender = job.next_contender
        if contender is None:
            return
        left = [c for c in job.contenders if not c.spent and self._permits(body, c.jurisdiction)]
        if not left:
            self._apply(DeniedForAll())
        elif not self._permits(body, contender.jurisdiction):
            self._apply(RecipientDenied(spiffe_id=contender.spiffe_id))
        elif self.hosts[contender.spiffe_id].kid != contender.kid and self.world.random.random() < 0.5:
            self._apply(RecipientGone(spiffe_id=contender.spiffe_id))
        else:
            self._claim(contender.spiffe_id, job.attempt + 1, body)

    def _claim(self, spiffe_id: str, attempt: int, body: DecisionBody) -> None:
        lease = grant_lease(
            attempt=attempt,
            spiffe_id=spiffe_id,
            grant_digest=grant_of(attempt),
            permit_until_ns=body.valid_until_ns + self.skew_ns,
            now_ns=self.now_ns,
        )
        self.durable.revision = self.policy.revision
        self._apply(Claimed(spiffe_id=spiffe_id), lease)

    def _ask_policy(self) -> DecisionBody:
        return self.policy.evaluate()

    def _permits(self, body: DecisionBody, place: str) -> bool:
        return decision.both_permit(self.prepared, body, place)

    # --- what runners say ------------------------------------------------------------------------------------

    def on_ask(self, host: Host, attempt: int, grant: bytes, sequence: int) -> None:
        """A runner asks for time."""
        self._hear(lambda: self._renew(host, attempt, grant, sequence))

    def on_fetch(self, host: Host, attempt: int, grant: bytes) -> None:
        """A runner asks for ciphertext and wrap."""
        self._hear(lambda: self._serve(host, attempt, grant))

    def on_start(self, host: Host, attempt: int, grant: bytes) -> None:
        """A runner says that it has begun."""
        self._hear(lambda: self._start(host, attempt, grant))

    def on_receipt(self, host: Host, attempt: int, grant: bytes, exit_class: ExitClass) -> None:
        """A runner delivers a result."""
        self._hear(lambda: self._receive(host, attempt, grant, exit_class))

    def on_stopped(self, host: Host, attempt: int, grant: bytes) -> None:
        """A runner says that an attempt does not run on it: refused, killed, or unknown."""
        self._hear(lambda: self._stopped(host, attempt, grant))

    def _hear(self, act: Act) -> None:
        if self.job is not None:
            self._guard(act)

    def _fence(self, host: Host, attempt: int, grant: bytes) -> Lease:
        lease = self.durable.lease
        if lease is None:
            raise LeaseLost
        lease.check_fence(attempt=attempt, spiffe_id=host.spiffe_id, grant_digest=grant, now_ns=self.now_ns)
        return lease

    def _renew(self, host: Host, attempt: int, grant: bytes, sequence: int) -> None:
        try:
            lease = self._fence(host, attempt, grant)
        except LeaseLost:
            self._send_revoke(host, attempt)
            return
        if self._job.state is State.CANCELLING:
            self._send_revoke(host, attempt)
            return
        asked = self._asked_again(lease)
        if asked is None:
            return
        renewed, duration_ms = asked.renew(now_ns=self.now_ns)
        self._keep(renewed)
        self.oracle.renewed(attempt=attempt, lease_until_ns=renewed.deadline_ns - self.skew_ns)
        if self.world.random.random() < self.crash_chance / 4:
            self._send_renewal(host, grant, sequence, duration_ms)
            raise Crash
        self._send_renewal(host, grant, sequence, duration_ms)

    def _send_renewal(self, host: Host, grant: bytes, sequence: int, duration_ms: int) -> None:
        renewal = Renewal(payload=b"", grant_digest=grant, sequence=sequence, duration_ms=duration_ms)
        self.world.send(lambda: host.on_renewal(renewal))

    def _keep(self, lease: Lease) -> None:
        self.durable.lease = lease

    def _asked_again(self, lease: Lease) -> Lease | None:
        """The lease with a fresh permit where policy changed or the permit is ending; None where it gives no time."""
        stale = lease.permit_until_ns - self.now_ns < 65 * SECOND
        if self.durable.revision == self.policy.revision and not stale:
            return lease
        if not self.policy.up:
            return None
        body, revision = self._ask_policy(), self.policy.revision
        current = self._job.current
        if current is None or not self._permits(body, current.jurisdiction):
            self.oracle.renewal_denied()
            self._apply(RenewalDenied())
            return None
        self.durable.revision = revision
        return replace(lease, permit_until_ns=body.valid_until_ns + self.skew_ns)

    def _serve(self, host: Host, attempt: int, grant: bytes) -> None:
        self._fence(host, attempt, grant)
        if not self._may_fetch():
            raise LeaseLost
        self.oracle.fetched(attempt=attempt, place=host.place)
        self.world.send(lambda: host.on_bytes(attempt))

    def _may_fetch(self) -> bool:
        return self._job.state in WORKING

    def _start(self, host: Host, attempt: int, grant: bytes) -> None:
        self._fence(host, attempt, grant)
        self._apply(Started())

    def _receive(self, host: Host, attempt: int, grant: bytes, exit_class: ExitClass) -> None:
        try:
            self._fence(host, attempt, grant)
            advance(self._job, ReceiptArrived(exit_class=exit_class), now_ns=self.now_ns)
        except LeaseLost:
            if self.durable.lease is None or self.durable.lease.attempt != attempt:
                self.world.send(lambda: host.on_delivered(attempt))
            raise
        self.oracle.result_accepted(attempt=attempt)
        self.oracle.told(attempt=attempt)
        self.world.send(lambda: host.on_delivered(attempt))
        self._apply(ReceiptArrived(exit_class=exit_class))

    def _stopped(self, host: Host, attempt: int, grant: bytes) -> None:
        self.oracle.told(attempt=attempt)
        self._fence(host, attempt, grant)
        closing = self._job.state is State.CANCELLING
        self._apply(AttemptClosed() if closing else AttemptLost(reason="OFFER_REFUSED"))

    @property
    def _job(self) -> Job:
        assert self.job is not None
        return self.job


def grant_of(attempt: int) -> bytes:
    """The digest of the attempt's grant."""
    return hashlib.sha256(b"grant %d" % attempt).digest()
