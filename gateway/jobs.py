"""The Jobs service: frames in, frames out. Who calls is known from the gate; a tenant sees its own jobs only."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc.aio

from carnet.core import limits
from carnet.core.errors import IllegalTransition, JobNotCancellable, NotFound
from carnet.core.lifecycle import CancelAsked
from carnet.v1 import jobs_pb2 as pb
from carnet.v1.jobs_pb2_grpc import JobsServicer, add_JobsServicer_to_server
from gateway import validation
from gateway.approvals import Approvals
from gateway.identity import Caller, caller
from gateway.intake import Intake
from gateway.lives import Lives
from gateway.messages import job_key, job_message
from gateway.pages import PageTokens
from gateway.preparing import Preparing
from gateway.recipients import Recipients
from gateway.requests import done_before, remember_request
from gateway.returns import Returns
from gateway.storage import queries
from gateway.storage.records import StoredJob
from gateway.storage.segments import Position
from gateway.storage.store import Store

_PLACE_BYTES: Final = 8 + 16


class Jobs(JobsServicer):
    """What an enterprise calls."""

    def __init__(
        self,
        store: Store,
        preparing: Preparing,
        intake: Intake,
        recipients: Recipients,
        approvals: Approvals,
        returns: Returns,
        lives: Lives,
        *,
        pages: PageTokens,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._recipients = recipients
        self._approvals = approvals
        self._clock = clock
        self._preparing = preparing
        self._intake = intake
        self._returns = returns
        self._lives = lives
        self._pages = pages

    def register(self, server: grpc.aio.Server) -> str:
        """Let a server answer for this service; the service's full name."""
        add_JobsServicer_to_server(self, server)
        return pb.DESCRIPTOR.services_by_name["Jobs"].full_name

    async def PrepareJob(self, request: pb.PrepareJobRequest, context: Any) -> pb.PrepareJobResponse:  # noqa: ARG002, N802
        """Where may this job run."""
        return await self._preparing.prepare(caller(), request)

    async def SubmitJob(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.SubmitJobRequest],
        context: Any,  # noqa: ARG002
    ) -> pb.SubmitJobResponse:
        """Take a job in."""
        return await self._intake.submit(caller(), aiter(request_iterator))

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.Job:  # noqa: ARG002, N802
        """One job, with its documents."""
        validation.check(request)
        job = await self._own(caller(), request.name)
        return job_message(job, await self._store.documents(job.key))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:  # noqa: ARG002, N802
        """The tenant's jobs, newest first."""
        validation.check(request)
        tenant_id = caller().tenant_id
        size = min(request.page_size or limits.page_size_default, limits.page_size_max)
        after = self._after(request.page_token, tenant_id) if request.page_token else None
        jobs = await self._store.read(queries.jobs_of, tenant_id, after=after, limit=size)
        token = self._pages.token(_place(jobs[-1]), tenant_id) if len(jobs) == size else ""
        return pb.ListJobsResponse(jobs=[job_message(job) for job in jobs], next_page_token=token)

    async def CancelJob(self, request: pb.CancelJobRequest, context: Any) -> pb.Job:  # noqa: ARG002, N802
        """Stop a job. A second time changes nothing while it is being stopped."""
        validation.check(request)
        job, body = await self._own(caller(), request.name), request.name.encode()
        if await done_before(self._store, caller(), request.request_id, body) is not None:
            return job_message(job)
        if job.life.state.terminal:
            raise JobNotCancellable(metadata={"state": job.life.state})
        if job.life.cause is None:
            remember = remember_request(caller(), request.request_id, body, now_ns=self._clock())
            try:
                await self._lives.step(job.key, CancelAsked(), operations=(remember,))
            except IllegalTransition:
                raise JobNotCancellable from None
        return job_message(await self._own(caller(), request.name))

    async def WatchJob(  # noqa: N802
        self,
        request: pb.WatchJobRequest,
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[pb.WatchJobResponse]:
        """Events and sealed log records."""
        validation.check(request)
        job = await self._own(caller(), request.name)
        async for item in self._returns.watch(job.key, event_index=request.event_index, log_index=request.log_index):
            yield item

    async def FetchResult(  # noqa: N802
        self,
        request: pb.FetchResultRequest,
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[pb.FetchResultResponse]:
        """The receipt file and the sealed results."""
        validation.check(request)
        job = await self._own(caller(), request.name)
        at = Position(object_id=request.object, segment=request.segment, offset=request.offset)
        async for part in self._returns.fetch(job, at):
            yield part

    async def AddRecipients(self, request: pb.AddRecipientsRequest, context: Any) -> pb.Job:  # noqa: ARG002, N802
        """More recipients for a job that waits for them."""
        validation.check(request)
        job = await self._own(caller(), request.name)
        await self._recipients.add(caller(), job, request)
        return job_message(await self._own(caller(), request.name))

    async def ApproveJob(self, request: pb.ApproveJobRequest, context: Any) -> pb.Job:  # noqa: ARG002, N802
        """Another person's word for a job that waits for it."""
        validation.check(request)
        job = await self._own(caller(), request.name)
        await self._approvals.approve(
            caller(), job, manifest_digest=request.manifest_digest, request_id=request.request_id
        )
        return job_message(await self._own(caller(), request.name))

    async def RefuseJob(self, request: pb.RefuseJobRequest, context: Any) -> pb.Job:  # noqa: ARG002, N802
        """Another person's word against it."""
        validation.check(request)
        job = await self._own(caller(), request.name)
        await self._approvals.refuse(caller(), job, request_id=request.request_id)
        return job_message(await self._own(caller(), request.name))

    async def _own(self, who: Caller, name: str) -> StoredJob:
        key = job_key(name)
        # Another tenant's job is answered as one that is not there, before anything is read.
        job = await self._store.job(key) if key.tenant_id == who.tenant_id else None
        if job is None:
            raise NotFound
        return job

    def _after(self, token: str, tenant_id: bytes) -> queries.After:
        place = self._pages.place(token, tenant_id, size=_PLACE_BYTES)
        return queries.After(created_ns=int.from_bytes(place[:8]), job_id=place[8:])


def _place(job: StoredJob) -> bytes:
    return job.created_ns.to_bytes(8) + job.key.job_id
