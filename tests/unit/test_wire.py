"""Protobuf <-> core: the same value comes back, and nothing else is taken for one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet import statements, wire
from carnet.core.encoding import StatementKind
from carnet.core.errors import CarnetError, EnvelopeMalformed, SignatureInvalid, StatementInvalid
from carnet.core.statement import Signed, Signer
from carnet.v1 import statements_pb2
from carnet.wire import Codec, audit_entry, parse_entry
from tests.fixtures.parties import Parties

CODECS = [value for value in vars(statements).values() if isinstance(value, Codec)]


def test_every_kind_of_statement_has_a_codec() -> None:
    assert {codec.kind for codec in CODECS} == set(StatementKind)


def test_a_statement_comes_back_as_it_was_signed(parties: Parties) -> None:
    job = parties.sealed("FR", "DE")
    key = parties.tenant.signer.verifying_key()
    opened = statements.MANIFEST.open(job.signed, key)
    assert opened == job.manifest
    assert statements.MANIFEST.sign(opened, parties.tenant.signer)[0] == opened


def test_attack_a_statement_of_one_kind_is_shown_as_another(parties: Parties) -> None:
    runner = parties.runners["FR"]
    card = runner.presented.card
    key = runner.leaf.signer.verifying_key()
    statements.CARD.open(card, key)
    for codec in CODECS:
        if codec is not statements.CARD:
            with pytest.raises(SignatureInvalid):
                codec.open(card, key)


def test_attack_a_statement_is_signed_by_somebody_else(parties: Parties) -> None:
    job = parties.sealed("FR")
    with pytest.raises(SignatureInvalid):
        statements.MANIFEST.open(job.signed, Signer.generate().verifying_key())


@pytest.mark.parametrize(
    "extra", [b"\xf8\x7f\x01", b"\x08\x01", b"\x0a", b"\xff" * 12], ids=["unknown", "again", "cut", "noise"]
)
def test_attack_signed_bytes_with_more_in_them_than_the_message(parties: Parties, extra: bytes) -> None:
    signer = parties.tenant.signer
    payload = parties.sealed("FR").signed.payload + extra
    with pytest.raises(EnvelopeMalformed):
        statements.MANIFEST.open(signer.sign(StatementKind.MANIFEST, payload), signer.verifying_key())


def test_attack_an_enum_that_is_not_known_or_not_set(parties: Parties) -> None:
    payload = parties.sealed("FR").signed.payload
    for number in (0, 99):
        message = statements_pb2.Manifest.FromString(payload)
        message.mode = number  # type: ignore[assignment]  # what a hostile peer may send
        with pytest.raises((StatementInvalid, EnvelopeMalformed)):
            statements.MANIFEST.parse(message.SerializeToString(deterministic=True))


def test_a_statement_that_is_empty_or_too_large_is_refused(parties: Parties) -> None:
    for payload in (b"", bytes(statements.CARD.bytes_max + 1)):
        with pytest.raises(EnvelopeMalformed):
            statements.CARD.parse(payload)


@given(payload=st.binary(max_size=200), number=st.integers(0, len(CODECS) - 1))
def test_any_bytes_parse_or_raise_one_of_ours(payload: bytes, number: int) -> None:
    try:
        value = CODECS[number].parse(payload)
    except CarnetError:
        return
    assert value.payload == payload


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_signed_statement_or_malformed(data: bytes) -> None:
    try:
        signed = wire.signed_from_bytes(data)
    except EnvelopeMalformed:
        return
    assert wire.signed_from_bytes(wire.signed_to_bytes(signed)) == signed


@given(
    payload=st.binary(min_size=1),
    signature=st.binary(min_size=8, max_size=72),
    keyid=st.binary(min_size=32, max_size=32),
)
def test_a_signed_statement_survives_files_and_messages(payload: bytes, signature: bytes, keyid: bytes) -> None:
    signed = Signed(payload=payload, signature=signature, keyid=keyid)
    assert wire.signed_from_bytes(wire.signed_to_bytes(signed)) == signed
    assert wire.signed_from_proto(wire.signed_to_proto(signed)) == signed


def test_an_entry_of_the_log_says_what_it_commits_to() -> None:
    entry = audit_entry("job.accepted", time_ns=5, tenant_id=b"t", job_id=b"j", manifest=b"m" * 32, decision=b"d" * 32)
    again = parse_entry(entry.to_bytes())
    assert again == entry
    assert again.digest("manifest") == b"m" * 32
    with pytest.raises(StatementInvalid):
        again.digest("receipt")
    with pytest.raises(EnvelopeMalformed):
        parse_entry(entry.to_bytes() + b"\xf8\x7f\x01")


def test_the_order_in_which_digests_are_given_does_not_change_a_leaf() -> None:
    one = audit_entry("k", time_ns=1, tenant_id=b"", job_id=b"", a=b"1", b=b"2")
    two = audit_entry("k", time_ns=1, tenant_id=b"", job_id=b"", b=b"2", a=b"1")
    assert one.to_bytes() == two.to_bytes()


def test_a_logged_entry_survives_its_message(parties: Parties) -> None:
    logged = parties.voice.leaf("decision.prepared", record=bytes(32))
    assert wire.logged_from_proto(wire.logged_to_proto(logged)) == logged
    assert wire.logged_from_proto(wire.logged_to_proto(replace(logged, index=logged.index + 1))) != logged
