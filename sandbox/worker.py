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
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from carnet import statements
from carnet.core import limits
from carnet.core.document import parse
from carnet.core.envelope import unwrap_root, unwrap_root_addendum, wrap_result_root
from carnet.core.errors import CarnetError, GatewayUnavailable, LeaseLost, PayloadDigestMismatch
from carnet.core.hybrid import HybridPublicKey
from carnet.core.job import Mode
from carnet.core.lease import HeldLease, Renewal
from carnet.core.receipt import ExitClass, Meter, Receipt, ResultObject, Start
from carnet.core.root import check_root, wipe
from carnet.core.segment import SegmentOpener
from carnet.core.statement import Signed, Signer
from sandbox import frames
from sandbox.cage import Caps, ContainerSpec, Shape, render
from sandbox.delivery import Delivery
from sandbox.docker import DockerEngine
from sandbox.epoch import EpochKeys
from sandbox.journal import Journal, Step
from sandbox.link import Link
from sandbox.meter import MeterReading
from sandbox.offer import AcceptedOffer, Self
from sandbox.outcome import Outcome, Stop
from sandbox.sealing import Sealing
from sandbox.spool import SegmentFile, Spool, segments_of

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
        await self._fetch(spool)
        self._check_time()
        root = await asyncio.to_thread(self._unwrap)
        result_root = bytearray(secrets.token_bytes(32))
        try:
            start, signed_start = self._start(result_root)
            delivery = Delivery(
                self._bench.link,
                spool,
                grant_digest=self.grant_digest,
                attempt=self._offer.grant.attempt,
                start=signed_start,
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
        sealing = Sealing(
            result_root,
            spool,
            manifest_digest=self._offer.manifest.digest,
            grant_digest=self.grant_digest,
            log_mode=self._offer.manifest.log_mode,
            emit=delivery.emit,
        )
        spec = self._render(image_id)
        await self._note(Step.RUNNING)
        outcome = await self._bench.engine.run(
            spec,
            stdin=self._stdin(spool, root),
            sink=sealing,
            caps=Caps(
                log_bytes_max=limits.log_bytes_max,
                result_bytes_max=limits.result_bytes_max,
                result_objects_max=limits.result_objects_max,
            ),
            timeout_seconds=self._offer.manifest.seconds_max,
            stop=self._stop,
        )
        if outcome.exit is ExitClass.LEASE_LOST:
            raise LeaseLost
        if self._stop.cause is not None:
            raise GatewayUnavailable(detail=f"stopped: {self._stop.cause}")
        results = await sealing.finish()
        await self._note(Step.SEALED)
        receipt, signed = self._receipt(start, outcome, results, log_records=sealing.log_records)
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

    async def _fetch(self, spool: Spool) -> None:
        for object_id, segment, digest, size in segments_of(self._offer.manifest):
            file = await asyncio.to_thread(spool.begin, object_id, segment)
            try:
                while file.size < size:
                    await self._fetch_some(file, object_id, segment, size)
                await asyncio.to_thread(file.finish, digest)
            finally:
                file.close()

    async def _fetch_some(self, file: SegmentFile, object_id: int, segment: int, size: int) -> None:
        before = file.size
        payload = self._bench.link.payload(self.grant_digest, object_id=object_id, segment=segment, offset=file.size)
        try:
            async with contextlib.aclosing(payload) as chunks:
                async for place, data in chunks:
                    if place != (object_id, segment, file.size):
                        raise PayloadDigestMismatch("The gateway sent another part of the payload than was asked for.")
                    if file.size + len(data) > size:
                        raise PayloadDigestMismatch("A payload segment is longer than the client signed.")
                    await asyncio.to_thread(file.add, data)
        except GatewayUnavailable:
            if self._stop.cause is not None:
                raise
            await asyncio.sleep(1)
            return
        if file.size == before:
            raise PayloadDigestMismatch("A payload segment is shorter than the client signed.")

    def _unwrap(self) -> bytearray:
        offer, manifest = self._offer, self._offer.manifest
        private = self._bench.keys.private(offer.grant.kid)
        if offer.addendum_digest is None:
            root = unwrap_root(
                private,
                offer.wrap,
                manifest_digest=manifest.digest,
                spiffe_id=self._runner.spiffe_id,
                jurisdiction=self._runner.jurisdiction,
                kid=offer.grant.kid,
            )
        else:
            root = unwrap_root_addendum(
                private,
                offer.wrap,
                manifest_digest=manifest.digest,
                addendum_digest=offer.addendum_digest,
                spiffe_id=self._runner.spiffe_id,
                jurisdiction=self._runner.jurisdiction,
                kid=offer.grant.kid,
            )
        check_root(root, manifest)
        return root

    # --- what is made --------------------------------------------------------------------------------------------

    def _start(self, result_root: bytearray) -> tuple[Start, Signed]:
        manifest = self._offer.manifest
        wrap = wrap_result_root(
            HybridPublicKey(manifest.result_public),
            result_root,
            manifest_digest=manifest.digest,
            grant_digest=self.grant_digest,
            spiffe_id=self._runner.spiffe_id,
        )
        unsigned = Start(
            payload=b"",
            manifest_digest=manifest.digest,
            grant_digest=self.grant_digest,
            spiffe_id=self._runner.spiffe_id,
            result_wrap=wrap,
            started_ns=self._bench.clock(),
        )
        return statements.START.sign(unsigned, self._bench.leaf)

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

    async def _stdin(self, spool: Spool, root: bytearray) -> AsyncIterator[bytes]:
        manifest = self._offer.manifest
        if manifest.mode is Mode.RAW:
            async for data in self._opened(spool, root, 1):
                yield data
            return
        yield index_frame(b"".join([data async for data in self._opened(spool, root, 0)]))
        for item in manifest.objects[1:]:
            async for data in self._opened(spool, root, item.id):
                for frame in frames.chunk(item.id, data):
                    yield frame
        yield frames.END

    async def _opened(self, spool: Spool, root: bytearray, object_id: int) -> AsyncIterator[bytes]:
        manifest = self._offer.manifest
        count = len(manifest.objects[object_id].segment_digests)
        for segment in range(count):
            opener = SegmentOpener(
                root, job_id=manifest.job_id, object_id=object_id, index=segment, last=segment == count - 1
            )
            pieces = spool.read(object_id, segment)
            while (ciphertext := await asyncio.to_thread(next, pieces, b"")) != b"":
                if data := await asyncio.to_thread(opener.update, ciphertext):
                    yield data
            if data := opener.finish():
                yield data

    def _receipt(
        self,
        start: Start,
        outcome: Outcome,
        results: tuple[ResultObject, ...],
        *,
        log_records: int,
    ) -> tuple[Receipt, Signed]:
        manifest, permit, grant = self._offer.manifest, self._offer.permit, self._offer.grant
        unsigned = Receipt(
            payload=b"",
            job_id=manifest.job_id,
            manifest_digest=manifest.digest,
            grant_digest=grant.digest,
            permit_digest=permit.digest,
            start_digest=start.digest,
            decision_digest=permit.prepare_decision_digest,
            record_digest=permit.record_digest,
            spiffe_id=self._runner.spiffe_id,
            jurisdiction=self._runner.jurisdiction,
            isolation=self._runner.card.isolation,
            template_digest=self._runner.card.template_digest,
            profile_digest=outcome.profile_digest,
            image=manifest.image,
            attempt=grant.attempt,
            started_ns=outcome.started_ns,
            ended_ns=outcome.ended_ns,
            exit_class=outcome.exit,
            exit_code=outcome.code if outcome.code is not None else -1,
            results=results,
            log_records=log_records,
            evidence_digest=hashlib.sha256(json.dumps(self._runner.card.isolation_facts).encode()).digest(),
            meter=meter_of(outcome.meter, price_micro_usd_second=self._runner.card.price_micro_usd_second),
        )
        return statements.RECEIPT.sign(unsigned, self._bench.leaf)

    async def _note(self, step: Step) -> None:
        await asyncio.to_thread(self._bench.journal.note, self.grant_digest, step)


def index_frame(plain: bytes) -> bytes:
    """The launcher's first frame from the sealed index. Raises `FieldInvalid` where it is not one."""
    document = parse(plain, bytes_max=limits.index_bytes_max)
    environment = document.document("environment")
    files = [
        frames.File(
            id=row.integer("id", low=1, high=limits.objects_max),
            name=row.text("name", bytes_max=limits.name_bytes_max),
            size=row.integer("size", high=limits.object_bytes_max),
        )
        for row in document.documents("files", items_max=limits.objects_max)
    ]
    return frames.index(
        argv=document.strings("argv", items_max=arguments_max, bytes_max=limits.index_bytes_max),
        environment={name: environment.text(name, bytes_max=limits.index_bytes_max) for name in environment.names()},
        files=files,
    )


def meter_of(reading: MeterReading, *, price_micro_usd_second: int) -> Meter:
    """The meter of a receipt: what the host measured, and the price of the seconds begun."""
    seconds = -(-reading.wall_ms // 1000)
    return Meter(
        wall_ms=reading.wall_ms,
        cpu_ms=reading.cpu_ms or 0,
        memory_peak_bytes=reading.memory_peak_bytes or 0,
        gpu_ms=reading.gpu_ms or 0,
        energy_mj=reading.energy_mj or 0,
        energy_method=reading.energy_method,
        price_micro_usd=seconds * price_micro_usd_second,
        cpu_method=reading.cpu_method,
        memory_method=reading.memory_method,
    )
