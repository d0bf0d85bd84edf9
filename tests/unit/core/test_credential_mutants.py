"""Credentials at their very bounds, chains of several CAs, and a client's certificate from the wrong CA."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from carnet.core import limits
from carnet.core.credential import (
    Anchor,
    ClientAnchor,
    Identity,
    LeafKind,
    TenantKey,
    TenantKeySet,
    check_key_statement,
    check_ownership,
    check_status,
    judge_chain,
    judge_client,
    judge_leaf,
    read_leaf,
)
from carnet.core.errors import CredentialInvalid, CredentialRevoked, StatementInvalid
from carnet.core.runner import KeyStatement, Owner, Ownership, RunnerStatus
from carnet.core.statement import Signer
from certs.authority import CertificateAuthority, TenantAuthority
from tests.fixtures.identity import (
    NOW,
    NOW_NS,
    RUNNER,
    SECOND,
    Forgery,
    anchor_of,
    issue,
    operator,
    private_of,
    usage_of,
)

OPERATOR = operator()
LEAF, _ = issue(OPERATOR)
IDENTITY = judge_chain((LEAF,), (anchor_of(OPERATOR, "FR"),), now_ns=NOW_NS)
TENANT = "enterprise.example"
DAY = timedelta(days=1)


def root(levels: int) -> CertificateAuthority:
    """An operator's CA that may sign this many levels of CAs below it."""
    return authority(None, levels)


def authority(above: CertificateAuthority | None, levels: int) -> CertificateAuthority:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"level {levels}")])
    signed_by = private_of(above) if above else private
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(above.certificate.subject if above else name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + 30 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=levels), critical=True)
        .add_extension(usage_of(cert_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by.public_key()), critical=False)
    )
    certificate = builder.sign(signed_by, hashes.SHA256())
    return CertificateAuthority(trust_domain=RUNNER.trust_domain, private=private, certificate=certificate)


def descent(levels: int) -> tuple[tuple[bytes, ...], CertificateAuthority, CertificateAuthority]:
    """A leaf below that many CAs below a root: the chain, the root, and the CA that signed the leaf."""
    top = lowest = root(levels)
    between: list[bytes] = []
    for left in reversed(range(levels)):
        lowest = authority(lowest, left)
        between.insert(0, lowest.certificate_der)
    return (Forgery().sign(lowest), *between), top, lowest


def test_a_leaf_below_three_cas_is_the_runner_and_the_lowest_of_them_is_its_issuer() -> None:
    chain, top, lowest = descent(limits.chain_certificates_max - 1)
    assert len(chain) == 4
    identity = judge_chain(chain, (anchor_of(top, "FR"),), now_ns=NOW_NS)
    assert identity.id == RUNNER
    assert identity.certificate_digest == read_leaf(chain[0], LeafKind.RUNNER).certificate_digest
    assert identity.issuer_key == lowest.signer.verifying_key()
    assert identity.chain == chain


def test_a_chain_of_more_than_four_is_refused() -> None:
    chain, top, _ = descent(limits.chain_certificates_max)
    with pytest.raises(CredentialInvalid, match="too long"):
        judge_chain(chain, (anchor_of(top, "FR"),), now_ns=NOW_NS)


def test_attack_a_chain_with_its_leaf_at_the_end() -> None:
    chain, top, _ = descent(1)
    with pytest.raises(CredentialInvalid):
        judge_chain(chain[::-1], (anchor_of(top, "FR"),), now_ns=NOW_NS)
    assert judge_chain(chain, (anchor_of(top, "FR"),), now_ns=NOW_NS).id == RUNNER


@pytest.mark.parametrize("trust_domain", ["", "GPU.example", "gpu.example/x", "a" * 256])
def test_a_pin_without_a_trust_domain_is_not_made(trust_domain: str) -> None:
    with pytest.raises(CredentialInvalid):
        Anchor(trust_domain=trust_domain, roots=(), jurisdictions=())
    with pytest.raises(CredentialInvalid):
        ClientAnchor(trust_domain=trust_domain, roots=())


@pytest.mark.parametrize("jurisdiction", ["", "fr", "FRA", "FR-", "FR-IDFX"])
def test_a_pin_for_a_place_that_is_none_is_not_made(jurisdiction: str) -> None:
    with pytest.raises(CredentialInvalid):
        Anchor(trust_domain="gpu-fr.example", roots=(), jurisdictions=("FR", jurisdiction))


def tenant() -> TenantAuthority:
    return TenantAuthority.create(TENANT, now=NOW - DAY)


def test_attack_another_ca_names_a_client_of_the_tenant() -> None:
    pinned, other = tenant(), tenant()
    anchors = (ClientAnchor(trust_domain=TENANT, roots=(pinned.certificate_der,)),)
    public = Signer.generate().public_der
    client = judge_client(pinned.issue_client("laptop", public, now=NOW), anchors, now_ns=NOW_NS)
    assert (client.kind, str(client.id)) == (LeafKind.CLIENT, f"spiffe://{TENANT}/client/laptop")
    with pytest.raises(CredentialInvalid, match="does not verify"):
        judge_client(other.issue_client("laptop", public, now=NOW), anchors, now_ns=NOW_NS)


def status(**changes: object) -> RunnerStatus:
    value = RunnerStatus(
        payload=b"",
        spiffe_id=str(IDENTITY.id),
        certificate_digest=IDENTITY.certificate_digest,
        good=True,
        issued_ns=NOW_NS,
        expires_ns=NOW_NS + 7200 * SECOND,
    )
    return replace(value, **changes)  # type: ignore[arg-type]


def test_a_status_is_fresh_to_the_last_nanosecond_of_its_hour() -> None:
    hour = limits.status_seconds_max * SECOND
    check_status(status(), IDENTITY, now_ns=NOW_NS + hour)
    with pytest.raises(CredentialRevoked):
        check_status(status(), IDENTITY, now_ns=NOW_NS + hour + 1)
    with pytest.raises(CredentialRevoked):
        check_status(status(expires_ns=NOW_NS + 5), IDENTITY, now_ns=NOW_NS + 5)


def ownership(**changes: object) -> Ownership:
    value = Ownership(
        payload=b"",
        trust_domain="gpu-fr.example",
        entity="gpu-fr.example",
        country="FR",
        parent_entity="holding.example",
        parent_country="US",
        issued_ns=NOW_NS,
        expires_ns=NOW_NS + SECOND,
    )
    return replace(value, **changes)  # type: ignore[arg-type]


def test_ownership_facts_are_live_from_half_a_minute_before_they_were_made() -> None:
    half_a_minute = limits.clock_skew_seconds_max * SECOND
    check_ownership(ownership(), IDENTITY, now_ns=NOW_NS - half_a_minute)
    for now_ns in (NOW_NS - half_a_minute - 1, NOW_NS + SECOND):
        with pytest.raises(CredentialInvalid, match="not live"):
            check_ownership(ownership(), IDENTITY, now_ns=now_ns)


@pytest.mark.parametrize(
    "wrong",
    [{"entity": ""}, {"parent_entity": ""}, {"country": "fr"}, {"parent_country": "us"}, {"parent_country": "U1"}],
    ids=str,
)
def test_ownership_facts_without_two_owners_and_two_countries_are_refused(wrong: dict[str, object]) -> None:
    check_ownership(ownership(), IDENTITY, now_ns=NOW_NS)
    with pytest.raises(CredentialInvalid):
        check_ownership(ownership(**wrong), IDENTITY, now_ns=NOW_NS)


def key_statement(identity: Identity) -> KeyStatement:
    return KeyStatement(
        payload=b"",
        spiffe_id=str(identity.id),
        leaf_key_digest=identity.key.keyid,
        public=bytes(limits.hybrid_public_bytes),
        not_before_ns=NOW_NS,
        seal_until_ns=NOW_NS + 60 * SECOND,
        open_until_ns=NOW_NS + 3600 * SECOND,
    )


def test_a_key_may_be_sealed_to_from_half_a_minute_before_it_begins_and_until_the_leaf_ends() -> None:
    half_a_minute = limits.clock_skew_seconds_max * SECOND
    ending = replace(IDENTITY, not_after_ns=NOW_NS + 60 * SECOND)
    check_key_statement(key_statement(IDENTITY), ending, now_ns=NOW_NS - half_a_minute)
    with pytest.raises(CredentialInvalid, match="sealed to now"):
        check_key_statement(key_statement(IDENTITY), ending, now_ns=NOW_NS - half_a_minute - 1)


def test_a_leaf_is_valid_from_half_a_minute_before_it_begins_until_it_ends() -> None:
    half_a_minute = limits.clock_skew_seconds_max * SECOND
    leaf = read_leaf(LEAF, LeafKind.RUNNER)
    for now_ns in (leaf.not_before_ns - half_a_minute, leaf.not_after_ns - 1):
        assert judge_leaf(LEAF, LeafKind.RUNNER, now_ns=now_ns) == leaf
    for now_ns in (leaf.not_before_ns - half_a_minute - 1, leaf.not_after_ns):
        with pytest.raises(CredentialInvalid):
            judge_leaf(LEAF, LeafKind.RUNNER, now_ns=now_ns)


def key_set(keys: int) -> TenantKeySet:
    made = tuple(TenantKey(public=bytes([i]) * 91, not_after_ns=NOW_NS) for i in range(keys))
    return TenantKeySet(payload=b"", tenant_id=b"t" * 16, sequence=1, expires_ns=NOW_NS, keys=made)


def test_the_first_set_of_a_tenant_has_sequence_one_and_at_most_64_keys() -> None:
    assert len(key_set(64).keys) == 64
    for wrong in (0, 65):
        with pytest.raises(StatementInvalid, match="64"):
            key_set(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"owners": (Owner(country="FRA", percent=1),)},
        {"owners": (Owner(country="fr", percent=1),)},
        {"owners": (Owner(country="FR-75", percent=1),)},
        {"owners": (Owner(country="FR", percent=101),)},
        {"owners": (Owner(country="FR", percent=1), Owner(country="FR", percent=2))},
        {
            "owners": tuple(Owner(country=f"{a}{b}", percent=1) for a in "ABC" for b in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")[
                :65
            ]
        },
        {"covered_person": ""},
        {"covered_person": "maybe"},
        {"certifications": ("",)},
        {"certifications": ("x" * 65,)},
        {"certifications": ("HDS", "HDS")},
        {"certifications": tuple(str(i) for i in range(65))},
    ],
    ids=str,
)
def test_ownership_facts_with_owners_or_words_out_of_bounds_are_refused(wrong: dict[str, object]) -> None:
    whole = ownership(
        owners=(Owner(country="FR", percent=100), Owner(country="US", percent=0)),
        covered_person="unknown",
        certifications=("x" * 64, "HDS"),
    )
    check_ownership(whole, IDENTITY, now_ns=NOW_NS)
    with pytest.raises(CredentialInvalid):
        check_ownership(replace(whole, **wrong), IDENTITY, now_ns=NOW_NS)  # type: ignore[arg-type]


def test_as_many_owners_and_words_as_the_bound_says_are_taken() -> None:
    codes = [f"{a}{b}" for a in "ABC" for b in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"][: limits.owners_max]
    full = ownership(
        owners=tuple(Owner(country=code, percent=1) for code in codes),
        covered_person="unknown",
        certifications=("A", *(f"word {i}" for i in range(limits.owners_max - 1))),
    )
    check_ownership(full, IDENTITY, now_ns=NOW_NS)


UNREADABLE = {
    "a country whose string is of bits": (b"\x55\x04\x06\x13\x02", b"\x55\x04\x06\x03\x02", TypeError),
    "an extension twice": (b"\x06\x03\x55\x1d\x25", b"\x06\x03\x55\x1d\x11", x509.DuplicateExtension),
    "an X.400 address for a name": (b"\x86", b"\xa3", x509.UnsupportedGeneralNameType),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_the_library_finds_late_is_the_one_error(name: str) -> None:
    before, after, error = UNREADABLE[name]
    at = LEAF.rindex(b"spiffe://") - 2 if name.startswith("an X.400") else LEAF.rindex(before)
    assert LEAF[at : at + len(before)] == before
    with pytest.raises(CredentialInvalid, match="malformed") as caught:
        read_leaf(LEAF[:at] + after + LEAF[at + len(after) :], LeafKind.RUNNER)
    assert isinstance(caught.value.__cause__, error)


def test_a_signature_said_to_be_a_bit_shorter_is_another_spelling_and_is_refused() -> None:
    even = next(leaf for leaf, _ in (issue(OPERATOR) for _ in range(200)) if leaf[-1] % 2 == 0)
    signature = x509.load_der_x509_certificate(even).signature
    at = len(even) - len(signature) - 1
    shorter = even[:at] + b"\x01" + even[at + 1 :]
    assert x509.load_der_x509_certificate(shorter).signature == signature, "the control: to the library it is the same"
    with pytest.raises(CredentialInvalid, match="not a certificate"):
        read_leaf(shorter, LeafKind.RUNNER)
    assert read_leaf(even, LeafKind.RUNNER)
