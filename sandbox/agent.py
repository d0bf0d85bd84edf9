"""Agent: the runner's life. Self-test, attach, take offers, keep going, drain, stop.

- BOOT: orphans of an earlier life are removed (containers by label, spools, the journal's open attempts).
- SELF_TEST: a probe runs in a real cage; a level that is not shown is not registered, and then there is no runner.
- ACTIVE: an offer is judged before anything else; a refusal names its reason. Each attempt is a worker of its own.
- DRAINING: no new offers; attempts end by themselves or, after `stop_seconds`, are stopped and end elsewhere.
"""

import asyncio
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from carnet import statements
from carnet.core.errors import CarnetError, PeerError
from carnet.core.receipt import ExitClass
from carnet.pins import Pins
from carnet.v1 import runners_pb2 as pb
from carnet.verdict import open_gateway
from carnet.wire import logged_from_proto, signed_from_proto
from sandbox.docker import DockerEngine
from sandbox.epoch import EpochKeys
from sandbox.evidence import Evidence
from sandbox.journal import Journal
from sandbox.link import Link
from sandbox.offer import Memory, Offer, judge_offer
from sandbox.worker import Bench, Worker

LABEL: Final = "carnet.agent"
refresh_seconds: Final = 15.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an agent works with; joined in `__main__.py`."""

    bench: Bench
    link: Link
    keys: EpochKeys
    evidence: Evidence
    pins: Pins
    slots: int
    uid_first: int
    stop_seconds: float
    clock: Callable[[], int]


class Agent:
    """One runner process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._memory = Memory()
        self._workers: dict[bytes, Worker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._uids = list(range(parts.uid_first, parts.uid_first + parts.slots))
        self._draining = False

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop, then drain."""
        attached = asyncio.create_task(self._parts.link.attached(self._hear, self._state), name="link")
        refresh = asyncio.create_task(self._refresh(), name="refresh")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait({attached, refresh, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
            await self._drain()
        finally:
            for task in (attached, refresh, stopping):
                task.cancel()
            await asyncio.gather(attached, refresh, stopping, return_exceptions=True)

    async def _drain(self) -> None:
        self._draining = True
        self._parts.link.state(self._state())
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._parts.stop_seconds)
        for worker in self._workers.values():
            worker.revoke(ExitClass.INFRA_LOST)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._parts.stop_seconds)

    async def _hear(self, message: pb.AttachResponse) -> None:
        match message.WhichOneof("item"):
            case "offer":
                await self._offered(message.offer)
            case "renewed":
                self._renewed(message.renewed)
            case "revoked":
                self._revoked(message.revoked)
            case _:
                _log.info("attached", action="attach")

    async def _offered(self, message: pb.Offer) -> None:
        grant_digest = hashlib.sha256(message.grant.payload).digest()
        try:
            if self._draining or not self._uids:
                self._parts.link.refuse(grant_digest, "RUNNER_DRAINING")
                return
            offer = await asyncio.to_thread(
                judge_offer,
                offer_from(message),
                runner=self._parts.evidence.self,
                pins=self._parts.pins,
                memory=self._memory,
                now_ns=self._parts.clock(),
            )
        except CarnetError as error:
            _log.warning("offer refused", action="offer", reason=error.reason, text=error.text, **error.metadata)
            self._parts.link.refuse(grant_digest, error.reason)
            return
        self._memory.note(offer)
        uid = self._uids.pop()
        worker = Worker(offer, self._parts.bench, runner=self._parts.evidence.self, uid=uid)
        self._workers[grant_digest] = worker
        task = asyncio.create_task(self._work(worker, uid), name="worker")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, worker: Worker, uid: int) -> None:
        try:
            await worker.run()
        except Exception:  # noqa: BLE001  # a task's root: it logs, and the lease runs out at the gateway
            _log.exception("worker failed", action="work")
            self._parts.link.ended(worker.grant_digest, ExitClass.INFRA_LOST)
        finally:
            self._workers.pop(worker.grant_digest, None)
            self._uids.append(uid)
            self._parts.link.state(self._state())

    def _renewed(self, message: pb.AttachResponse.Renewed) -> None:
        try:
            renewal = open_gateway(
                statements.RENEWAL, signed_from_proto(message.renewal), pins=self._parts.pins.gateway
            )
        except (PeerError, CarnetError) as error:
            _log.warning("renewal refused", action="renew", reason=error.reason)
            return
        worker = self._workers.get(renewal.grant_digest)
        if worker is not None:
            worker.renewed(renewal)

    def _revoked(self, message: pb.AttachResponse.Revoked) -> None:
        worker = self._workers.get(message.grant_digest)
        if worker is not None:
            worker.revoke(ExitClass.CANCELLED if message.reason == "CANCELLED" else ExitClass.LEASE_LOST)

    def _state(self) -> pb.AttachRequest.StateChange:
        state = pb.RUNNER_STATE_DRAINING if self._draining else pb.RUNNER_STATE_ACTIVE
        return pb.AttachRequest.StateChange(state=state, slots_free=len(self._uids))

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(refresh_seconds)
            shown = self._parts.keys.turn()
            try:
                shown |= await asyncio.to_thread(self._parts.evidence.refresh)
            except (CarnetError, OSError) as error:
                # What was shown before stays, and goes stale by itself: its readers look at its date.
                _log.warning("the operator's statements can not be read", action="refresh", error=type(error).__name__)
            if shown:
                self._parts.link.show()


def offer_from(message: pb.Offer) -> Offer:
    """What a message offers; nothing is verified yet."""
    return Offer(
        key_set=signed_from_proto(message.tenant_key_set),
        manifest=signed_from_proto(message.manifest),
        addenda=tuple(signed_from_proto(addendum) for addendum in message.addenda),
        permit=signed_from_proto(message.permit),
        grant=signed_from_proto(message.grant),
        decision=logged_from_proto(message.decision),
        wrap=message.wrap,
    )


async def clean_up(engine: DockerEngine, journal: Journal, spool_directory: Path, *, label: str) -> None:
    """Remove what an earlier life left: containers first, then ciphertext, then the journal."""
    removed = await engine.remove_orphans(label=LABEL, value=label)
    left = await asyncio.to_thread(journal.open_attempts)
    await asyncio.to_thread(shutil.rmtree, spool_directory, ignore_errors=True)
    await asyncio.to_thread(spool_directory.mkdir, mode=0o700, parents=True, exist_ok=True)
    await asyncio.to_thread(journal.compact)
    if removed or left:
        _log.warning("an earlier life was cleaned up", action="boot", containers=len(removed), attempts=len(left))
