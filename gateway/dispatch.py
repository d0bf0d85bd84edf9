"""Dispatch: offers queued jobs to runners, keeps leases, and carries out what a job's life asks for. The only loop.

- A queued job is claimed for the first of its recipients, in the client's order, that is attached with the very key
  that the job was wrapped for and has a free slot. Policy is asked again before each claim; no answer, no claim.
- The dispatch decision's leaf is durable before the grant is signed, and the grant names the checkpoint that covers it.
- A lease that ran out, a deadline that passed, a runner that came back with another key: the sweep notices each second.
  A recipient that stays away for minutes, or that its operator no longer vouches for, is passed over like one of those.
- After a restart nothing is assumed: leases live until their stored deadlines, and queued jobs are queued again.
- A round that fails is logged, and the next one begins: what is stored decides what is done, so a queued job that fell
  out of the queue, or a slot that was not given back, is put right within a second.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import replace
from itertools import islice
from typing import Final

import structlog

from carnet import statements
from carnet.core.errors import CarnetError, IllegalTransition, LeaseLost, PolicyDenied, Unavailable
from carnet.core.job import JobState as State
from carnet.core.lease import Renewal
from carnet.core.lifecycle import (
    AttemptClosed,
    AttemptLost,
    Contender,
    DeniedForAll,
    DropUpload,
    DropWraps,
    Effect,
    Enqueue,
    Event,
    LogOutcome,
    Offer,
    RecipientDenied,
    RecipientGone,
    RenewalDenied,
    Revoke,
)
from carnet.core.receipt import ExitClass
from gateway.judge import RunnerDenied
from gateway.lives import Fence
from gateway.messages import renewed_message, revoked_message
from gateway.offering import Offering, Parts, check_held, held_by
from gateway.overdue import overdue
from gateway.roster import Presence
from gateway.storage.blobs import Payload
from gateway.storage.operations import Operation
from gateway.storage.records import Conflict, JobKey, StoredJob

sweep_seconds: Final = 1.0
retry_seconds: Final = 1.0
claims_max: Final = 16
attempt_pause_seconds: Final = 1.0
attempt_pause_seconds_max: Final = 60.0

_log = structlog.get_logger(__name__)


class Dispatch:
    """The one loop of a gateway process. `start` first, then `close`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lives = parts.lives
        self._offering = Offering(parts)
        self._roster = parts.roster
        self._queued: dict[JobKey, float] = {}
        self._paused: dict[JobKey, float] = {}
        self._claiming: set[JobKey] = set()
        self._more = False
        self._revisions: dict[bytes, object] = {}
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        parts.lives.on_step = self._stepped

    async def start(self) -> None:
        """Read what was going on when the gateway stopped, and begin."""
        for job in await self._lives.load():
            if job.life.state is State.QUEUED:
                self.enqueue(job.key)
            elif job.life.state is State.DISPATCHING and job.lease is None:
                # The process ended between the decision's leaf and the grant: no runner ever heard of this attempt.
                await self._lives.step(job.key, AttemptLost(reason="GATEWAY_RESTARTED"))
        self._spawn(self._run(), name="dispatch")

    async def close(self) -> None:
        """Stop the loop and what it started; jobs stay as they are stored."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def adopt(self, job: StoredJob) -> None:
        """Take over a job that was just accepted."""
        self._lives.adopt(job)
        if job.life.state is State.QUEUED:
            self.enqueue(job.key)

    def enqueue(self, key: JobKey, *, after_seconds: float = 0.0) -> None:
        """Look for a recipient as soon as the loop comes round, but not before this pause is over."""
        self._queued[key] = asyncio.get_running_loop().time() + after_seconds if after_seconds else 0.0
        if after_seconds:
            self._paused[key] = self._queued[key]
        self._wake.set()

    def nudge(self) -> None:
        """Something changed that may let a queued job go: a runner attached, a slot is free."""
        self._queued = {key: self._paused.get(key, 0.0) for key in self._queued}
        self._wake.set()

    async def renew(self, presence: Presence, grant_digest: bytes, sequence: int) -> None:
        """Answer a runner's ask for time; durable before the answer goes out. Raises `LeaseLost`.

        A runner whose operator no longer says that it stands gets no more time.
        """
        job = self._lives.of_grant(grant_digest)
        check_held(job, presence.runner.spiffe_id, grant_digest)
        if not presence.fresh(now_ns=self._parts.clock()):
            raise LeaseLost(detail="what the runner showed of itself is stale")
        if self._revisions.get(grant_digest) != self._law:
            await self._ask_again(job, presence, grant_digest)
        given = 0

        def extend(current: StoredJob) -> tuple[StoredJob, tuple[Operation, ...]]:
            nonlocal given
            check_held(current, presence.runner.spiffe_id, grant_digest)
            if current.lease is None or current.life.state not in (State.DISPATCHING, State.RUNNING):
                raise LeaseLost
            lease, given = current.lease.renew(now_ns=self._parts.clock(), lease_seconds=self._parts.lease_seconds)
            return replace(current, lease=lease), ()

        await self._lives.amend(job.key, extend)
        renewal = Renewal(payload=b"", grant_digest=grant_digest, sequence=sequence, duration_ms=given)
        _, signed = statements.RENEWAL.sign(renewal, self._parts.signer)
        presence.send(renewed_message(signed))

    async def ended(self, presence: Presence, grant_digest: bytes, exit_class: ExitClass) -> None:
        """The runner says that an attempt is over with nothing to deliver."""
        await self._lost(presence, grant_digest, reason=exit_class.value.upper())

    async def refused(self, presence: Presence, grant_digest: bytes, reason: str) -> None:
        """The runner will not take an offer."""
        await self._lost(presence, grant_digest, reason=reason or "OFFER_REFUSED")

    # --- the loop ------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        swept = -sweep_seconds
        while True:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(sweep_seconds):
                    await self._wake.wait()
            self._wake.clear()
            self._start_claims()
            # A sweep looks at every job: once in its time is enough, however often the loop is woken.
            if clock() - swept >= sweep_seconds:
                swept = clock()
                await self._guard(self._sweep())

    def _start_claims(self) -> None:
        now, room = asyncio.get_running_loop().time(), claims_max - len(self._claiming)
        due = (key for key, after in self._queued.items() if key not in self._claiming and now >= after)
        found = tuple(islice(due, room + 1))
        self._more = len(found) > room
        for key in found[:room]:
            self._claiming.add(key)
            self._spawn(self._claim(key), name="claim")

    async def _sweep(self) -> None:
        self._roster.note(now_ns=self._parts.clock(), clock=asyncio.get_running_loop().time())
        for job in self._lives.all():
            if job.life.state is State.QUEUED and job.key not in self._queued and job.key not in self._claiming:
                self._requeue(job.key)
            event = self._overdue(job)
            if event is not None:
                # A renewal or another step may have come first; the job is looked at again in the next round.
                with contextlib.suppress(IllegalTransition, Conflict, Unavailable):
                    await self._lives.step(job.key, event, fence=self._still(event))
        self._roster.settle(self._holds)

    def _overdue(self, job: StoredJob) -> Event | None:
        return overdue(job, self._roster, now_ns=self._parts.clock(), lease_seconds=self._parts.lease_seconds)

    def _holds(self, spiffe_id: str, key: JobKey) -> bool:
        job = self._lives.find(key)
        return key in self._claiming or (job is not None and job.life.runner == spiffe_id)

    def _still(self, event: Event) -> Fence:
        def fence(job: StoredJob) -> None:
            if self._overdue(job) != event:
                raise IllegalTransition(detail="the job is not overdue any more")

        return fence

    async def _claim(self, key: JobKey) -> None:
        self._queued.pop(key, None)
        self._paused.pop(key, None)
        try:
            await self._try_claim(key)
        except CarnetError as error:
            _log.warning("job waits", action="claim", reason=error.reason, detail=error.detail or error.text)
            self._requeue(key)
        finally:
            self._claiming.discard(key)
            if self._more:  # there was no room for all that were due
                self._wake.set()

    async def _try_claim(self, key: JobKey) -> None:
        job = self._lives.find(key)
        if job is None or job.life.state is not State.QUEUED:
            return
        found = self._ready(job)
        if found is None:
            gone = self._gone(job)
            if gone is None:
                self._requeue(key)
            else:
                await self._lives.step(key, RecipientGone(spiffe_id=gone.spiffe_id))
            return
        contender, presence = found
        self._roster.reserve(presence, key)
        try:
            await self._offer(job, contender, presence)
        except PolicyDenied as error:
            self._roster.release(contender.spiffe_id, key)
            for_all = not isinstance(error, RunnerDenied)
            await self._lives.step(key, DeniedForAll() if for_all else RecipientDenied(spiffe_id=contender.spiffe_id))
        except CarnetError:
            self._roster.release(contender.spiffe_id, key)
            raise

    def _requeue(self, key: JobKey) -> None:
        self._queued.setdefault(key, asyncio.get_running_loop().time() + retry_seconds)

    def _ready(self, job: StoredJob) -> tuple[Contender, Presence] | None:
        for contender in job.life.contenders:
            presence = self._roster.find(contender.spiffe_id)
            if contender.spent or presence is None or presence.slots_free < 1:
                continue
            if presence.runner.opens(contender.kid) and presence.fresh(now_ns=self._parts.clock()):
                return contender, presence
        return None

    def _gone(self, job: StoredJob) -> Contender | None:
        for contender in job.life.contenders:
            presence = self._roster.find(contender.spiffe_id)
            restarted = presence is not None and not presence.runner.opens(contender.kid)
            if not contender.spent and (restarted or self._absent(contender)):
                return contender
        return None

    def _absent(self, contender: Contender) -> bool:
        return self._roster.absent(contender.spiffe_id, clock=asyncio.get_running_loop().time())

    async def _offer(self, job: StoredJob, contender: Contender, presence: Presence) -> None:
        asked = self._law
        grant_digest = await self._offering.offer(job, contender, presence)
        # What is in force by now may be newer than what was asked: then the first renewal asks again.
        self._revisions[grant_digest] = asked

    @property
    def _law(self) -> object:
        """What a re-check depends on, beside the job: another value means that policy or screening changed."""
        return self._parts.judge.revisions, self._parts.standing.screened_by

    # --- leases --------------------------------------------------------------------------------------------------

    async def _ask_again(self, job: StoredJob, presence: Presence, grant_digest: bytes) -> None:
        current = job.life.current
        if current is None:
            raise LeaseLost
        asked = self._law
        try:
            await self._offering.recheck(job, presence, current.kid)
        except PolicyDenied:
            await self._lives.step(job.key, RenewalDenied(), fence=held_by(presence, grant_digest))
            raise LeaseLost from None
        self._revisions[grant_digest] = asked

    async def _lost(self, presence: Presence, grant_digest: bytes, *, reason: str) -> None:
        job = self._lives.of_grant(grant_digest)
        event: Event = AttemptClosed() if job.life.state is State.CANCELLING else AttemptLost(reason=reason)
        await self._lives.step(job.key, event, fence=held_by(presence, grant_digest))

    # --- what follows a step -------------------------------------------------------------------------------------

    def _stepped(self, before: StoredJob, after: StoredJob, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case Enqueue():
                    self.enqueue(after.key, after_seconds=_pause(before, after))
                case Revoke(spiffe_id=spiffe_id, reason=reason):
                    self._revoke(before, spiffe_id, reason)
                case DropWraps():
                    self._spawn(self._drop_payload(after), name="drop")
                case Offer() | LogOutcome() | DropUpload():
                    pass  # an offer follows its grant; the others were part of the transaction, or of the upload
        if before.lease is not None and after.lease is None:
            self._revisions.pop(before.lease.grant_digest, None)
        if before.life.runner and (after.life.state.terminal or not after.life.runner):
            self._roster.release(before.life.runner, before.key)
            self._wake.set()

    async def _drop_payload(self, job: StoredJob) -> None:
        """Nobody can open the payload any more: it goes. What a crash leaves of it, retention removes."""
        await self._parts.blobs.delete(Payload(key=job.key, manifest_digest=job.manifest_digest))

    def _revoke(self, before: StoredJob, spiffe_id: str, reason: str) -> None:
        presence = self._roster.find(spiffe_id)
        if presence is None or before.lease is None:
            return
        with contextlib.suppress(Unavailable):  # a runner that does not read loses its lease all the same
            presence.send(revoked_message(before.lease.grant_digest, reason))

    def _spawn(self, work: Coroutine[None, None, None], *, name: str) -> None:
        task = asyncio.create_task(self._guard(work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before its first step never comes to what it was made for.
        task.add_done_callback(lambda _: work.close())

    async def _guard(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception:  # noqa: BLE001  # a task's root: it logs, and what it held stays as it is stored
            _log.exception("task failed", action="dispatch")
            self._parts.metrics.task_failures.inc()


def _pause(before: StoredJob, after: StoredJob) -> float:
    """Attempts are spaced: the more were lost, the longer the next one waits."""
    if before.life.state not in (State.DISPATCHING, State.RUNNING):
        return 0.0
    return float(min(attempt_pause_seconds * 2 ** (after.life.attempt - 1), attempt_pause_seconds_max))
