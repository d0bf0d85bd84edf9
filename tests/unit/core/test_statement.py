"""Signed statements: what verifies, and what does not."""

import hashlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from carnet.core import limits
from carnet.core.encoding import StatementKind
from carnet.core.errors import CredentialInvalid, EnvelopeMalformed, SignatureInvalid
from carnet.core.statement import Signed, Signer, VerifyingKey

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.generate()


@pytest.fixture(scope="module")
def key(signer: Signer) -> VerifyingKey:
    return VerifyingKey.from_der(signer.public_der)


def test_verification_returns_the_very_bytes_that_were_signed(signer: Signer, key: VerifyingKey) -> None:
    signed = signer.sign(StatementKind.MANIFEST, b"bytes")
    assert key.verify(signed, StatementKind.MANIFEST) == b"bytes"
    assert signed.digest == hashlib.sha256(b"bytes").digest()


def test_the_key_id_is_the_digest_of_the_public_key(signer: Signer, key: VerifyingKey) -> None:
    assert signer.keyid == key.keyid == hashlib.sha256(signer.public_der).digest()
    assert key == signer.verifying_key()
    assert len({key, signer.verifying_key()}) == 1


def test_a_key_survives_its_pem(signer: Signer, key: VerifyingKey) -> None:
    again = Signer.from_pem(signer.to_pem())
    assert again.public_der == signer.public_der
    assert key.verify(again.sign(StatementKind.START, b"x"), StatementKind.START) == b"x"


def test_a_statement_of_one_kind_is_none_of_another(signer: Signer, key: VerifyingKey) -> None:
    signed = signer.sign(StatementKind.PERMIT, b"bytes")
    for kind in StatementKind:
        if kind is not StatementKind.PERMIT:
            with pytest.raises(SignatureInvalid):
                key.verify(signed, kind)


def test_a_statement_of_another_signer_is_refused_even_under_our_key_id(signer: Signer, key: VerifyingKey) -> None:
    other = Signer.generate().sign(StatementKind.GRANT, b"bytes")
    forged = Signed(payload=other.payload, signature=other.signature, keyid=signer.keyid)
    with pytest.raises(SignatureInvalid):
        key.verify(forged, StatementKind.GRANT)


def test_a_wrong_key_id_changes_nothing_since_it_is_a_hint(signer: Signer, key: VerifyingKey) -> None:
    signed = signer.sign(StatementKind.GRANT, b"bytes")
    renamed = Signed(payload=signed.payload, signature=signed.signature, keyid=bytes(32))
    assert key.verify(renamed, StatementKind.GRANT) == b"bytes"


def test_every_changed_byte_of_payload_or_signature_is_refused(signer: Signer, key: VerifyingKey) -> None:
    signed = signer.sign(StatementKind.START, b"four")
    for i in range(len(signed.payload)):
        payload = signed.payload[:i] + bytes([signed.payload[i] ^ 1]) + signed.payload[i + 1 :]
        with pytest.raises(SignatureInvalid):
            key.verify(Signed(payload=payload, signature=signed.signature, keyid=signed.keyid), StatementKind.START)
    for i in range(len(signed.signature)):
        signature = signed.signature[:i] + bytes([signed.signature[i] ^ 1]) + signed.signature[i + 1 :]
        with pytest.raises(SignatureInvalid):
            key.verify(Signed(payload=signed.payload, signature=signature, keyid=signed.keyid), StatementKind.START)


def test_a_malleated_signature_leaves_the_identity_of_the_statement_alone(signer: Signer, key: VerifyingKey) -> None:
    signed = signer.sign(StatementKind.RECEIPT, b"bytes")
    r, s = decode_dss_signature(signed.signature)
    twin = Signed(payload=b"bytes", signature=encode_dss_signature(r, P256_ORDER - s), keyid=signed.keyid)
    assert key.verify(twin, StatementKind.RECEIPT) == b"bytes"
    assert twin.signature != signed.signature
    assert twin.digest == signed.digest


@pytest.mark.parametrize(
    ("payload", "signature", "keyid"),
    [
        (b"", bytes(70), bytes(32)),
        (bytes(limits.manifest_bytes_max + 1), bytes(70), bytes(32)),
        (b"x", bytes(7), bytes(32)),
        (b"x", bytes(73), bytes(32)),
        (b"x", bytes(70), bytes(31)),
    ],
)
def test_a_signed_statement_out_of_bounds_does_not_exist(payload: bytes, signature: bytes, keyid: bytes) -> None:
    with pytest.raises(EnvelopeMalformed):
        Signed(payload=payload, signature=signature, keyid=keyid)


def test_only_p256_in_its_one_form_is_a_verifying_key(signer: Signer) -> None:
    compressed = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = compressed.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    refused = [
        b"",
        b"junk",
        signer.public_der + b"\0",
        signer.public_der[:-1],
        head + point,
        ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(*SPKI),
        ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(*SPKI),
        rsa.generate_private_key(65537, 2048).public_key().public_bytes(*SPKI),
    ]
    for spki in refused:
        with pytest.raises(CredentialInvalid):
            VerifyingKey.from_der(spki)


def test_only_p256_in_plain_pem_is_a_signing_key() -> None:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    p256 = ec.generate_private_key(ec.SECP256R1())
    refused = [
        b"",
        b"junk",
        p256.private_bytes(*form, serialization.BestAvailableEncryption(b"pass")),
        ec.generate_private_key(ec.SECP384R1()).private_bytes(*form, serialization.NoEncryption()),
        ed25519.Ed25519PrivateKey.generate().private_bytes(*form, serialization.NoEncryption()),
    ]
    for pem in refused:
        with pytest.raises(CredentialInvalid):
            Signer.from_pem(pem)
    with pytest.raises(CredentialInvalid):
        Signer(ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(CredentialInvalid):
        VerifyingKey(ec.generate_private_key(ec.SECP384R1()).public_key())
