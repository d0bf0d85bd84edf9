"""The Decisions service: what a compliance officer reads of the own tenant's decisions, and the bundles behind them.

- Every call takes the role `compliance` in the token. A tenant sees its own decisions only: another's is answered as
  one that is not there.
- `GetDecision` and `ExportDecisions` bring all that a reader needs to verify: the signed record, the body, its leaf
  under the newest checkpoint, the masked event and the sealed input, as long as both are kept.
- A bundle is handed out to tenants that it decided for, as the signed archive that it was; the one that is live, which
  decides for every tenant from now on, to each of them.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc.aio

from carnet.core import limits
from carnet.core.errors import NotFound
from carnet.v1 import decisions_pb2 as pb
from carnet.v1 import jobs_pb2
from carnet.v1.decisions_pb2_grpc import DecisionsServicer, add_DecisionsServicer_to_server
from carnet.wire import logged_to_proto, signed_from_bytes, signed_to_proto
from gateway import validation
from gateway.auditlog import AuditLog
from gateway.identity import caller, check_role
from gateway.leaves import leaf_about
from gateway.messages import job_name, state_number
from gateway.pages import PageTokens
from gateway.storage import decisionrows
from gateway.storage.decisionlog import DecisionLine
from gateway.storage.decisionrows import AfterLine, Window
from gateway.storage.records import StoredJob
from gateway.storage.store import Store

ROLE: Final = "compliance"
export_page: Final = 64

_PLACE_BYTES: Final = 8 + 32


class Bundles(Protocol):
    """Where every bundle that was ever live is kept."""

    async def read(self, revision: str) -> bytes:
        """The signed archive of a revision. Raises `NotFound`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the service works with; joined in services.py. `live` is the revision of the bundle that is live."""

    store: Store
    log: AuditLog
    bundles: Bundles
    live: Callable[[], str]
    pages: PageTokens


class Decisions(DecisionsServicer):
    """What a compliance officer calls."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._log = parts.log
        self._bundles = parts.bundles
        self._live = parts.live
        self._pages = parts.pages

    def register(self, server: grpc.aio.Server) -> str:
        """Let a server answer for this service; the service's full name."""
        add_DecisionsServicer_to_server(self, server)
        return pb.DESCRIPTOR.services_by_name["Decisions"].full_name

    async def GetDecision(self, request: pb.GetDecisionRequest, context: Any) -> pb.DecisionEntry:  # noqa: ARG002, N802
        """One decision, whole."""
        tenant_id = _officer()
        validation.check(request)
        _, tenant, _, digest = request.name.split("/")
        # Another tenant's decision is answered as one that is not there, before anything is read.
        own = bytes.fromhex(tenant) == tenant_id
        line = await self._store.read(decisionrows.line, tenant_id, bytes.fromhex(digest)) if own else None
        if line is None:
            raise NotFound
        jobs = await self._store.read(decisionrows.jobs_decided, (line,))
        return await self._whole(line, jobs.get(line.digest))

    async def ListDecisions(  # noqa: N802
        self,
        request: pb.ListDecisionsRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.ListDecisionsResponse:
        """The tenant's decisions, newest first."""
        tenant_id = _officer()
        validation.check(request)
        size = min(request.page_size or limits.page_size_default, limits.page_size_max)
        after = self._after(request.page_token, tenant_id) if request.page_token else None
        window = Window(from_ns=request.from_ns, until_ns=request.until_ns, verdict=request.verdict)
        lines = await self._store.read(decisionrows.newest_lines, tenant_id, window, after=after, limit=size)
        jobs = await self._store.read(decisionrows.jobs_decided, lines)
        token = self._pages.token(_place(lines[-1]), tenant_id) if len(lines) == size else ""
        return pb.ListDecisionsResponse(
            decisions=[_entry(line, jobs.get(line.digest)) for line in lines], next_page_token=token
        )

    async def ExportDecisions(  # noqa: N802
        self,
        request: pb.ExportDecisionsRequest,
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[pb.DecisionEntry]:
        """The tenant's decisions, oldest first, each whole."""
        tenant_id = _officer()
        validation.check(request)
        window = Window(from_ns=request.from_ns, until_ns=request.until_ns)
        after: AfterLine | None = None
        while lines := await self._store.read(
            decisionrows.oldest_lines, tenant_id, window, after=after, limit=export_page
        ):
            jobs = await self._store.read(decisionrows.jobs_decided, lines)
            for line in lines:
                yield await self._whole(line, jobs.get(line.digest))
            after = AfterLine(created_ns=lines[-1].created_ns, digest=lines[-1].digest)

    async def FetchBundle(  # noqa: N802
        self,
        request: pb.FetchBundleRequest,
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[pb.FetchBundleResponse]:
        """A bundle that decided for the tenant, or that is live."""
        tenant_id = _officer()
        validation.check(request)
        live = request.revision == self._live()
        if not live and not await self._store.read(decisionrows.decided_under, tenant_id, request.revision):
            raise NotFound
        archive = await self._bundles.read(request.revision)
        for start in range(0, len(archive), limits.chunk_bytes):
            yield pb.FetchBundleResponse(data=archive[start : start + limits.chunk_bytes])

    async def _whole(self, line: DecisionLine, job: StoredJob | None) -> pb.DecisionEntry:
        stored = await self._store.decision(line.digest)
        if stored is None:
            raise NotFound(detail="a line without its decision")
        logged = await leaf_about(self._store, self._log, line.digest)
        kept = await self._store.read(decisionrows.event, line.digest)
        entry = _entry(line, job)
        entry.decision.CopyFrom(
            jobs_pb2.Decision(
                record=signed_to_proto(signed_from_bytes(stored.record)),
                body=stored.body,
                logged=logged_to_proto(logged),
            )
        )
        if kept is not None:
            entry.event, entry.sealed_input = kept.event, kept.sealed_input
        return entry

    def _after(self, token: str, tenant_id: bytes) -> AfterLine:
        place = self._pages.place(token, tenant_id, size=_PLACE_BYTES)
        return AfterLine(created_ns=int.from_bytes(place[:8]), digest=place[8:])


def _officer() -> bytes:
    who = caller()
    check_role(who, ROLE)
    return who.tenant_id


def _place(line: DecisionLine) -> bytes:
    return line.created_ns.to_bytes(8) + line.digest


def _entry(line: DecisionLine, job: StoredJob | None) -> pb.DecisionEntry:
    return pb.DecisionEntry(
        name=f"tenants/{line.tenant_id.hex()}/decisions/{line.digest.hex()}",
        stage=line.stage,
        verdict=line.verdict,
        evaluated_ns=line.created_ns,
        bundle=line.bundle,
        job=job_name(job.key) if job is not None else "",
        job_state=state_number(job.life.state) if job is not None else jobs_pb2.Job.STATE_UNSPECIFIED,
    )
