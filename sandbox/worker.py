"""Worker: one attempt, from an accepted offer to an accepted receipt. The only place where a job is opened.

- Time first: nothing is fetched or opened before renewal 1 is held. When the time runs out the cage is killed, and only
  then is anything said.
- Ciphertext is spooled and held against the signed digests; then the wrap is opened and the root compared with its
  commitment; only then does a cage start, and segments are opened as a stream into its stdin, with bounded memory.
- Output is sealed as it comes. Exit, times and meter are the host's. The receipt is signed last.
- Keys are wiped and the spool is removed whatever happens.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from carnet.core import limits
from carnet.core.errors import CarnetError, GatewayUnavailable, LeaseLost
from carnet.core.lease import HeldLease, Renewal
from carnet.core.receipt import ExitClass, Start
from carnet.core.root import wipe
from carnet.core.statement import Signer
from sandbox.cage import Caps, ContainerSpec, Shape, render
from sandbox.delivery import Delivery
from sandbox.docker import DockerEngine
from sandbox.epoch import EpochKeys
from sandbox.journal import Journal, Step
from sandbox.link import Link
from sandbox.offer import AcceptedOffer, Self
from sandbox.outcome import Stop
from sandbox.papers import make_receipt, make_start
from sandbox.payload import fetch, stdin, unwrap
from sandbox.sealing import Sealing
from sandbox.spool import Spool

arguments_max: Final = 4096
renewal_seconds: Final = 30.0
lease_look: Final = 0.5
deliver_seconds_max: Final = 3600.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every attempt of a runner works with; joined in `__main__.py`."""

    engine: DockerEngine
    link: Link
    keys: EpochKeys
    leaf: Signer
    journal: Journal
    spool_directory: Path
    clock: Callable[[], int]
    label: str


class Worker:
    """One attempt. `uid` is the account of its slot."""

    def __init__(self, offer: AcceptedOffer, bench: Bench, *, runner: Self, uid: int) -> None:
        self._offer = offer
        self._bench = bench
        self._runner = runner
        self._uid = uid
        self._stop = Stop()
        self._lease = HeldLease(grant_digest=offer.grant.digest)
        self._timely = asyncio.Event()

    @property
    def grant_digest(self) -> bytes:
        """Which attempt this is."""
        return self._offer.grant.digest

    def renewed(self, renewal: Renewal) -> None:
        """The gateway's answer to an ask; one that is not to the last ask is left alone."""
        with contextlib.suppress(CarnetError):
            self._lease = self._lease.answer(renewal)
            self._timely.set()

    def revoke(self, cause: ExitClass) -> None:
        """Stop: the job was cancelled, the lease is lost, or the runner goes away."""
        self._stop.set(cause)

    async def run(self) -> None:
        """Do the work, and clean up. Every failure ends in one word to the gateway; none leaves this method."""
        keeper = asyncio.create_task(self._keep_lease(), name="lease")
        spool: Spool | None = None
        try:
            await self._note(Step.LEASED)
            await self._hold()
            spool = await asyncio.to_thread(Spool, self._bench.spool_directory / self.grant_digest.hex())
            await self._attempt(spool)
        except LeaseLost:
            _log.warning("lease lost", action="attempt", grant=self.grant_digest.hex())
            if self._stop.cause is ExitClass.CANCELLED:  # it was cancelled before its cage began, and ends at once
                self._bench.link.ended(self.grant_digest, ExitClass.CANCELLED)
        except CarnetError as error:
            _log.warning("attempt ended", action="attempt", reason=error.reason, detail=error.detail or error.text)
            self._bench.link.ended(self.grant_digest, self._stop.cause or ExitClass.INFRA_LOST)
        finally:
            keeper.cancel()
            if spool is not None:
                await asyncio.to_thread(spool.remove)
            await self._note(Step.CLEANED)

    # --- time ----------------------------------------------------------------------------------------------------

    async def _hold(self) -> None:
        try:
            await asyncio.wait_for(self._timely.wait(), renewal_seconds)
        except TimeoutError:
            raise GatewayUnavailable(detail="the first renewal did not come") from None

    def _stopped(self) -> bool:
        return self._stop.cause is not None

    def _check_time(self) -> None:
        """Nothing is opened for a job that is being stopped, or whose time is over."""
        if self._stop.cause is not None or not self._lease.live(monotonic=time.monotonic()):
            raise LeaseLost

    async def _keep_lease(self) -> None:
        while True:
            self._lease = self._lease.ask(monotonic=time.monotonic())
            self._bench.link.ask(self.grant_digest, self._lease.asked_sequence)
            while (now := time.monotonic()) < self._lease.ask_next:
                ends = min(self._lease.ask_next, self._lease.deadline) if self._timely.is_set() else now + lease_look
                await asyncio.sleep(min(max(ends - now, 0.01), lease_look))
                if self._timely.is_set() and not self._lease.live(monotonic=time.monotonic()):
                    self._stop.set(ExitClass.LEASE_LOST)
                    return

    # --- the attempt ---------------------------------------------------------------------------------------------

    async def _attempt(self, spool: Spool) -> None:
        manifest = self._offer.manifest
        image_id = await self._bench.engine.image_id(manifest.image)
        await fetch(self._bench.link, spool, manifest, grant_digest=self.grant_digest, stopped=self._stopped)
        self._check_time()
        root = await asyncio.to_thread(unwrap, self._offer, self._bench.keys, self._runner)
        result_root = bytearray(secrets.token_bytes(32))
        try:
            start, signed_start = make_start(
                self._offer, self._runner, result_root, leaf=self._bench.leaf, now_ns=self._bench.clock()
            )
            delivery = Delivery(
                self._bench.link,
                spool,
                grant_digest=self.grant_digest,
                attempt=self._offer.grant.attempt,
                start=signed_start,
                stopped=self._stopped,
            )
            await self._note(Step.PREPARED)
            sender = asyncio.create_task(self._deliver(delivery), name="delivery")
            try:
                await self._work(spool, root, result_root, start, delivery, image_id)
                await asyncio.wait_for(sender, deliver_seconds_max)
                await self._note(Step.ACCEPTED)
            except TimeoutError:
                raise GatewayUnavailable(detail="the result could not be delivered") from None
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
        finally:
            wipe(root)
            wipe(result_root)

    async def _work(
        self,
        spool: Spool,
        root: bytearray,
        result_root: bytearray,
        start: Start,
        delivery: Delivery,
        image_id: str,
    ) -> None:
        manifest = self._offer.manifest
        sealing = Sealing(
            result_root,
            spool,
            manifest_digest=manifest.digest,
            grant_digest=self.grant_digest,
            log_mode=manifest.log_mode,
            emit=delivery.emit,
        )
        spec = self._render(image_id)
        await self._note(Step.RUNNING)
        outcome = await self._bench.engine.run(
            spec,
            stdin=stdin(manifest, spool, root),
            sink=sealing,
            caps=Caps(
                log_bytes_max=limits.log_bytes_max,
                result_bytes_max=limits.result_bytes_max,
                result_objects_max=limits.result_objects_max,
            ),
            timeout_seconds=manifest.seconds_max,
            stop=self._stop,
        )
        if outcome.exit is ExitClass.LEASE_LOST:
            raise LeaseLost
        if self._stop.cause is not None:
            raise GatewayUnavailable(detail=f"stopped: {self._stop.cause}")
        results = await sealing.finish()
        await self._note(Step.SEALED)
        receipt, signed = make_receipt(
            self._offer,
            self._runner,
            start,
            outcome,
            results,
            log_records=sealing.log_records,
            leaf=self._bench.leaf,
        )
        await self._note(Step.RECEIPTED)
        delivery.finish(receipt, signed)

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await delivery.run()
        except LeaseLost:
            self._stop.set(ExitClass.LEASE_LOST)
            raise
        except CarnetError:
            self._stop.set(ExitClass.INFRA_LOST)
            raise

    def _render(self, image_id: str) -> ContainerSpec:
        manifest = self._offer.manifest
        need = manifest.resources
        return render(
            image_id=image_id,
            mode=manifest.mode,
            command=manifest.command,
            shape=Shape(
                cpu_millis=need.cpu_millis,
                memory_bytes=need.memory_bytes,
                work_bytes=need.work_bytes,
                timeout_seconds=manifest.seconds_max,
                gpus=tuple(device.uuid for device in self._runner.card.devices[: need.gpus]),
            ),
            uid=self._uid,
            labels={"carnet.agent": self._bench.label, "carnet.grant": self.grant_digest.hex()},
            isolation=self._runner.card.isolation,
        )

    async def _note(self, step: Step) -> None:
        await asyncio.to_thread(self._bench.journal.note, self.grant_digest, step)
