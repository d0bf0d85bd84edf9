"""Certificates that gRPC's handshake or a lax chain check would take, and the rules that refuse each."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from carnet.core import certificate, credential
from carnet.core.credential import LeafKind, RunnerId, SpiffeId, judge_chain, judge_leaf, read_leaf
from carnet.core.errors import CredentialInvalid
from tests.fixtures.identity import BOTH, NOW, NOW_NS, RUNNER, Forgery, anchor_of, issue, operator, uri_of

OPERATOR = operator()
ANCHORS = (anchor_of(OPERATOR, "FR"),)
GOOD = Forgery()
FIRST = str(RUNNER)

EXTENSIONS = {
    "no extended key usage": replace(GOOD, usages=()),
    "server only": replace(GOOD, usages=BOTH[1:]),
    "client only": replace(GOOD, usages=BOTH[:1]),
    "any usage": replace(GOOD, usages=(*BOTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)),
    "a CA as leaf": replace(GOOD, ca=True, cert_sign=True),
    "a leaf that signs certificates": replace(GOOD, cert_sign=True),
}
NAMES = {
    "two SPIFFE ids": GOOD.named(FIRST, FIRST.replace("gpu-fr", "gpu-de")),
    "a DNS name beside the id": replace(GOOD, names=(uri_of(FIRST), x509.DNSName("gateway.carnet.test"))),
    "a mail address beside the id": replace(GOOD, names=(uri_of(FIRST), x509.RFC822Name("a@gpu-fr.example"))),
}


def judge(forgery: Forgery) -> RunnerId:
    return judge_chain((forgery.sign(OPERATOR),), ANCHORS, now_ns=NOW_NS).id


def test_control_the_good_leaf_is_the_runner_that_it_names() -> None:
    assert judge(GOOD) == RUNNER


@pytest.mark.parametrize("forgery", EXTENSIONS.values(), ids=EXTENSIONS)
def test_a_leaf_with_wrong_extensions_is_refused_by_the_call_rule_and_in_the_chain(forgery: Forgery) -> None:
    with pytest.raises(CredentialInvalid):
        read_leaf(forgery.sign(OPERATOR), LeafKind.RUNNER)
    with pytest.raises(CredentialInvalid):
        judge(forgery)


@pytest.mark.parametrize("forgery", EXTENSIONS.values(), ids=EXTENSIONS)
def test_control_without_the_extension_check_the_call_rule_would_take_it(
    forgery: Forgery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "_check_extensions", lambda parsed: None)
    assert str(read_leaf(forgery.sign(OPERATOR), LeafKind.RUNNER).id) == FIRST


@pytest.mark.parametrize("forgery", NAMES.values(), ids=NAMES)
def test_a_leaf_with_more_than_one_name_is_refused(forgery: Forgery) -> None:
    with pytest.raises(CredentialInvalid, match="exactly one URI"):
        judge(forgery)


@pytest.mark.parametrize("forgery", NAMES.values(), ids=NAMES)
def test_control_a_rule_that_took_the_first_name_would_take_it(
    forgery: Forgery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(parsed: x509.Certificate) -> SpiffeId:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return SpiffeId.parse(names.get_values_for_type(x509.UniformResourceIdentifier)[0])

    monkeypatch.setattr(certificate, "_spiffe_id", first)
    assert judge(forgery) == RUNNER


def test_a_leaf_with_no_name_is_refused() -> None:
    with pytest.raises(CredentialInvalid):
        judge(replace(GOOD, names=()))


@pytest.mark.parametrize(
    "uri",
    [
        FIRST.replace("/j/", "//j/"),
        FIRST.replace("/j/", "/./j/"),
        FIRST.replace("/j/FR", "/j/DE/../FR"),
        FIRST.replace("/j/", "%2fj/"),
        FIRST.replace("/FR/", "/%46R/"),
        FIRST.replace("gpu-fr", "GPU-FR"),
        FIRST.replace("spiffe:", "SPIFFE:"),
        FIRST.replace("spiffe:", "https:"),
        FIRST + "/",
        FIRST + "?x=1",
        FIRST + "#x",
        FIRST.replace("gpu-fr", "user@gpu-fr"),
        FIRST.replace(".example", ".example:443"),
        FIRST.replace("/j/", "/" + "a" * 2048 + "/j/"),
        FIRST.replace("/FR/", "/fr/"),
        FIRST.replace("/FR/", "/FRA/"),
        FIRST.replace("6f1c9f5e", "6F1C9F5E"),
        FIRST.replace("/runner/", "/client/"),
        "spiffe://gpu-fr.example",
        "spiffe:///j/FR/runner/6f1c9f5e-0a34-4a57-9d1e-7f6d3a1b2c3d",
        FIRST + "\n",
        FIRST + "\0",
    ],
)
def test_a_trick_in_the_path_is_refused(uri: str) -> None:
    with pytest.raises(CredentialInvalid):
        RunnerId.parse(uri)
    with pytest.raises(CredentialInvalid):
        judge(GOOD.named(uri))


@pytest.mark.parametrize("countries", [("DE",), (), ("FR", "FR"), ("DE", "FR")])
def test_a_country_that_is_not_the_one_of_the_path_is_refused(countries: tuple[str, ...]) -> None:
    with pytest.raises(CredentialInvalid, match="country"):
        judge(replace(GOOD, countries=countries))


def test_control_without_the_runner_rule_another_country_would_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "_check_runner", lambda parsed, leaf: None)
    assert judge(replace(GOOD, countries=("DE",))) == RUNNER


def test_a_jurisdiction_that_the_operator_may_not_name_is_refused() -> None:
    german = replace(GOOD.named(FIRST.replace("/FR/", "/DE/")), countries=("DE",))
    with pytest.raises(CredentialInvalid, match="jurisdiction"):
        judge(german)
    allowed = (anchor_of(OPERATOR, "FR", "DE"),)
    assert judge_chain((german.sign(OPERATOR),), allowed, now_ns=NOW_NS).id.jurisdiction == "DE"


def test_a_region_is_not_covered_by_its_country() -> None:
    region = GOOD.named(FIRST.replace("/FR/", "/FR-IDF/"))
    with pytest.raises(CredentialInvalid, match="jurisdiction"):
        judge(region)


def test_one_operators_ca_can_not_issue_for_another() -> None:
    other = operator("gpu-de.example")
    anchors = (anchor_of(OPERATOR, "FR"), anchor_of(other, "DE"))
    stolen = GOOD.sign(other)
    with pytest.raises(CredentialInvalid, match="does not verify"):
        judge_chain((stolen,), anchors, now_ns=NOW_NS)
    # The control: had its root been pinned for that trust domain, the same leaf would pass.
    wrong = replace_roots(anchors[0], other.certificate_der)
    assert judge_chain((stolen,), (wrong,), now_ns=NOW_NS).id == RUNNER


def replace_roots(anchor: credential.Anchor, *roots: bytes) -> credential.Anchor:
    return replace(anchor, roots=roots)


def test_empty_pins_permit_nothing() -> None:
    chain = (GOOD.sign(OPERATOR),)
    for anchors in (
        (),
        (replace_roots(ANCHORS[0]),),
        (anchor_of(OPERATOR),),
        (ANCHORS[0], ANCHORS[0]),
    ):
        with pytest.raises(CredentialInvalid):
            judge_chain(chain, anchors, now_ns=NOW_NS)
    with pytest.raises(CredentialInvalid):
        judge_chain((), ANCHORS, now_ns=NOW_NS)


def test_a_leaf_that_signs_a_leaf_is_refused() -> None:
    middle, signer = issue(OPERATOR)
    with pytest.raises(CredentialInvalid):
        judge_chain((sign_below(middle, signer.to_pem()), middle), ANCHORS, now_ns=NOW_NS)


def sign_below(parent: bytes, private_pem: bytes) -> bytes:
    private = serialization.load_pem_private_key(private_pem, password=None)
    good = x509.load_der_x509_certificate(GOOD.sign(OPERATOR))
    builder = (
        x509.CertificateBuilder()
        .subject_name(good.subject)
        .issuer_name(x509.load_der_x509_certificate(parent).subject)
        .public_key(good.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(good.not_valid_before_utc)
        .not_valid_after(good.not_valid_after_utc)
    )
    for extension in good.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_a_leaf_that_lives_longer_than_a_day_is_refused() -> None:
    with pytest.raises(CredentialInvalid, match="24 hours"):
        judge(replace(GOOD, seconds=24 * 3600 + 1))


@pytest.mark.parametrize(
    ("start", "text"), [(NOW - timedelta(hours=25), "expired"), (NOW + timedelta(seconds=31), "not valid yet")]
)
def test_a_leaf_out_of_its_time_is_refused(start: object, text: str) -> None:
    leaf = replace(GOOD, start=start).sign(OPERATOR)
    with pytest.raises(CredentialInvalid, match=text):
        judge_leaf(leaf, LeafKind.RUNNER, now_ns=NOW_NS)
    with pytest.raises(CredentialInvalid):
        judge_chain((leaf,), ANCHORS, now_ns=NOW_NS)


@pytest.mark.parametrize(
    "public",
    [
        ec.generate_private_key(ec.SECP384R1()).public_key(),
        rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key(),
    ],
    ids=["P-384", "RSA"],
)
def test_another_kind_of_key_is_refused(public: ec.EllipticCurvePublicKey) -> None:
    with pytest.raises(CredentialInvalid, match="P-256"):
        judge(replace(GOOD, public=public))


def test_an_unknown_critical_extension_is_refused() -> None:
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
    with pytest.raises(CredentialInvalid):
        judge(replace(GOOD, extension=unknown))


def test_a_root_is_no_leaf_of_its_own() -> None:
    with pytest.raises(CredentialInvalid):
        judge_chain((OPERATOR.certificate_der,), ANCHORS, now_ns=NOW_NS)


def test_a_runners_certificate_names_no_client() -> None:
    with pytest.raises(CredentialInvalid, match="client"):
        read_leaf(GOOD.sign(OPERATOR), LeafKind.CLIENT)
