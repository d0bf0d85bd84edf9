"""Attacks on what proves a job: receipts of another runner, job, key, attempt or time, judged by `proof.verify`.

The forger holds the gateway's keys and, where it says so, a listed runner's leaf: only the operator's CA, the tenant's
keys and the other runners' leaves are honest. Each control takes the named check away, and the forgery then verifies.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from carnet import proof, statements
from carnet.core.certificate import LeafKind, read_leaf
from carnet.core.credential import judge_chain
from carnet.core.envelope import result_key, unwrap_result_root, wrap_result_root
from carnet.core.errors import (
    CarnetError,
    CredentialInvalid,
    CredentialRevoked,
    EnvelopeMalformed,
    EnvelopeUnopened,
    LeaseLost,
    StatementInvalid,
)
from carnet.core.hybrid import HybridPrivateKey, HybridPublicKey
from carnet.core.lease import Lease, grant_lease
from carnet.core.receipt import check_receipt
from carnet.core.runner import Isolation
from carnet.core.statement import VerifyingKey
from carnet.inbox import ResultReader
from carnet.v1 import jobs_pb2
from carnet.wire import audit_entry, logged_to_proto, signed_from_proto, signed_to_proto
from gateway.arrivals import check_arrived
from gateway.storage.records import JobKey, StoredAttempt
from tests.fixtures.malicious_gateway import Held, receipt_file
from tests.fixtures.parties import SECOND, Parties, nothing, resigned, trusting

OTHER = b"\7" * 32
Patches = tuple[tuple[object, str, object], ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A receipt file, and all that a forger can sign it with."""

    parties: Parties
    held: Held
    file: jobs_pb2.ReceiptFile

    @property
    def gateway(self) -> Any:
        return self.parties.voice.signer

    @property
    def leaf(self) -> Any:
        return self.parties.runners["FR"].leaf.signer

    def restate(self, name: str, codec: Any, signer: Any, **changes: Any) -> None:
        """Change one statement, under a good signature, and what follows from it."""
        value = codec.parse(getattr(self.file, name).payload)
        getattr(self.file, name).CopyFrom(signed_to_proto(resigned(codec, value, signer, **changes)))

    def receipt(self, signer: Any = None, **changes: Any) -> None:
        """Change the receipt, and log it as the outcome."""
        self.restate("receipt", statements.RECEIPT, signer or self.leaf, **changes)
        self.outcome()

    def outcome(self, time_ns: int | None = None) -> None:
        """Log the receipt that is in the file as the job's outcome."""
        manifest = self.held.job.manifest
        entry = audit_entry(
            "job.outcome",
            time_ns=time_ns or time.time_ns(),
            tenant_id=manifest.tenant_id,
            job_id=manifest.job_id,
            manifest=manifest.digest,
            receipt=signed_from_proto(self.file.receipt).digest,
        )
        self.file.outcome.CopyFrom(logged_to_proto(self.parties.voice.log.add(entry.to_bytes())))

    def verify(self) -> proof.VerifiedReceipt:
        return proof.verify(self.file, pins=self.parties.pins)


@pytest.fixture
def case(parties: Parties, recorded: tuple[Held, ...]) -> Case:
    return Case(parties=parties, held=recorded[0], file=receipt_file(parties, recorded[0]))


def test_control_the_honest_receipt_verifies(case: Case) -> None:
    assert case.verify().receipt.digest == signed_from_proto(case.file.receipt).digest


def test_control_a_forger_can_log_an_honest_receipt_again(case: Case) -> None:
    case.outcome()
    assert case.verify()


# --- whose receipt -------------------------------------------------------------------------------------------------


def test_a_receipt_of_a_runner_that_never_had_the_lease_is_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    german = case.parties.runners["DE"]
    case.file.chain[0] = german.presented.chain[0]
    case.file.status.CopyFrom(signed_to_proto(german.presented.status))
    case.file.card.CopyFrom(signed_to_proto(german.presented.card))
    case.restate("start", statements.START, german.leaf.signer, spiffe_id=german.name)
    start = signed_from_proto(case.file.start).digest
    case.receipt(german.leaf.signer, spiffe_id=german.name, jurisdiction="DE", start_digest=start)
    with pytest.raises(EnvelopeMalformed, match="not among the recipients"):
        case.verify()
    # Control: without the comparison of grant, permit and signer, a listed runner answers for another one.
    monkeypatch.setattr(proof, "_check_runner", nothing)
    assert case.verify().receipt.spiffe_id == german.name


def test_a_receipt_that_the_gateway_signed_is_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.receipt(case.gateway, exit_code=3)
    with pytest.raises(CarnetError, match="does not verify under the key that was expected"):
        case.verify()
    # Control: without verification the gateway writes the outcome.
    monkeypatch.setattr(VerifyingKey, "verify", trusting)
    assert case.verify().receipt.exit_code == 3


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"job_id": bytes(16)}, "The receipt's job_id is another."),
        ({"manifest_digest": OTHER}, "The receipt's manifest is another."),
        ({"grant_digest": OTHER}, "The receipt's grant is another."),
        ({"permit_digest": OTHER}, "The receipt's permit is another."),
        ({"start_digest": OTHER}, "The receipt's start is another."),
        ({"image": "sha256:" + "66" * 32}, "The receipt's image is another."),
        ({"template_digest": OTHER}, "The receipt's template is another."),
        ({"spiffe_id": "spiffe://x"}, "The receipt's runner is another."),
        ({"jurisdiction": "DE"}, "Recipient, permit, certificate and receipt name different jurisdictions."),
        ({"isolation": Isolation.PROCESS}, "The receipt's isolation is below the manifest's floor."),
        ({"attempt": 2}, "The receipt's attempt or decision is another."),
        ({"record_digest": OTHER}, "The receipt's attempt or decision is another."),
        ({"decision_digest": OTHER}, "The receipt names another prepare decision."),
        ({"ended_ns": 1}, "The receipt's attempt ended before it started."),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_receipt_that_names_another(
    changes: dict[str, Any], text: str, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.receipt(**changes)
    with pytest.raises(StatementInvalid, match=text.replace(".", r"\.")):
        case.verify()
    # Control: the runner's own signature on it is good, and without the comparisons it is believed.
    monkeypatch.setattr(proof, "_check_runner", nothing)
    assert case.verify()


def test_an_outcome_that_commits_to_another_receipt_is_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.restate("receipt", statements.RECEIPT, case.leaf, exit_code=3)
    with pytest.raises(StatementInvalid, match="commits to another receipt"):
        case.verify()
    # Control: without the look into the leaf a receipt that was never logged passes.
    monkeypatch.setattr(proof, "check_commits", nothing)
    assert case.verify().receipt.exit_code == 3


# --- to whom it is sealed ------------------------------------------------------------------------------------------


def test_a_result_that_is_sealed_to_another_key_is_not_opened(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    thief = HybridPrivateKey.from_seed(bytes(range(32)))
    names: dict[str, Any] = {
        "manifest_digest": case.held.job.manifest.digest,
        "grant_digest": signed_from_proto(case.file.grant).digest,
        "spiffe_id": case.parties.runners["FR"].name,
    }
    wrap = wrap_result_root(HybridPublicKey(thief.public), OTHER, **names)
    case.restate("start", statements.START, case.leaf, result_wrap=wrap)
    case.receipt(start_digest=signed_from_proto(case.file.start).digest)
    verified = case.verify()
    own = result_key(case.parties.tenant.master, case.held.job.manifest.job_id)
    with pytest.raises(EnvelopeUnopened):
        ResultReader(verified, own, None)
    assert unwrap_result_root(thief, verified.start.result_wrap, **names) == OTHER
    # Control: with one key for every client, the results that were sealed for another one are this one's too.
    honest = HybridPrivateKey.unwrap
    monkeypatch.setattr(HybridPrivateKey, "unwrap", lambda self, wrap, *, info: honest(thief, wrap, info=info))
    assert ResultReader(verified, own, None)._root == OTHER


def test_a_second_start_is_not_swapped_in(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.restate("start", statements.START, case.leaf, started_ns=time.time_ns())
    with pytest.raises(StatementInvalid, match="The receipt's start is another"):
        case.verify()
    # Control: both Starts are signed by the same leaf.
    monkeypatch.setattr(proof, "check_receipt", nothing)
    assert case.verify()


# --- with which leaf -----------------------------------------------------------------------------------------------


def test_a_receipt_under_a_leaf_that_had_expired_is_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = read_leaf(case.file.chain[0], LeafKind.RUNNER)
    case.outcome(leaf.not_after_ns + SECOND)
    with pytest.raises(CredentialInvalid):
        case.verify()
    # Control: judged at the wrong time the chain is good.
    judge = judge_chain
    monkeypatch.setattr(
        proof, "judge_chain", lambda chain, anchors, now_ns: judge(chain, anchors, now_ns=time.time_ns())
    )
    assert case.verify()


@pytest.mark.parametrize(
    "changes",
    [{"good": False}, {"issued_ns": time.time_ns() - 2 * 3600 * SECOND}],
    ids=["revoked", "with a status from before"],
)
def test_a_receipt_under_a_leaf_is_refused_that_was(
    changes: dict[str, Any], case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.restate("status", statements.STATUS, case.parties.runners["FR"].authority.signer, **changes)
    with pytest.raises(CredentialRevoked):
        case.verify()
    # Control: without the status a revoked leaf signs receipts until it expires.
    monkeypatch.setattr(proof, "check_status", nothing)
    assert case.verify()


def test_a_leaf_of_a_country_that_the_operator_may_not_name_is_refused(case: Case) -> None:
    anchors = tuple(replace(anchor, jurisdictions=()) for anchor in case.parties.pins.operators)
    with pytest.raises(CredentialInvalid, match="may not name this jurisdiction"):
        proof.verify(case.file, pins=replace(case.parties.pins, operators=anchors))
    # Control: with the jurisdiction pinned it verifies.
    assert case.verify()


# --- under which decision ------------------------------------------------------------------------------------------


def swap_prepared(case: Case) -> None:
    case.file.prepared.CopyFrom(case.file.dispatched)


def unprove(case: Case) -> None:
    case.parties.voice.leaf("noise")
    index = case.file.dispatched.logged.index
    case.file.dispatched.logged.CopyFrom(logged_to_proto(case.parties.voice.log.prove(index)))


def edit_facts(case: Case) -> None:
    case.file.facts = case.file.facts.replace(b"technical", b"telemetry")


def accept_later(case: Case) -> None:
    manifest = case.held.job.manifest
    leaf = case.parties.voice.leaf("job.accepted", job_id=manifest.job_id, manifest=manifest.digest)
    case.file.accepted.CopyFrom(logged_to_proto(leaf))


DECISIONS: dict[str, tuple[Callable[[Case], None], type[CarnetError], str, Patches]] = {
    "the prepared decision is another": (
        swap_prepared,
        StatementInvalid,
        "not the one that the manifest names",
        ((proof, "_check_decisions", nothing), (proof, "_check_permit", nothing)),
    ),
    "the dispatch is proven under another checkpoint": (
        unprove,
        StatementInvalid,
        "not proven under the grant's checkpoint",
        ((proof, "_check_grant", nothing),),
    ),
    "the facts are others": (
        edit_facts,
        CarnetError,
        "facts",
        ((proof, "_open_facts", lambda m, manifest: nothing()), (proof, "_check_decisions", nothing)),
    ),
    "the job was accepted after its outcome": (accept_later, StatementInvalid, "accepted after its outcome", ()),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_a_receipt_file_does_not_verify_where(name: str, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    lie, error, text, patches = DECISIONS[name]
    lie(case)
    with pytest.raises(error, match=text):
        case.verify()
    # Control: without the comparison it verifies; in the right order, where order is all that is compared.
    for place, attribute, loose in patches:
        monkeypatch.setattr(place, attribute, loose)
    if not patches:
        case.outcome()
    assert case.verify()


# --- at the gateway: the fence -------------------------------------------------------------------------------------


def leased(parties: Parties, *, attempt: int = 2) -> Lease:
    return grant_lease(
        attempt=attempt,
        spiffe_id=parties.runners["DE"].name,
        grant_digest=OTHER,
        permit_until_ns=2**62,
        now_ns=0,
    )


@pytest.mark.parametrize(
    ("changes", "now_ns"),
    [
        ({"attempt": 1}, 1),
        ({"spiffe_id": "spiffe://gpu-fr.example/j/FR/runner/6f1c9f5e-0a34-4a57-9d1e-7f6d3a1b2c3d"}, 1),
        ({"grant_digest": bytes(32)}, 1),
        ({}, 66 * SECOND),
    ],
    ids=["of attempt 1 after attempt 2 began", "of a runner without the lease", "under another grant", "too late"],
)
def test_a_result_is_fenced_out(
    changes: dict[str, Any], now_ns: int, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = leased(parties)
    said: dict[str, Any] = {"attempt": 2, "spiffe_id": lease.spiffe_id, "grant_digest": OTHER} | changes
    with pytest.raises(LeaseLost):
        lease.check_fence(**said, now_ns=now_ns)
    lease.check_fence(attempt=2, spiffe_id=lease.spiffe_id, grant_digest=OTHER, now_ns=1)
    # Control: without the fence whoever comes last is the outcome.
    monkeypatch.setattr(Lease, "check_fence", nothing)
    lease.check_fence(**said, now_ns=now_ns)


def test_a_receipt_whose_log_or_results_did_not_all_arrive_is_not_taken(case: Case) -> None:
    receipt = statements.RECEIPT.parse(case.file.receipt.payload)
    start = statements.START.parse(case.file.start.payload)
    segments: tuple[Any, ...] = tuple(
        _Segment(object_id=item.id, index=i, digest=digest)
        for item in receipt.results
        for i, digest in enumerate(item.segment_digests)
    )
    stored = StoredAttempt(
        key=JobKey(tenant_id=bytes(16), job_id=receipt.job_id),
        attempt=receipt.attempt,
        spiffe_id=receipt.spiffe_id,
        jurisdiction="FR",
        kid=bytes(32),
        grant_digest=receipt.grant_digest,
        decision_digest=receipt.record_digest,
        permit=b"",
        grant=b"",
        chain=(),
        status=b"",
        ownership=b"",
        card=b"",
        log_next=receipt.log_records,
    )

    def arrived(attempt: StoredAttempt, found: tuple[Any, ...], *, log_ended: bool = True) -> None:
        check_arrived(receipt, attempt, start, found, log_ended=log_ended)

    # Control: what came whole is taken.
    arrived(stored, segments)
    with pytest.raises(StatementInvalid, match="The log is not complete"):
        arrived(replace(stored, log_next=receipt.log_records - 1), segments)
    with pytest.raises(StatementInvalid, match="The log is not complete"):
        arrived(stored, segments, log_ended=False)
    with pytest.raises(StatementInvalid, match="not those that the receipt names"):
        arrived(stored, segments[:-1])
    with pytest.raises(StatementInvalid, match="not those that the receipt names"):
        arrived(stored, segments[::-1])
    with pytest.raises(StatementInvalid, match="The receipt's attempt is another"):
        arrived(replace(stored, attempt=2), segments)


@dataclass(frozen=True, kw_only=True)
class _Segment:
    object_id: int
    index: int
    digest: bytes


def test_control_the_check_of_a_receipt_passes_the_honest_one(case: Case) -> None:
    permit = signed_from_proto(case.file.permit).digest
    start = statements.START.parse(case.file.start.payload)
    receipt = statements.RECEIPT.parse(case.file.receipt.payload)
    check_receipt(receipt, case.held.job.manifest, start, permit_digest=permit)
