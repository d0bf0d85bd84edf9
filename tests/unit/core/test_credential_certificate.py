"""What a certificate must hold, one thing wrong at a time: the two rules (a leaf's, a chain's) are asked apart."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from carnet.core import limits
from carnet.core.certificate import LeafKind, parse_certificate, read_leaf, verify_chain
from carnet.core.errors import CredentialInvalid
from tests.fixtures.identity import BOTH, NOW_NS, RUNNER, Forgery, operator, private_of, uri_of, usage_of

OPERATOR = operator()
ROOTS = (OPERATOR.certificate_der,)
GOOD = Forgery()
CLIENT, SERVER = BOTH
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
PADDING = ObjectIdentifier("1.3.6.1.4.1.99999.1")


def with_usage(**changes: bool) -> bytes:
    """A good leaf but for its key usage."""
    good = x509.load_der_x509_certificate(GOOD.sign(OPERATOR))
    usage = {name.removeprefix("_"): value for name, value in vars(usage_of(cert_sign=False)).items()} | changes
    builder = (
        x509.CertificateBuilder()
        .subject_name(good.subject)
        .issuer_name(good.issuer)
        .public_key(good.public_key())
        .serial_number(good.serial_number)
        .not_valid_before(good.not_valid_before_utc)
        .not_valid_after(good.not_valid_after_utc)
    )
    for extension in good.extensions:
        wrong = isinstance(extension.value, x509.KeyUsage)
        value = x509.KeyUsage(**usage) if wrong else extension.value
        builder = builder.add_extension(value, critical=extension.critical)
    return builder.sign(private_of(OPERATOR), hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def padded(size: int) -> bytes:
    """A good leaf of exactly this many bytes; an ECDSA signature varies by a few, so it is tried again."""
    bytes_more = size - 600
    for _ in range(500):
        extension = x509.UnrecognizedExtension(PADDING, bytes(bytes_more))
        found = replace(GOOD, extension=extension).sign(OPERATOR)
        if len(found) == size:
            return found
        bytes_more += size - len(found)
    raise AssertionError("no such certificate was found")


def test_a_good_leaf_passes_both_rules() -> None:
    leaf = GOOD.sign(OPERATOR)
    assert str(read_leaf(leaf, LeafKind.RUNNER).id) == str(RUNNER)
    assert verify_chain((leaf,), ROOTS, now_ns=NOW_NS) == OPERATOR.signer.verifying_key()
    assert f"/{LeafKind.RUNNER}/" in str(RUNNER)


@pytest.mark.parametrize(
    "usages",
    [(CLIENT,), (SERVER,), (CLIENT, ANY), (CLIENT, SERVER, ANY), (CLIENT, SERVER, CLIENT)],
    ids=["client", "server", "client and any", "both and any", "both and one again"],
)
def test_other_extended_usages_are_refused_by_the_leafs_rule_and_by_the_chains(
    usages: tuple[ObjectIdentifier, ...],
) -> None:
    leaf = replace(GOOD, usages=usages).sign(OPERATOR)
    with pytest.raises(CredentialInvalid, match="clientAuth and serverAuth"):
        read_leaf(leaf, LeafKind.RUNNER)
    with pytest.raises(CredentialInvalid, match="does not verify"):
        verify_chain((leaf,), ROOTS, now_ns=NOW_NS)


@pytest.mark.parametrize(
    "changes",
    [{"digital_signature": False, "key_agreement": True}, {"key_cert_sign": True}, {"crl_sign": True}],
    ids=["no signature", "signs certificates", "signs revocations"],
)
def test_a_key_usage_that_is_not_a_leafs_is_refused(changes: dict[str, bool]) -> None:
    assert read_leaf(with_usage(), LeafKind.RUNNER)
    with pytest.raises(CredentialInvalid, match="key usage must be that of a leaf"):
        read_leaf(with_usage(**changes), LeafKind.RUNNER)


def test_a_certificate_that_says_ca_is_no_leaf_whatever_its_key_usage() -> None:
    with pytest.raises(CredentialInvalid, match="no leaf"):
        read_leaf(replace(GOOD, ca=True).sign(OPERATOR), LeafKind.RUNNER)


@pytest.mark.parametrize("kind", [x509.DNSName, x509.RFC822Name], ids=["DNS", "mail"])
def test_attack_a_name_of_another_kind_that_reads_like_an_id(kind: type[x509.DNSName | x509.RFC822Name]) -> None:
    with pytest.raises(CredentialInvalid, match="exactly one URI"):
        read_leaf(replace(GOOD, names=(kind._init_without_validation(str(RUNNER)),)).sign(OPERATOR), LeafKind.RUNNER)


@pytest.mark.parametrize(
    "path", ["/client", "/client/a/b", "/runner/laptop", "/gateway/one", "/x/client", "/clients/laptop"]
)
def test_a_client_is_named_by_two_segments_and_nothing_else(path: str) -> None:
    good = GOOD.named("spiffe://enterprise.example/client/laptop").sign(OPERATOR)
    client = read_leaf(good, LeafKind.CLIENT)
    assert client.id.path == f"/{LeafKind.CLIENT}/laptop"
    with pytest.raises(CredentialInvalid, match="does not name a client"):
        read_leaf(GOOD.named(f"spiffe://enterprise.example{path}").sign(OPERATOR), LeafKind.CLIENT)


def test_a_certificate_is_8_kib_at_most() -> None:
    largest = padded(limits.certificate_bytes_max)
    assert len(largest) == 8192
    assert parse_certificate(largest).serial_number > 0
    with pytest.raises(CredentialInvalid, match="too large"):
        parse_certificate(padded(limits.certificate_bytes_max + 1))


def test_a_chain_without_a_leaf_or_without_a_root_is_refused_by_its_own_rule() -> None:
    leaf = GOOD.sign(OPERATOR)
    for chain in ((), (leaf,) * 5):
        with pytest.raises(CredentialInvalid, match="empty or too long"):
            verify_chain(chain, ROOTS, now_ns=NOW_NS)
    with pytest.raises(CredentialInvalid, match="No root"):
        verify_chain((leaf,), (), now_ns=NOW_NS)


def test_attack_a_leaf_that_was_pinned_by_mistake_is_its_own_issuer() -> None:
    leaf = GOOD.sign(OPERATOR)
    with pytest.raises(CredentialInvalid, match="its own leaf"):
        verify_chain((leaf,), (leaf,), now_ns=NOW_NS)


def test_a_uri_is_the_only_name_there_is() -> None:
    for names in ((), (uri_of(str(RUNNER)), uri_of(str(RUNNER)))):
        with pytest.raises(CredentialInvalid):
            read_leaf(replace(GOOD, names=names).sign(OPERATOR), LeafKind.RUNNER)


def test_a_certificate_of_a_version_that_x509_does_not_have_is_none() -> None:
    good = GOOD.sign(OPERATOR)
    assert parse_certificate(good).version is x509.Version.v3
    version = good.index(bytes.fromhex("a003020102")) + 4
    for number in (0, 1, 3, 255):
        with pytest.raises(CredentialInvalid):
            read_leaf(good[:version] + bytes([number]) + good[version + 1 :], LeafKind.RUNNER)
