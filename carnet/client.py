"""The SDK: run a job where it may run, with the gateway blind all the way.

- `prepare` asks where and on whom; a denial is an answer, with rule, citation and what would make it permitted.
- The client checks alone what it builds on: the decision's signature and digest, every candidate's chain, status and
  key, each place against the decision and against its own list. It wraps the key only for runners that passed.
- `submit` seals on disk first and sends after; what was accepted is proven by a leaf of the audit log.
- A job that must be approved first is sealed for nobody; `add_recipients` wraps its key once others have approved it.
- Logs and results are opened only from a runner that is among the recipients, under a grant of the pinned gateway, and
  `result` verifies the whole receipt before it hands out a byte.
- Async only. Every unary call has a deadline. Errors are those of `carnet.core.errors`.

    async with Client(load_context(path)) as client:
        outcome = await client.run(work)
"""

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import grpc.aio

from carnet import proof
from carnet.addition import add
from carnet.answers import (
    Denied,
    Event,
    JobPage,
    JobSummary,
    Outcome,
    Prepared,
    Rejection,
    denial_of,
    ended_without_receipt,
    event_of,
    rejection_of,
    summary_of,
)
from carnet.authorship import Written, open_written
from carnet.candidates import check_candidate, check_own_key
from carnet.checkpoints import SeenLog
from carnet.context import Context
from carnet.core import limits
from carnet.core.decision import check_record, check_submittable, recipients_max
from carnet.core.envelope import result_key
from carnet.core.errors import (
    ApprovalRequired,
    GatewayUnavailable,
    NoCapacity,
    PeerError,
    StatementInvalid,
    TokenExpired,
)
from carnet.core.facts import JobFacts, parse_facts
from carnet.core.hybrid import HybridPrivateKey
from carnet.core.job import JobState, Manifest
from carnet.inbox import Attempt, LogEnd, LogLine, ResultReader
from carnet.outbox import SealedJob, TenantKeys, Work, seal
from carnet.patience import AGAIN, Patience
from carnet.proof import VerifiedReceipt
from carnet.rpc import calling, reading, strict
from carnet.submission import keep, load
from carnet.tls import channel_credentials, open_channel
from carnet.transfers import receive, send
from carnet.v1 import jobs_pb2
from carnet.v1.jobs_pb2_grpc import JobsStub
from carnet.verdict import Decided, check_commits, check_tenant, open_decision
from carnet.vetting import VettedRunner, presented_from, vet
from carnet.wire import logged_from_proto, signed_from_proto, signed_to_proto

if TYPE_CHECKING:
    from carnet.v1.jobs_pb2_grpc import JobsAsyncStub  # in the stubs only

unary_seconds: Final = 20.0
result_seconds: Final = 3600.0
# A watch outlives a token: it is taken up with the next one.
_WATCH_AGAIN: Final = (*AGAIN, TokenExpired)
silence_seconds_max: Final = 300.0
logs_max: Final = 1024
index_max: Final = 2**63 - 1

Observer = Callable[[Event | LogLine], None]


class Client:
    """One tenant's client of one gateway. Use it in `async with`."""

    def __init__(self, context: Context, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._context = context
        self._clock = clock
        self._seen = SeenLog(context.pins.gateway)
        self._logs: dict[str, LogEnd] = {}
        self._keys: TenantKeys | None = None
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        self._keys = await asyncio.to_thread(self._context.keys)
        gateway = self._context.pins.gateway
        credentials = channel_credentials(
            gateway_ca=gateway.ca, certificate=self._context.certificate, private_key=self._context.key
        )
        self._channel = open_channel(self._context.gateway, credentials, server_name=gateway.server_name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._channel is not None
        await self._channel.close()

    async def prepare(
        self,
        facts: bytes,
        *,
        job: str = "",
        explain: Collection[str] = (),
        places: Collection[str] = (),
        language: str = "",
    ) -> Prepared:
        """Ask where the job may run, and vet the runners that are offered. Sends no payload.

        `job` names one of these facts that was handed in before: its approvals count. Of the runners in `explain` (by
        SPIFFE id) policy's own answer comes along, whatever else is in their way; of the rules that keep it out of
        `places`, their words. `language` is that of the words: en or fr. Raises `FieldInvalid` for another one.
        """
        parsed, seen = parse_facts(facts), self._seen.size
        async with calling():
            response = await self._jobs.PrepareJob(
                jobs_pb2.PrepareJobRequest(facts=facts, job=job, explain=explain, places=places, language=language),
                timeout=unary_seconds,
                metadata=self._metadata(),
            )
        with reading():
            decided = open_decision(response.decision, pins=self._context.pins.gateway)
            check_record(decided.record, decided.body, facts_digest=parsed.digest, now_ns=self._clock())
            check_tenant(decided, self._context.tenant_id)
            self._check_logged(decided, at_least=seen)
            runners, refused = self._vet(response.candidates, decided, parsed)
        rejected = [rejection_of(found) for found in response.rejected]
        words = {found.rule: denial_of(found) for found in response.denials}
        return Prepared(facts=parsed, decided=decided, runners=runners, rejected=(*rejected, *refused), words=words)

    async def seal(self, work: Work, prepared: Prepared) -> SealedJob:
        """Seal the job on disk, for as many vetted runners as the decision allows. Raises `Denied` or `NoCapacity`.

        For nobody, where it must be approved first.
        """
        if prepared.denied:
            raise Denied(prepared)
        check_submittable(prepared.decided.body, now_ns=self._clock())
        if not prepared.runners and not prepared.waits:
            raise NoCapacity(metadata={"rejected": str(len(prepared.rejected))})
        assert self._keys is not None
        runners = () if prepared.waits else prepared.runners[: recipients_max(prepared.decided.body.obligations)]
        return await asyncio.to_thread(
            seal,
            work,
            prepared.decided,
            runners,
            keys=self._keys,
            facts=prepared.facts,
            template_digest=self._context.template_digest,
            directory=self._context.outbox,
            now_ns=self._clock(),
        )

    async def submit(self, sealed: SealedJob) -> str:
        """Send a sealed job; returns its name once it is durable and its leaf was verified.

        Where that fails, the sealed job stays in its folder: `load` gives it back, here or in another process.
        """
        seen = self._seen.size
        await asyncio.to_thread(keep, sealed)
        response = await send(self._jobs, sealed, self._metadata)
        with reading():
            entry = self._seen.open(logged_from_proto(response.accepted), at_least=seen)
            check_commits(entry, kind="job.accepted", job_id=sealed.manifest.job_id, manifest=sealed.manifest.digest)
            _check_name(response.job.name, sealed.manifest)
        await asyncio.to_thread(sealed.discard)
        return response.job.name

    async def load(self, folder: Path) -> SealedJob:
        """A sealed job that was kept in its folder, to be submitted. Raises `FieldInvalid` or a `PeerError`."""
        context = self._context
        return await asyncio.to_thread(
            load, folder, pins=context.pins, tenant_id=context.tenant_id, now_ns=self._clock()
        )

    async def watch(self, name: str) -> AsyncGenerator[Event | LogLine, None]:
        """Events and opened log lines until the job has ended; a cut stream is taken up where it broke."""
        position = jobs_pb2.WatchJobRequest(name=name)
        attempt: Attempt | None = None
        patience = Patience(silence_seconds_max)
        while True:
            patience.begin()
            try:
                async with aclosing(self._watch(position)) as items:
                    async for item in items:
                        patience.heard()
                        if item.HasField("started"):
                            # A stream that was taken up says again which attempt this is; its log goes on.
                            if attempt is not None and item.started.attempt < attempt.number:
                                raise StatementInvalid("The gateway went back to an earlier attempt.")
                            if attempt is None or attempt.number != item.started.attempt:
                                attempt = self._attempt(item.started, await self.written(name))
                        elif item.HasField("log"):
                            line = attempt.open(item.log) if attempt is not None else None
                            position.log_index = _after(item.log.index, position.log_index)
                            if line is not None:
                                yield line
                        else:
                            event = event_of(item.event)
                            position.event_index = _after(event.index, position.event_index)
                            if event.state.terminal:
                                self._log_ended(name, attempt, event.state)
                            yield event
                            if event.state.terminal:
                                return
                raise GatewayUnavailable("The gateway ended the watch before the job ended.")
            except _WATCH_AGAIN as error:
                await patience.bear(error)

    async def result(self, name: str, directory: Path | None = None) -> Outcome:
        """Fetch, verify and open what came home. With a directory, result files go there, else into memory."""
        seen = self._seen.size

        def open_reader(receipt: jobs_pb2.ReceiptFile) -> ResultReader:
            with reading():
                verified = self._verify(receipt, name, at_least=seen)
                return ResultReader(verified, self._result_seed(verified.manifest), directory)

        reader, receipt_file = await receive(self._jobs, name, self._metadata, open_reader)
        with reading():
            results = await asyncio.to_thread(reader.finish)
        return Outcome(name=name, receipt=reader.verified, receipt_file=receipt_file, results=results)

    async def run(self, work: Work, *, observe: Observer | None = None, directory: Path | None = None) -> Outcome:
        """Prepare, seal, submit, wait, fetch, verify; add recipients where the list is used up, or once it is approved.

        Raises `Denied`, `NoCapacity`, or what stopped the job.
        """
        prepared = await self.prepare(work.facts)
        sealed = await self.seal(work, prepared)
        name = await self.submit(sealed)
        last: Event | None = None
        async with aclosing(self.watch(name)) as items:
            async for item in items:
                last = item if isinstance(item, Event) else last
                if observe is not None:
                    observe(item)
                if isinstance(item, Event) and item.state is JobState.NEEDS_RECIPIENTS:
                    await self.add_recipients(name)
        if last is None or (last.state not in (JobState.SUCCEEDED, JobState.FAILED)) or not last.runner:
            raise ended_without_receipt(last)
        return await self.result(name, directory)

    async def receipt(self, name: str) -> Outcome:
        """What `result` proves of a job that has ended, with none of its results fetched."""
        seen = self._seen.size
        async with calling():
            call = self._jobs.FetchResult(
                jobs_pb2.FetchResultRequest(name=name), timeout=unary_seconds, metadata=self._metadata()
            )
            try:
                async for part in call:
                    if not part.HasField("receipt"):
                        break
                    with reading():
                        verified = self._verify(part.receipt, name, at_least=seen)
                    return Outcome(name=name, receipt=verified, receipt_file=proof.to_file(part.receipt), results=())
            finally:
                call.cancel()
        raise StatementInvalid("The gateway sent no receipt.")

    async def job(self, name: str) -> JobSummary:
        """How one job stands, by the gateway's word."""
        return summary_of(await self._job(name))

    async def facts(self, name: str) -> bytes:
        """The facts that a job was sent with, held against its signed manifest."""
        job = await self._job(name)
        _check_facts(job.facts, self._written(job, name).manifest)
        return job.facts

    async def jobs(self, *, page_size: int = 0, page_token: str = "") -> JobPage:
        """The tenant's jobs, newest first, by the gateway's word."""
        request = jobs_pb2.ListJobsRequest(page_size=page_size, page_token=page_token)
        async with calling():
            page = await self._jobs.ListJobs(request, timeout=unary_seconds, metadata=self._metadata())
        return JobPage(jobs=tuple(summary_of(job) for job in page.jobs), next_page_token=page.next_page_token)

    async def cancel(self, name: str) -> JobSummary:
        """Stop a job. Raises `JobNotCancellable` when it has ended."""
        request = jobs_pb2.CancelJobRequest(name=name, request_id=str(uuid.uuid4()))
        async with calling():
            return summary_of(await self._jobs.CancelJob(request, timeout=unary_seconds, metadata=self._metadata()))

    async def approve(self, name: str, *, manifest_digest: bytes = b"") -> JobSummary:
        """Say as another person that a job may run; it is the job of the manifest that was looked at.

        Raises `RoleRequired`, `SecondPersonRequired`, `JobNotWaiting`, or `StatementInvalid` for another manifest.
        """
        written = await self.written(name)
        if manifest_digest and manifest_digest != written.manifest.digest:
            raise StatementInvalid("The job has another manifest than the one that was looked at.")
        request = jobs_pb2.ApproveJobRequest(
            name=name, manifest_digest=written.manifest.digest, request_id=str(uuid.uuid4())
        )
        async with calling():
            return summary_of(await self._jobs.ApproveJob(request, timeout=unary_seconds, metadata=self._metadata()))

    async def refuse(self, name: str) -> JobSummary:
        """Say as another person that a job may not run. Raises like `approve`."""
        request = jobs_pb2.RefuseJobRequest(name=name, request_id=str(uuid.uuid4()))
        async with calling():
            return summary_of(await self._jobs.RefuseJob(request, timeout=unary_seconds, metadata=self._metadata()))

    async def add_recipients(self, name: str) -> JobSummary:
        """Wrap a waiting job for more runners; any replica of the client can.

        Raises `Denied`, `NoCapacity`, or `ApprovalRequired` where not enough persons have approved it.
        """
        job = await self._job(name)
        written = self._written(job, name)
        _check_facts(job.facts, written.manifest)
        prepared = await self.prepare(job.facts, job=name)
        if prepared.denied:
            raise Denied(prepared)
        if prepared.waits:
            raise ApprovalRequired
        addition = await asyncio.to_thread(
            add,
            written,
            job.self_wrap,
            prepared.decided,
            prepared.runners,
            keys=self._own,
            now_ns=self._clock(),
        )
        request = jobs_pb2.AddRecipientsRequest(
            name=name,
            request_id=str(uuid.uuid4()),
            addendum=signed_to_proto(addition.signed),
            tenant_key_set=signed_to_proto(self._own.key_set),
            wraps=addition.wraps,
            decision=signed_to_proto(prepared.decided.signed),
            body=prepared.decided.body.payload,
        )
        async with calling():
            return summary_of(await self._jobs.AddRecipients(request, timeout=unary_seconds, metadata=self._metadata()))

    async def written(self, name: str) -> Written:
        """The job's manifest and addenda, as this tenant signed them."""
        return self._written(await self._job(name), name)

    def _written(self, job: jobs_pb2.Job, name: str) -> Written:
        with reading():
            written = open_written(
                self._own.key_set,
                signed_from_proto(job.manifest),
                tuple(signed_from_proto(addendum) for addendum in job.addenda),
                tenants=(self._context.pins.tenant(self._context.tenant_id),),
                now_ns=self._clock(),
            )
        _check_name(name, written.manifest)
        return written

    def _check_logged(self, decided: Decided, *, at_least: int) -> None:
        if decided.logged is None:
            raise StatementInvalid("The decision came without its entry in the log.")
        record = decided.record
        entry = self._seen.open(decided.logged, at_least=at_least)
        check_commits(
            entry,
            kind="decision.prepared",
            record=record.digest,
            body=record.body_digest,
            facts=record.facts_digest,
        )

    def _verify(self, message: jobs_pb2.ReceiptFile, name: str, *, at_least: int) -> VerifiedReceipt:
        verified = proof.verify(message, pins=self._context.pins)
        _check_name(name, verified.manifest)
        for leaf in (message.accepted, message.outcome):
            self._seen.open(logged_from_proto(leaf), at_least=at_least)
        self._seen.open(logged_from_proto(message.dispatched.logged))
        if (log := self._logs.get(name)) is not None:
            log.check(verified.receipt)
        return verified

    def _log_ended(self, name: str, attempt: Attempt | None, state: JobState) -> None:
        end = attempt.end if attempt is not None else LogEnd(attempt=0, records=0, complete=False)
        if state is JobState.SUCCEEDED and not end.complete:
            raise StatementInvalid("The log ended without its final record.")
        self._logs[name] = end
        if len(self._logs) > logs_max:
            del self._logs[next(iter(self._logs))]

    @property
    def _own(self) -> TenantKeys:
        assert self._keys is not None, "use the client in `async with`"
        return self._keys

    @property
    def _jobs(self) -> "JobsAsyncStub":
        assert self._channel is not None, "use the client in `async with`"
        return JobsStub(strict(self._channel))

    async def _job(self, name: str) -> jobs_pb2.Job:
        async with calling():
            return await self._jobs.GetJob(
                jobs_pb2.GetJobRequest(name=name), timeout=unary_seconds, metadata=self._metadata()
            )

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return self._context.bearer()

    def _vet(
        self, candidates: Sequence[jobs_pb2.Candidate], decided: Decided, facts: JobFacts
    ) -> tuple[tuple[VettedRunner, ...], tuple[Rejection, ...]]:
        if len(candidates) > limits.shortlist_max:
            raise StatementInvalid("There are more candidates than a short list has.")
        kept: list[VettedRunner] = []
        refused: list[Rejection] = []
        for candidate in candidates:
            try:
                # Each by itself: one that is malformed is turned down like any other, and spoils no good one.
                with reading():
                    runner = vet(presented_from(candidate), anchors=self._context.pins.operators, now_ns=self._clock())
                    check_candidate(runner, decided, facts, template_digest=self._context.template_digest)
                check_own_key(runner, kept)
                kept.append(runner)
            except PeerError as error:
                refused.append(Rejection(runner="", jurisdiction="", reason=error.reason, text=error.text, by="client"))
        return tuple(kept), tuple(refused)

    async def _watch(self, position: jobs_pb2.WatchJobRequest) -> AsyncGenerator[jobs_pb2.WatchJobResponse, None]:
        async with calling():
            async for item in self._jobs.WatchJob(position, metadata=self._metadata()):
                yield item

    def _attempt(self, started: jobs_pb2.AttemptStarted, written: Written) -> Attempt:
        with reading():
            return Attempt.open_started(
                started,
                written.manifest,
                self._result_seed(written.manifest),
                pins=self._context.pins,
                addenda=written.addenda,
                now_ns=self._clock(),
            )

    def _result_seed(self, manifest: Manifest) -> HybridPrivateKey:
        return result_key(self._own.master, manifest.job_id)


def _check_facts(facts: bytes, manifest: Manifest) -> None:
    if hashlib.sha256(facts).digest() != manifest.facts_digest:
        raise StatementInvalid("The gateway gave other facts than the manifest names.")


def _check_name(name: str, manifest: Manifest) -> None:
    if name != f"tenants/{manifest.tenant_id.hex()}/jobs/{manifest.job_id.hex()}":
        raise StatementInvalid("The gateway answered with another job.")


def _after(index: int, wanted: int) -> int:
    """The index to go on from. Raises `StatementInvalid` where the gateway goes back, or beyond what a row can have."""
    if not wanted <= index < index_max:
        raise StatementInvalid("The gateway went back to what it sent before, or beyond any index.")
    return index + 1
