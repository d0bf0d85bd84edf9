"""Attacks on what a client signs: manifests that are forged, re-written, out of bounds, or wider than their decision.

Each is judged by the runner's own rules (`judge_offer`) or by the gateway's intake. Each control takes the named check
away, and shows that the manifest then passes.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from carnet import authorship, statements, wire
from carnet.authorship import open_written
from carnet.core import job as jobs
from carnet.core import limits
from carnet.core.decision import DecisionBody, parse_body
from carnet.core.encoding import StatementKind
from carnet.core.errors import (
    CredentialInvalid,
    EnvelopeMalformed,
    FactsMismatch,
    FieldInvalid,
    SignatureInvalid,
    StatementInvalid,
)
from carnet.core.job import Addendum, Manifest, Recipient, check_facts
from carnet.core.keyset import TenantKeySet
from carnet.core.runner import Isolation
from carnet.core.statement import Signed, Signer, VerifyingKey
from carnet.outbox import SealedJob, allowed_places
from carnet.v1 import statements_pb2
from gateway import intake
from sandbox import offer as offers
from sandbox.agent import offer_from
from sandbox.offer import AcceptedOffer, Memory, judge_offer
from tests.fixtures.parties import Parties, body, facts, nothing, trusting


def judged(parties: Parties, job: SealedJob, place: str = "FR", memory: Memory | None = None) -> AcceptedOffer:
    """The job as the runner of a place judges it; the gateway is honest."""
    runner = parties.runners[place]
    given = parties.voice.dispatch(job, runner)
    return judge_offer(
        offer_from(parties.voice.offer(job, runner, given)),
        runner=runner.self,
        pins=parties.pins,
        memory=memory or Memory(),
        now_ns=time.time_ns(),
    )


def written(job: SealedJob, payload: bytes, signer: Signer) -> SealedJob:
    """The job with other manifest bytes under somebody's signature; its value is what protobuf makes of the bytes."""
    signed = signer.sign(StatementKind.MANIFEST, payload)
    message = statements_pb2.Manifest.FromString(payload)
    value = wire.from_message(message, Manifest, payload=payload)
    return replace(job, signed=signed, manifest=value)


def fields_of(payload: bytes) -> list[bytes]:
    """The top-level fields of a message, each with its key."""
    found, at = [], 0
    while at < len(payload):
        start = at
        key, at = varint(payload, at)
        size, end = varint(payload, at)
        at = end + size if key & 7 == 2 else end
        found.append(payload[start:at])
    return found


def varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def test_control_the_honest_job_is_accepted(parties: Parties) -> None:
    assert judged(parties, parties.sealed("FR")).grant.attempt == 1


def test_a_manifest_signed_by_a_key_outside_of_the_tenants_set_is_refused(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    forger, job = Signer.generate(), parties.sealed("FR")
    forged = written(job, job.manifest.payload, forger)
    with pytest.raises(CredentialInvalid, match="No live key of the tenant has this id"):
        judged(parties, forged)
    # Control: a runner that took any key for the tenant's would run a stranger's job.
    monkeypatch.setattr(TenantKeySet, "find", lambda self, keyid, now_ns: forger.verifying_key())
    assert judged(parties, forged)


@pytest.mark.parametrize("signature", [bytes(70), b"\x30\x06\x02\x01\x01\x02\x01\x01"], ids=["zeros", "of ones"])
def test_a_manifest_that_nobody_signed_is_refused(
    signature: bytes, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = parties.sealed("FR")
    unsigned = replace(job, signed=replace(job.signed, signature=signature))
    with pytest.raises(SignatureInvalid):
        judged(parties, unsigned)
    # Control: without verification it passes.
    monkeypatch.setattr(VerifyingKey, "verify", trusting)
    assert judged(parties, unsigned)


def test_a_manifest_of_another_tenant_under_this_tenants_keys_is_refused(parties: Parties) -> None:
    job = parties.sealed("FR")
    foreign, signed = statements.MANIFEST.sign(replace(job.manifest, tenant_id=bytes(16)), parties.tenant.signer)
    with pytest.raises(StatementInvalid, match="of another tenant"):
        judged(parties, replace(job, manifest=foreign, signed=signed))
    # Control: the same manifest under its own name is accepted.
    assert judged(parties, job)


def test_a_reserialised_manifest_is_refused_and_would_be_a_second_job(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, memory = parties.sealed("FR"), Memory()
    first, *rest = fields_of(job.manifest.payload)
    turned = b"".join([*rest, first])
    again = replace(
        job,
        signed=replace(job.signed, payload=turned),
        manifest=wire.from_message(statements_pb2.Manifest.FromString(turned), Manifest, payload=turned),
    )
    assert again.manifest.digest != job.manifest.digest
    memory.note(judged(parties, job))
    with pytest.raises(SignatureInvalid):
        judged(parties, again, memory=memory)
    # Control: a verifier that serialises before it verifies takes the same job a second time, past the runner's memory.
    honest = VerifyingKey.verify

    def loose(self: VerifyingKey, signed: Signed, kind: StatementKind) -> bytes:
        if kind is StatementKind.MANIFEST:
            message = statements_pb2.Manifest.FromString(signed.payload)
            honest(self, replace(signed, payload=message.SerializeToString(deterministic=True)), kind)
            return signed.payload
        return honest(self, signed, kind)

    monkeypatch.setattr(VerifyingKey, "verify", loose)
    assert judged(parties, again, memory=memory)


IMAGE_FIELD = statements_pb2.Manifest.DESCRIPTOR.fields_by_name["image"].number
SHAPES = {
    "a second image, which protobuf would take": bytes([IMAGE_FIELD << 3 | 2]) + b"\x47sha256:" + b"6" * 64,
    "a field that nobody knows, which protobuf would skip": b"\xfa\x3f\x04priv",
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_signed_manifest_is_refused_that_holds(name: str, parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    job = parties.sealed("FR")
    payload = job.manifest.payload + SHAPES[name]
    forged = written(job, payload, parties.tenant.signer)
    with pytest.raises(EnvelopeMalformed, match="not the message that they should be"):
        judged(parties, forged)
    # Control: without the scan the last of two images is the one that runs, and the unknown field goes unseen.
    monkeypatch.setattr(wire, "scan", nothing)
    found = judged(parties, forged).manifest
    assert found.image == ("sha256:" + "6" * 64 if "image" in name else job.manifest.image)


def test_a_signed_manifest_with_text_that_is_not_utf_8_is_refused(parties: Parties) -> None:
    job = parties.sealed("FR")
    payload = job.manifest.payload.replace(b"5a5a", b"5a\xff\xfe", 1)
    assert payload != job.manifest.payload
    signed = parties.tenant.signer.sign(StatementKind.MANIFEST, payload)
    with pytest.raises(EnvelopeMalformed):
        statements.MANIFEST.open(signed, parties.tenant.signer.verifying_key())
    # Control: the same bytes with the text as it was open.
    assert statements.MANIFEST.open(job.signed, parties.tenant.signer.verifying_key())


def changed(**changes: Any) -> Callable[[Manifest], dict[str, Any]]:
    return lambda manifest: changes


SHORT: dict[str, tuple[Callable[[Manifest], dict[str, Any]], str]] = {
    "an unknown suite": (changed(suite=2), "another version or suite"),
    "an older version": (changed(version=0), "another version or suite"),
    "seventeen recipients": (
        lambda m: {"recipients": tuple(replace(m.recipients[0], kid=bytes([i]) * 32) for i in range(17))},
        "number of recipients",
    ),
    "two recipients with one key": (
        lambda m: {"recipients": (m.recipients[0], replace(m.recipients[0], spiffe_id="spiffe://x"))},
        "Two recipients name the same key",
    ),
    "a recipient outside of its places": (
        lambda m: {"recipients": (replace(m.recipients[0], jurisdiction="US"),)},
        "outside the allowed jurisdictions",
    ),
    "a life of more than a day": (lambda m: {"not_after_ns": m.not_after_ns + 10**18}, "24 hours at most"),
}
LOOSE: dict[str, tuple[object, str, object]] = {
    "an unknown suite": (jobs, "SUITE", 2),
    "an older version": (jobs, "VERSION", 0),
    "seventeen recipients": (limits, "recipients_max", 17),
    "two recipients with one key": (jobs, "_check_recipients", nothing),
    "a recipient outside of its places": (jobs, "_check_manifest", nothing),
    "a life of more than a day": (limits, "manifest_seconds_max", 10**10),
}


@pytest.mark.parametrize("name", SHORT)
def test_a_manifest_does_not_exist_with(name: str, parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    change, text = SHORT[name]
    manifest = parties.sealed("FR").manifest
    with pytest.raises(EnvelopeMalformed, match=text):
        replace(manifest, **change(manifest))
    # Control: with the check away it is made, signed, and opened again by a reader that is as loose.
    monkeypatch.setattr(*LOOSE[name])
    made, signed = statements.MANIFEST.sign(replace(manifest, **change(manifest)), parties.tenant.signer)
    assert statements.MANIFEST.open(signed, parties.tenant.signer.verifying_key()) == made


def test_a_runner_that_the_client_did_not_list_does_not_take_the_job(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = parties.sealed("DE")
    manifest = replace(job.manifest, allowed_jurisdictions=("DE", "FR"))
    made, signed = statements.MANIFEST.sign(manifest, parties.tenant.signer)
    wide = replace(job, manifest=made, signed=signed)
    with pytest.raises(EnvelopeMalformed, match="not among the recipients"):
        judged(parties, wide, "FR")
    # Control: without the look at the list it would take time for a job that it can not open.
    monkeypatch.setattr(offers, "_addendum", nothing)
    assert judged(parties, wide, "FR")


# --- at the gateway ------------------------------------------------------------------------------------------------


def recipients(parties: Parties, job: SealedJob, manifest: Manifest, wraps: int) -> None:
    intake._check_recipients(manifest, job.decided.record, job.decided.body, wraps=wraps)


def test_a_job_for_nobody_is_refused_at_submit(parties: Parties) -> None:
    job = parties.sealed("FR")
    # Control: a manifest without recipients exists (a job that waits for approval has none), so submit must ask.
    empty = replace(job.manifest, recipients=())
    with pytest.raises(FieldInvalid, match="one wrap for each recipient"):
        recipients(parties, job, empty, 0)
    recipients(parties, job, job.manifest, 1)


def test_more_recipients_than_the_decision_allows_are_refused(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = parties.sealed("FR")
    first = job.manifest.recipients[0]
    many = replace(job.manifest, recipients=tuple(replace(first, kid=bytes([i]) * 32) for i in range(4)))
    with pytest.raises(FactsMismatch, match="more recipients than the decision allows"):
        recipients(parties, job, many, 4)
    # Control: without the bound the sensitive job is exposed to as many as the client likes.
    monkeypatch.setattr(intake, "recipients_max", lambda _: 16)
    recipients(parties, job, many, 4)


def test_a_manifest_wider_than_its_decision_is_refused(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    job = parties.sealed("FR")
    wide = replace(job.manifest, allowed_jurisdictions=("FR", "US"))
    with pytest.raises(FactsMismatch, match="allows a place that the decision does not"):
        recipients(parties, job, wide, 1)
    # Control: a body that is never asked lets the United States in.
    monkeypatch.setattr(DecisionBody, "lists", lambda self, place: True)
    recipients(parties, job, wide, 1)


def test_a_recipient_that_the_decision_did_not_name_is_refused(parties: Parties) -> None:
    job = parties.sealed("FR")
    german = parties.sealed("DE").manifest.recipients[0]
    other = replace(job.manifest, recipients=(german,), allowed_jurisdictions=("DE",))
    with pytest.raises(FactsMismatch, match="not permitted by the decision"):
        recipients(parties, job, other, 1)
    # Control: the runner that was judged is taken.
    recipients(parties, job, job.manifest, 1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"image": "sha256:" + "66" * 32}, "image"),
        ({"seconds_max": 3600}, "seconds"),
        ({"attempts_max": 8}, "attempts"),
        ({"isolation_min": Isolation.PROCESS}, "isolation_min"),
        ({"facts_digest": bytes(32)}, "facts_digest"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_manifest_that_contradicts_what_policy_heard_is_refused(
    change: dict[str, Any], field: str, parties: Parties
) -> None:
    job = parties.sealed("FR")
    with pytest.raises(FactsMismatch) as caught:
        check_facts(replace(job.manifest, **change), job.facts)
    assert caught.value.metadata == {"field": field}
    # Control: what policy heard of is what the manifest says.
    check_facts(job.manifest, job.facts)


def test_an_image_swapped_in_a_signed_manifest_is_not_run(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    job = parties.sealed("FR")
    payload = job.manifest.payload.replace(b"5a" * 32, b"66" * 32)
    swapped = replace(written(job, payload, Signer.generate()), signed=replace(job.signed, payload=payload))
    with pytest.raises(SignatureInvalid):
        judged(parties, swapped)
    # Control: without the client's signature the gateway chooses what runs.
    monkeypatch.setattr(VerifyingKey, "verify", trusting)
    assert judged(parties, swapped).manifest.image == "sha256:" + "66" * 32


def test_places_that_the_client_excluded_are_not_in_its_manifest_whatever_the_decision_says(
    parties: Parties,
) -> None:
    told = facts(constraints={"never": ["US"]})
    job = parties.sealed("FR", data=told)
    wide = parse_body(body("DE", "FR", "US"))
    assert allowed_places(wide, job.facts, ()) == ("DE", "FR")
    manifest = replace(job.manifest, allowed_jurisdictions=("FR", "US"))
    with pytest.raises(FactsMismatch, match="that the facts exclude"):
        check_facts(manifest, job.facts)
    # Control: a client that excludes nothing takes what the decision permits.
    assert allowed_places(wide, parties.sealed("FR").facts, ()) == ("DE", "FR", "US")


# --- addenda -------------------------------------------------------------------------------------------------------


def addendum(parties: Parties, job: SealedJob, *recipients: Recipient, **changes: Any) -> Signed:
    unsigned = Addendum(
        payload=b"",
        manifest_digest=job.manifest.digest,
        sequence=1,
        previous_digest=job.manifest.digest,
        decision_digest=job.manifest.decision_digest,
        recipients=recipients,
    )
    return statements.ADDENDUM.sign(replace(unsigned, **changes), parties.tenant.signer)[1]


def opened(parties: Parties, job: SealedJob, *addenda: Signed) -> object:
    return open_written(job.key_set, job.signed, addenda, tenants=parties.pins.tenants, now_ns=time.time_ns())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sequence": 2}, "out of its order"),
        ({"previous_digest": bytes(32)}, "out of its order"),
        ({"manifest_digest": bytes(32)}, "out of its order"),
    ],
    ids=["left out", "replaced", "of another job"],
)
def test_an_addendum_out_of_its_chain_is_refused(
    changes: dict[str, Any], text: str, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = parties.sealed("FR", "DE")
    more = replace(job.manifest.recipients[1], kid=bytes(32))
    with pytest.raises(StatementInvalid, match=text):
        opened(parties, job, addendum(parties, job, more, **changes))
    assert opened(parties, job, addendum(parties, job, more))
    # Control: without the comparison an addendum can be left out, replaced, or brought over from another job.
    monkeypatch.setattr(authorship, "_check_addenda", nothing)
    assert opened(parties, job, addendum(parties, job, more, **changes))


def test_an_addendum_does_not_widen_the_places(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    job = parties.sealed("FR")
    american = replace(job.manifest.recipients[0], kid=bytes(32), jurisdiction="US")
    with pytest.raises(StatementInvalid, match="outside the allowed jurisdictions"):
        opened(parties, job, addendum(parties, job, american))
    assert opened(parties, job, addendum(parties, job, replace(american, jurisdiction="FR")))
    # Control: without the comparison the job goes where its manifest does not allow it.
    monkeypatch.setattr(authorship, "_check_addenda", nothing)
    assert opened(parties, job, addendum(parties, job, american))


def test_a_key_that_was_listed_before_is_not_listed_again(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    job = parties.sealed("FR", "DE")
    again = replace(job.manifest.recipients[0], jurisdiction="DE", spiffe_id=job.manifest.recipients[1].spiffe_id)
    with pytest.raises(StatementInvalid, match="a key that was listed before"):
        opened(parties, job, addendum(parties, job, again))
    first = addendum(parties, job, replace(again, kid=bytes(32)))
    second = addendum(parties, job, replace(again, kid=bytes(32)), sequence=2, previous_digest=first.digest)
    with pytest.raises(StatementInvalid, match="a key that was listed before"):
        opened(parties, job, first, second)
    other = addendum(parties, job, replace(again, kid=b"\1" * 32), sequence=2, previous_digest=first.digest)
    assert opened(parties, job, first, other)
    # Control: without the comparison one key is tried for as often as it is listed.
    monkeypatch.setattr(authorship, "_check_addenda", nothing)
    assert opened(parties, job, first, second)
