"""Any bytes are a statement or raise one of three errors; a statement that was changed is never accepted."""

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from carnet import statements, wire
from carnet.core.audit import check_logged
from carnet.core.encoding import StatementKind
from carnet.core.errors import CredentialInvalid, EnvelopeMalformed, ProofInvalid, SignatureInvalid, StatementInvalid
from carnet.core.statement import Signed, Signer, VerifyingKey
from carnet.wire import Codec
from tests.fixtures.gateway_process import bounded
from tests.fuzz.shapes import messages, mutated

pytestmark = pytest.mark.timeout(900)

SIGNER = Signer.generate()
CODECS: dict[str, Codec[Any]] = {
    name: codec for name, codec in sorted(vars(statements).items()) if isinstance(codec, Codec)
}
MALFORMED = (EnvelopeMalformed, StatementInvalid)


def test_every_kind_of_statement_is_fuzzed() -> None:
    assert {codec.kind for codec in CODECS.values()} == set(StatementKind)


def parsed(codec: Codec[Any], payload: bytes) -> bool:
    """Whether bytes are a statement. Raises anything but the errors that a parser may raise."""
    try:
        codec.parse(payload)
    except MALFORMED:
        return False
    return True


@bounded(normal=200, full=20_000)
@given(st.sampled_from(list(CODECS.values())), st.binary(max_size=400))
def test_any_bytes_are_a_statement_or_raise_its_errors(codec: Codec[Any], payload: bytes) -> None:
    parsed(codec, payload)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
def test_any_message_is_a_statement_or_raises_its_errors(codec: Codec[Any]) -> None:
    kind: type[Message] = codec.message

    @bounded(normal=40, full=4000)
    @given(messages(kind))
    def check(message: Message) -> None:
        payload = message.SerializeToString(deterministic=True)
        if parsed(codec, payload):
            # What is taken in goes out again and comes in the same: nothing of it was lost or read in another way.
            value = codec.parse(payload)
            again, _ = codec.sign(value, SIGNER)
            assert replace(codec.parse(again.payload), payload=b"") == replace(value, payload=b"")

    check()


@bounded(normal=80, full=8000)
@given(st.sampled_from(list(CODECS.values())), st.data())
def test_a_changed_statement_does_not_verify(codec: Codec[Any], data: st.DataObject) -> None:
    honest = data.draw(messages(codec.message)).SerializeToString(deterministic=True) or b"\0"
    signed = SIGNER.sign(codec.kind, honest)
    key = SIGNER.verifying_key()
    assert key.verify(signed, codec.kind) == honest, "control: untouched, it does"
    payload, signature = honest, signed.signature
    if data.draw(st.booleans()):
        payload = data.draw(mutated(honest))
    else:
        signature = data.draw(mutated(signature))
    with pytest.raises((SignatureInvalid, EnvelopeMalformed)):
        codec.open(Signed(payload=payload, signature=signature, keyid=signed.keyid), key)


@bounded(normal=100, full=4000)
@given(st.data())
def test_a_field_twice_or_a_field_of_nobody_is_refused_though_it_is_signed_well(data: st.DataObject) -> None:
    codec = data.draw(st.sampled_from(list(CODECS.values())))
    message = data.draw(messages(codec.message))
    honest = message.SerializeToString(deterministic=True)
    singular = [f for f, _ in message.ListFields() if not f.is_repeated]
    smuggled = [honest + b"\xfa\x3e\x03abc", b"\xfa\x3e\x03abc" + honest]
    for field in singular:
        alone = codec.message()
        alone.MergeFrom(message)
        for other, _ in message.ListFields():
            if other.name != field.name:
                alone.ClearField(other.name)
        smuggled.append(honest + alone.SerializeToString())
    for payload in smuggled:
        with pytest.raises(EnvelopeMalformed):
            codec.open(SIGNER.sign(codec.kind, payload), SIGNER.verifying_key())


@bounded(normal=100, full=10_000)
@given(st.binary(max_size=300) | mutated(wire.signed_to_bytes(SIGNER.sign(StatementKind.GRANT, b"payload"))))
def test_any_bytes_are_a_signed_statement_or_malformed(data: bytes) -> None:
    try:
        signed = wire.signed_from_bytes(data)
    except EnvelopeMalformed:
        return
    with pytest.raises(SignatureInvalid):
        SIGNER.verifying_key().verify(signed, StatementKind.PERMIT)


@bounded(normal=100, full=10_000)
@given(st.binary(max_size=300) | mutated(wire.audit_entry("x", time_ns=1, tenant_id=b"", job_id=b"").to_bytes()))
def test_any_bytes_are_an_entry_of_the_log_or_malformed(data: bytes) -> None:
    try:
        wire.parse_entry(data)
    except MALFORMED:
        return


@bounded(normal=200, full=5000)
@given(st.binary(max_size=200), st.integers(0, 2**64 - 1), st.lists(st.binary(max_size=40), max_size=5), st.text())
def test_any_proof_of_anything_is_refused(entry: bytes, index: int, path: list[bytes], note: str) -> None:
    public = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    with pytest.raises(ProofInvalid):
        check_logged(entry, index, tuple(path), note, origin="gateway.carnet.test/log", public=public)


@bounded(normal=100, full=10_000)
@given(st.binary(max_size=200) | mutated(SIGNER.public_der))
def test_any_bytes_are_a_key_or_raise_one_error(data: bytes) -> None:
    try:
        VerifyingKey.from_der(data)
    except CredentialInvalid:
        return
