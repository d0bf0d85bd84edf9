"""What the gateway stores, as the messages that it answers with."""

from carnet.core.job import JobState
from carnet.core.statement import Signed
from carnet.v1 import jobs_pb2 as pb
from carnet.v1 import runners_pb2
from carnet.wire import Logged, logged_to_proto, signed_from_bytes, signed_to_proto
from gateway.storage.records import JobDocuments, JobKey, StoredEvent, StoredJob, StoredLogRecord

RunnerMessage = runners_pb2.AttachResponse


def job_name(key: JobKey) -> str:
    """`tenants/{tenant}/jobs/{job}`, both in hex."""
    return f"tenants/{key.tenant_id.hex()}/jobs/{key.job_id.hex()}"


def job_key(name: str) -> JobKey:
    """The key of a name whose form was checked."""
    _, tenant, _, job = name.split("/")
    return JobKey(tenant_id=bytes.fromhex(tenant), job_id=bytes.fromhex(job))


def state_number(state: JobState) -> pb.Job.State.ValueType:
    """The state's number on the wire."""
    return pb.Job.State.Value(f"STATE_{state.name}")


def job_message(job: StoredJob, documents: JobDocuments | None = None) -> pb.Job:
    """A job; with its documents where its owner asked for them."""
    current = job.life.current
    message = pb.Job(
        name=job_name(job.key),
        state=state_number(job.life.state),
        manifest_digest=job.manifest_digest,
        created_ns=job.created_ns,
        updated_ns=job.updated_ns,
        attempt=job.life.attempt,
        runner=job.life.runner,
        jurisdiction=current.jurisdiction if current is not None else "",
        reason=job.life.reason,
    )
    if documents is not None:
        message.facts = documents.facts
        message.manifest.CopyFrom(signed_to_proto(signed_from_bytes(documents.manifest)))
        message.self_wrap = documents.self_wrap
        message.addenda.extend(signed_to_proto(signed_from_bytes(addendum)) for addendum in documents.addenda)
    return message


def event_message(stored: StoredEvent) -> pb.JobEvent:
    """One thing that happened to a job."""
    event = stored.event
    return pb.JobEvent(
        index=stored.index,
        time_ns=event.time_ns,
        kind=event.kind,
        state=state_number(event.state),
        attempt=event.attempt,
        runner=event.runner,
        reason=event.reason,
    )


def log_message(stored: StoredLogRecord) -> pb.LogRecord:
    """One sealed log record."""
    record = stored.record
    return pb.LogRecord(
        index=stored.index,
        attempt=stored.attempt,
        sequence=record.sequence,
        stream=record.stream,
        final=record.final,
        ciphertext=record.ciphertext,
    )


def offer_message(
    documents: JobDocuments, *, permit: Signed, grant: Signed, decision: Logged, wrap: bytes
) -> RunnerMessage:
    """An offer, with all that a runner needs to judge it by itself."""
    return RunnerMessage(
        offer=runners_pb2.Offer(
            tenant_key_set=signed_to_proto(signed_from_bytes(documents.tenant_key_set)),
            manifest=signed_to_proto(signed_from_bytes(documents.manifest)),
            addenda=[signed_to_proto(signed_from_bytes(addendum)) for addendum in documents.addenda],
            permit=signed_to_proto(permit),
            grant=signed_to_proto(grant),
            decision=logged_to_proto(decision),
            wrap=wrap,
        )
    )


def renewed_message(renewal: Signed) -> RunnerMessage:
    """Time for a grant."""
    return RunnerMessage(renewed=RunnerMessage.Renewed(renewal=signed_to_proto(renewal)))


def revoked_message(grant_digest: bytes, reason: str) -> RunnerMessage:
    """The word to stop: CANCELLED or LEASE_LOST."""
    return RunnerMessage(revoked=RunnerMessage.Revoked(grant_digest=grant_digest, reason=reason))
