"""The SDK of a compliance officer: the tenant's decisions as they were signed and logged, and the bundles behind them.

- A list is the gateway's word. One decision, and each of an export, is verified before it is handed out: the record's
  signature, the body, the leaf in the log, and that event and sealed input are the ones that the leaf commits to.
- Event and input are gone once the tenant's retention has passed; the rest is proven all the same.
- The input opens with the tenant's compliance key alone, here, on the officer's own machine.
- A bundle is a signed archive; who replays with it verifies it (`policy/release.py`) and holds its revision against the
  signed body's.
- Async only. Every call has a deadline. The token needs the role `compliance`.

    async with Officer(load_context(path)) as officer:
        async for decision in officer.export(from_ns=since):
            document = decision.open_input(key)
"""

import hashlib
import json
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import grpc.aio

from carnet.checkpoints import SeenLog
from carnet.context import Context
from carnet.core import limits
from carnet.core.decision import DecisionBody, DecisionRecord
from carnet.core.document import Json, parse
from carnet.core.encoding import ctx
from carnet.core.errors import FieldInvalid, NotFound, StatementInvalid
from carnet.core.hybrid import HybridPrivateKey
from carnet.core.job import JobState
from carnet.rpc import calling, reading, strict
from carnet.tls import channel_credentials, open_channel
from carnet.v1 import decisions_pb2, jobs_pb2
from carnet.v1.decisions_pb2_grpc import DecisionsStub
from carnet.verdict import check_commits, open_decision

if TYPE_CHECKING:
    from carnet.v1.decisions_pb2_grpc import DecisionsAsyncStub  # in the stubs only

unary_seconds: Final = 20.0
bundle_seconds: Final = 120.0
export_seconds: Final = 3600.0
bundle_bytes_max: Final = 32 * limits.MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSummary:
    """One decision in a list, by the gateway's word. `job` and `job_state` are there where a job came of it."""

    name: str
    stage: str
    verdict: str
    evaluated_ns: int
    bundle: str
    job: str
    job_state: JobState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPage:
    """One page of a list, newest first. Without a next token it is the last."""

    decisions: tuple[DecisionSummary, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedDecision:
    """A decision that was verified. `event` and `sealed_input` are empty where they are no longer kept."""

    summary: DecisionSummary
    record: DecisionRecord
    body: DecisionBody
    leaf_index: int
    event: bytes
    sealed_input: bytes

    def open_input(self, key: HybridPrivateKey) -> bytes:
        """The whole input, `carnet.input/v1` in canonical JSON. Raises `EnvelopeUnopened`, `NotFound` where none is."""
        if not self.sealed_input:
            raise NotFound("The decision has no sealed input, or none any more.", metadata={"name": self.summary.name})
        info = ctx("decision input", self.record.tenant_id, self.record.digest)
        return key.open(self.sealed_input, info=info)


class Officer:
    """One tenant's compliance officer at one gateway. Use it in `async with`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seen = SeenLog(context.pins.gateway)
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
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

    async def decisions(
        self, *, from_ns: int = 0, until_ns: int = 0, verdict: str = "", page_size: int = 0, page_token: str = ""
    ) -> DecisionPage:
        """The tenant's decisions in a half-open window, newest first, by the gateway's word."""
        request = decisions_pb2.ListDecisionsRequest(
            page_size=page_size, page_token=page_token, from_ns=from_ns, until_ns=until_ns, verdict=verdict
        )
        async with calling():
            page = await self._decisions.ListDecisions(request, timeout=unary_seconds, metadata=self._context.bearer())
        found = tuple(summary_of(entry) for entry in page.decisions)
        return DecisionPage(decisions=found, next_page_token=page.next_page_token)

    async def decision(self, name: str) -> LoggedDecision:
        """One decision, verified. Raises `NotFound`, or a `PeerError` where it does not hold."""
        seen = self._seen.size
        async with calling():
            entry = await self._decisions.GetDecision(
                decisions_pb2.GetDecisionRequest(name=name), timeout=unary_seconds, metadata=self._context.bearer()
            )
        found = self._open(entry, at_least=seen)
        if found.summary.name != name:
            raise StatementInvalid("The gateway answered with another decision.")
        return found

    async def export(self, *, from_ns: int = 0, until_ns: int = 0) -> AsyncGenerator[LoggedDecision, None]:
        """Every decision in a half-open window, oldest first, each verified. Raises like `decision`."""
        seen, last = self._seen.size, (0, b"")
        request = decisions_pb2.ExportDecisionsRequest(from_ns=from_ns, until_ns=until_ns)
        async with calling():
            call = self._decisions.ExportDecisions(request, timeout=export_seconds, metadata=self._context.bearer())
            async for entry in call:
                found = self._open(entry, at_least=seen)
                place = (found.record.evaluated_ns, found.record.digest)
                if place <= last or not _within(found.record.evaluated_ns, from_ns, until_ns):
                    raise StatementInvalid("The export is out of order, or out of its window.")
                last = place
                yield found

    async def bundle(self, revision: str) -> bytes:
        """The signed archive of a bundle that decided for the tenant, or is live; nothing of it is verified yet."""
        data = bytearray()
        async with calling():
            request = decisions_pb2.FetchBundleRequest(revision=revision)
            call = self._decisions.FetchBundle(request, timeout=bundle_seconds, metadata=self._context.bearer())
            async for part in call:
                data += part.data
                if len(data) > bundle_bytes_max:
                    call.cancel()
                    raise StatementInvalid("The bundle is too large.")
        return bytes(data)

    def _open(self, entry: decisions_pb2.DecisionEntry, *, at_least: int) -> LoggedDecision:
        with reading():
            decided = open_decision(entry.decision, pins=self._context.pins.gateway)
            if decided.logged is None:
                raise StatementInvalid("The decision came without its entry in the log.")
            if decided.record.tenant_id != self._context.tenant_id:
                raise StatementInvalid("The decision is another tenant's.")
            leaf = self._seen.open(decided.logged, at_least=at_least)
        found = LoggedDecision(
            summary=summary_of(entry),
            record=decided.record,
            body=decided.body,
            leaf_index=decided.logged.index,
            event=entry.event,
            sealed_input=entry.sealed_input,
        )
        check_commits(
            leaf,
            kind=f"decision.{entry.stage}",
            record=found.record.digest,
            body=found.body.digest,
            **_kept(found),
        )
        _check_summary(found, leaf.job_id)
        return found

    @property
    def _decisions(self) -> "DecisionsAsyncStub":
        assert self._channel is not None, "use the officer in `async with`"
        return DecisionsStub(strict(self._channel))


def summary_of(entry: decisions_pb2.DecisionEntry) -> DecisionSummary:
    """What an entry says of itself. Raises `StatementInvalid` for a state that is none."""
    state: JobState | None = None
    if entry.job:
        name = jobs_pb2.Job.State.Name(entry.job_state) if entry.job_state in jobs_pb2.Job.State.values() else ""
        try:
            state = JobState[name.removeprefix("STATE_")]
        except KeyError:
            raise StatementInvalid("The job's state is unknown.") from None
    return DecisionSummary(
        name=entry.name,
        stage=entry.stage,
        verdict=entry.verdict,
        evaluated_ns=entry.evaluated_ns,
        bundle=entry.bundle,
        job=entry.job,
        job_state=state,
    )


def event_of(found: LoggedDecision) -> dict[str, Json]:
    """A kept event as JSON. Raises `NotFound` where it is no longer kept, `StatementInvalid` where it is none."""
    if not found.event:
        raise NotFound("The event of this decision is no longer kept.", metadata={"name": found.summary.name})
    try:
        parse(found.event, bytes_max=limits.event_bytes_max)
    except FieldInvalid as error:
        raise StatementInvalid("The event is not one.", metadata=error.metadata) from error
    event: dict[str, Json] = json.loads(found.event)
    return event


def _kept(found: LoggedDecision) -> dict[str, bytes]:
    # Both are removed together: with one of them here, the other is here as well, or was never made.
    if not found.event:
        if found.sealed_input:
            raise StatementInvalid("The decision has an input and no event.")
        return {}
    return {
        "line": hashlib.sha256(found.event).digest(),
        "input": hashlib.sha256(found.sealed_input).digest(),
    }


def _check_summary(found: LoggedDecision, job_id: bytes) -> None:
    summary, record, body = found.summary, found.record, found.body
    tenant = record.tenant_id.hex()
    expected = (
        f"tenants/{tenant}/decisions/{record.digest.hex()}",
        body.verdict.value,
        record.evaluated_ns,
        body.revisions.bundle,
    )
    if (summary.name, summary.verdict, summary.evaluated_ns, summary.bundle) != expected:
        raise StatementInvalid("The entry's words are not those of its decision.")
    if job_id and summary.job != f"tenants/{tenant}/jobs/{job_id.hex()}":
        raise StatementInvalid("The entry names another job than its leaf.")
    if found.event:
        _check_event(event_of(found), record)


def _check_event(event: dict[str, Json], record: DecisionRecord) -> None:
    ours = event.get("carnet")
    named = ours.get("record") if isinstance(ours, dict) else None
    if event.get("decision_id") != str(uuid.UUID(bytes=record.id)) or named != record.digest.hex():
        raise StatementInvalid("The event is of another decision.")


def _within(time_ns: int, from_ns: int, until_ns: int) -> bool:
    return from_ns <= time_ns and (not until_ns or time_ns < until_ns)
