"""A decision as a client, a runner or an auditor may rely on it: signed, of these facts, and logged.

- The record's signature is by a decision key that the reader pinned; the body is the one that the record names.
- An entry of the log counts once its path leads to the root of a checkpoint under the pinned log key.

    decision = open_decision(message, pins=pins.gateway)
    check_record(decision.record, decision.body, facts_digest=facts.digest, now_ns=now)
"""

from dataclasses import dataclass
from typing import TypeVar

from carnet import statements
from carnet.core.audit import Checkpoint, check_logged
from carnet.core.decision import DecisionBody, DecisionRecord, parse_body
from carnet.core.errors import FieldInvalid, ProofInvalid, SignatureInvalid, StatementInvalid
from carnet.core.statement import Signed, VerifyingKey
from carnet.pins import GatewayPins
from carnet.v1 import jobs_pb2
from carnet.wire import AuditEntry, Codec, Logged, Statement, logged_from_proto, parse_entry, signed_from_proto

T = TypeVar("T", bound=Statement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision whose signature verified, with its body, and its leaf where it came along."""

    signed: Signed
    record: DecisionRecord
    body: DecisionBody
    logged: Logged | None


def open_decision(message: jobs_pb2.Decision, *, pins: GatewayPins) -> Decided:
    """Verify the record under the pinned keys, and hold the body against it. Raises `PeerError`s."""
    signed = signed_from_proto(message.record)
    record = open_gateway(statements.DECISION, signed, pins=pins)
    try:
        body = parse_body(message.body)
    except FieldInvalid as error:
        raise StatementInvalid("The decision body is not one.", metadata=error.metadata) from error
    if body.digest != record.body_digest:
        raise StatementInvalid("The decision record is not of this body.")
    logged = logged_from_proto(message.logged) if message.HasField("logged") else None
    return Decided(signed=signed, record=record, body=body, logged=logged)


def open_gateway(codec: Codec[T], signed: Signed, *, pins: GatewayPins) -> T:
    """Verify a statement of the gateway under one of its pinned keys. Raises `SignatureInvalid`."""
    return codec.open(signed, decision_key(signed, pins=pins))


def decision_key(signed: Signed, *, pins: GatewayPins) -> VerifyingKey:
    """The pinned key that the statement's key id names. Raises `SignatureInvalid` where none is pinned."""
    for key in pins.decision_keys:
        if key.keyid == signed.keyid:
            return key
    raise SignatureInvalid("The statement is not signed by a pinned key of the gateway.")


def open_logged(logged: Logged, *, pins: GatewayPins) -> tuple[AuditEntry, Checkpoint]:
    """Prove that an entry is in the log under one of the pinned keys, and parse it. Raises `ProofInvalid`."""
    for public in pins.log_keys:
        try:
            checkpoint = check_logged(
                logged.entry, logged.index, logged.path, logged.checkpoint, origin=pins.origin, public=public
            )
        except ProofInvalid:
            continue
        return parse_entry(logged.entry), checkpoint
    raise ProofInvalid


def check_commits(entry: AuditEntry, *, kind: str, job_id: bytes | None = None, **digests: bytes) -> None:
    """Raise `StatementInvalid` unless a leaf is of this kind and job, and commits to these digests."""
    if entry.kind != kind or (job_id is not None and entry.job_id != job_id):
        raise StatementInvalid(f"The log entry is not the {kind} entry of this job.")
    for name, digest in digests.items():
        if entry.digest(name) != digest:
            raise StatementInvalid(f"The log entry commits to another {name}.")


def check_tenant(decided: Decided, tenant_id: bytes) -> None:
    """Raise `StatementInvalid` where a decision was made for another tenant."""
    if decided.record.tenant_id != tenant_id:
        raise StatementInvalid("The decision is another tenant's.")
