"""The receipt file, judged offline: what ran, where, under which decision, and that all of it is in the log.

Rules, in the order in which they are held:
- The manifest is signed by a client key that the pinned tenant root stands behind; the facts are those it names.
- Both decisions are signed by a pinned gateway key and permit the runner's jurisdiction; the later one may only narrow.
- The permit is of this manifest, runner, card and decision; the grant is of this permit; the dispatch decision's leaf
  is in the log under the very checkpoint that the grant names.
- Start and Receipt are signed by a leaf whose chain leads to a pinned operator, judged at the time of the outcome's
  leaf, and the signer is among the recipients that the client listed.
- Acceptance and outcome are in the log, and commit to this manifest and this receipt.
Everything that fails raises a `PeerError` naming it; `verify` returns only what was proven.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from carnet import statements
from carnet.authorship import Written, open_written
from carnet.core.credential import Identity, check_status, judge_chain
from carnet.core.decision import DecisionBody, Permit, check_permit_obligations
from carnet.core.errors import EnvelopeMalformed, FieldInvalid, StatementInvalid
from carnet.core.facts import JobFacts, parse_facts
from carnet.core.job import Addendum, Manifest, check_facts, find_recipient
from carnet.core.lease import Grant
from carnet.core.receipt import Receipt, Start, check_receipt, check_start
from carnet.core.runner import RunnerCard
from carnet.pins import GatewayPins, Pins
from carnet.v1 import jobs_pb2
from carnet.verdict import Decided, check_commits, open_decision, open_gateway, open_logged
from carnet.vetting import check_card
from carnet.wire import AuditEntry, Logged, logged_from_proto, signed_from_proto

FORMAT = b"carnet receipt v1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedReceipt:
    """What a receipt file proves."""

    facts: JobFacts
    manifest: Manifest
    addenda: tuple[Addendum, ...]
    prepared: DecisionBody
    dispatched: DecisionBody
    permit: Permit
    grant: Grant
    start: Start
    receipt: Receipt
    runner: Identity
    card: RunnerCard
    outcome_index: int
    outcome_ns: int


def to_file(message: jobs_pb2.ReceiptFile) -> bytes:
    """The bytes of a receipt file."""
    return FORMAT + message.SerializeToString(deterministic=True)


def from_file(data: bytes) -> jobs_pb2.ReceiptFile:
    """Read a receipt file. Raises `EnvelopeMalformed` on any other bytes; nothing is verified yet."""
    if not data.startswith(FORMAT):
        raise EnvelopeMalformed("This is not a Carnet receipt file.")
    try:
        return jobs_pb2.ReceiptFile.FromString(data.removeprefix(FORMAT))
    except DecodeError as error:
        raise EnvelopeMalformed("This is not a Carnet receipt file.") from error


def verify(message: jobs_pb2.ReceiptFile, *, pins: Pins) -> VerifiedReceipt:
    """Hold a receipt file against the pins. Raises a `PeerError` or `CallerError` that names what does not hold."""
    outcome, outcome_at = _open_leaf(message, "outcome", pins=pins.gateway)
    written = _open_written(message, pins=pins, at_ns=outcome_at.time_ns)
    manifest = written.manifest
    facts = _open_facts(message, manifest)
    prepared = _open_decision(message, "prepared", pins=pins.gateway)
    dispatched = _open_decision(message, "dispatched", pins=pins.gateway)
    permit = open_gateway(statements.PERMIT, signed_from_proto(message.permit), pins=pins.gateway)
    grant = open_gateway(statements.GRANT, signed_from_proto(message.grant), pins=pins.gateway)
    _check_decisions(written, facts, prepared, dispatched)
    _check_permit(permit, written, prepared, dispatched)
    _check_grant(grant, manifest, permit, dispatched, pins=pins.gateway)
    runner = judge_chain(tuple(message.chain), pins.operators, now_ns=outcome_at.time_ns)
    start, receipt, card = _open_runner(message, runner, at_ns=outcome_at.time_ns)
    _check_runner(written, permit, grant, start, receipt, runner, card)
    accepted, accepted_at = _open_leaf(message, "accepted", pins=pins.gateway)
    check_commits(accepted_at, kind="job.accepted", job_id=manifest.job_id, manifest=manifest.digest)
    check_commits(
        outcome_at, kind="job.outcome", job_id=manifest.job_id, manifest=manifest.digest, receipt=receipt.digest
    )
    if accepted.index >= outcome.index:
        raise StatementInvalid("The job was accepted after its outcome.")
    return VerifiedReceipt(
        facts=facts,
        manifest=manifest,
        addenda=written.addenda,
        prepared=prepared.body,
        dispatched=dispatched.body,
        permit=permit,
        grant=grant,
        start=start,
        receipt=receipt,
        runner=runner,
        card=card,
        outcome_index=outcome.index,
        outcome_ns=outcome_at.time_ns,
    )


def _open_leaf(message: jobs_pb2.ReceiptFile, name: str, *, pins: GatewayPins) -> tuple[Logged, AuditEntry]:
    logged = logged_from_proto(getattr(message, name))
    entry, _ = open_logged(logged, pins=pins)
    return logged, entry


def _open_written(message: jobs_pb2.ReceiptFile, *, pins: Pins, at_ns: int) -> Written:
    return open_written(
        signed_from_proto(message.tenant_key_set),
        signed_from_proto(message.manifest),
        tuple(signed_from_proto(addendum) for addendum in message.addenda),
        tenants=pins.tenants,
        now_ns=at_ns,
    )


def _open_facts(message: jobs_pb2.ReceiptFile, manifest: Manifest) -> JobFacts:
    try:
        facts = parse_facts(message.facts)
    except FieldInvalid as error:
        raise StatementInvalid("The facts are not carnet.facts/v1.", metadata=error.metadata) from error
    check_facts(manifest, facts)
    return facts


def _open_decision(message: jobs_pb2.ReceiptFile, name: str, *, pins: GatewayPins) -> Decided:
    return open_decision(getattr(message, name), pins=pins)


def _check_decisions(written: Written, facts: JobFacts, prepared: Decided, dispatched: Decided) -> None:
    if prepared.record.digest not in written.decision_digests:
        raise StatementInvalid("The prepared decision is not the one that the manifest names.")
    for decided in (prepared, dispatched):
        if decided.record.facts_digest != facts.digest or decided.record.tenant_id != written.manifest.tenant_id:
            raise StatementInvalid("A decision is of other facts or another tenant.")


def _check_permit(permit: Permit, written: Written, prepared: Decided, dispatched: Decided) -> None:
    manifest = written.manifest
    expected: dict[str, tuple[object, object]] = {
        "manifest": (permit.manifest_digest, manifest.digest),
        "facts": (permit.facts_digest, manifest.facts_digest),
        "record": (permit.record_digest, dispatched.record.digest),
        "body": (permit.body_digest, dispatched.body.digest),
    }
    for name, (found, wanted) in expected.items():
        if found != wanted:
            raise StatementInvalid(f"The permit's {name} is another.", metadata={"field": name})
    if permit.prepare_decision_digest != prepared.record.digest:
        raise StatementInvalid("The permit names another prepare decision.")
    if not (prepared.body.permits(permit.jurisdiction) and dispatched.body.permits(permit.jurisdiction)):
        raise StatementInvalid("A decision does not permit the permit's jurisdiction.")
    check_permit_obligations(permit.obligations)


def _check_grant(grant: Grant, manifest: Manifest, permit: Permit, dispatched: Decided, *, pins: GatewayPins) -> None:
    if grant.manifest_digest != manifest.digest or grant.permit_digest != permit.digest:
        raise StatementInvalid("The grant is of another manifest or permit.")
    if dispatched.logged is None or dispatched.logged.checkpoint.encode() != grant.checkpoint:
        raise StatementInvalid("The dispatch decision is not proven under the grant's checkpoint.")
    entry, _ = open_logged(dispatched.logged, pins=pins)
    check_commits(
        entry,
        kind="decision.dispatched",
        job_id=manifest.job_id,
        record=permit.record_digest,
        body=permit.body_digest,
        permit=permit.digest,
    )


def _open_runner(message: jobs_pb2.ReceiptFile, runner: Identity, *, at_ns: int) -> tuple[Start, Receipt, RunnerCard]:
    status = statements.STATUS.open(signed_from_proto(message.status), runner.issuer_key)
    # The status is the one shown when the attempt began; it is judged at that time.
    start = statements.START.open(signed_from_proto(message.start), runner.key)
    check_status(status, runner, now_ns=min(start.started_ns, at_ns))
    receipt = statements.RECEIPT.open(signed_from_proto(message.receipt), runner.key)
    card = statements.CARD.open(signed_from_proto(message.card), runner.key)
    check_card(card, runner, now_ns=min(start.started_ns, at_ns))
    return start, receipt, card


def _check_runner(
    written: Written,
    permit: Permit,
    grant: Grant,
    start: Start,
    receipt: Receipt,
    runner: Identity,
    card: RunnerCard,
) -> None:
    name, manifest = str(runner.id), written.manifest
    recipient = find_recipient(manifest, written.addenda, spiffe_id=name, kid=grant.kid)
    places = {recipient.jurisdiction, permit.jurisdiction, runner.id.jurisdiction, receipt.jurisdiction}
    if len(places) != 1:
        raise StatementInvalid("Recipient, permit, certificate and receipt name different jurisdictions.")
    if {permit.spiffe_id, grant.spiffe_id, card.spiffe_id} != {name}:
        raise StatementInvalid("Permit, grant or card is another runner's.")
    if permit.card_digest != card.digest:
        raise StatementInvalid("The permit names another card.")
    check_start(start, manifest_digest=manifest.digest, grant_digest=grant.digest, spiffe_id=name)
    check_receipt(receipt, manifest, start, permit_digest=permit.digest)
    if receipt.attempt != grant.attempt or receipt.record_digest != permit.record_digest:
        raise StatementInvalid("The receipt's attempt or decision is another.")
    if receipt.decision_digest != permit.prepare_decision_digest:
        raise StatementInvalid("The receipt names another prepare decision.")
