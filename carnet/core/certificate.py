"""Certificates: what a leaf must hold, and how a chain is built, from DER bytes alone.

- A leaf is an X.509-SVID (SPIFFE X509-SVID.md, sections 2 to 5): one URI in its alternative names and nothing else, a
  SPIFFE id; key usage digitalSignature, never keyCertSign or cRLSign; extended key usage clientAuth and serverAuth and
  nothing else; not a CA; ECDSA P-256.
- A runner's leaf lives 24 hours at most, and the one country in its subject is the country of its path.
- A chain is built to given roots by `cryptography.x509.verification` (RFC 5280, section 6; CA/B profile for CAs).
- Any bytes are a leaf, or raise `CredentialInvalid`.

    leaf = judge_leaf(certificate_der, LeafKind.RUNNER, now_ns=now_ns)
    issuer = verify_chain(chain, roots, now_ns=now_ns)
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from carnet.core import limits
from carnet.core.errors import CredentialInvalid
from carnet.core.spiffe import RunnerId, SpiffeId
from carnet.core.statement import VerifyingKey

_SECOND_NS: Final = 10**9
# The library reads most of a certificate only when it is asked for it: each of these can come late (a TypeError is
# what it makes of a name whose string type does not fit its attribute).
_UNREADABLE: Final = (
    TypeError,
    ValueError,
    UnsupportedAlgorithm,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_USAGES: Final = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}

X = TypeVar("X", bound=x509.ExtensionType)


class LeafKind(StrEnum):
    """Whom a leaf may name, by the first segments of its path."""

    RUNNER = "runner"
    CLIENT = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A leaf that holds what a leaf must; its issuer was not judged. The digest is SHA-256 of the DER bytes."""

    kind: LeafKind
    id: SpiffeId
    certificate_digest: bytes
    key: VerifyingKey
    not_before_ns: int
    not_after_ns: int

    def check_time(self, *, now_ns: int) -> None:
        """Raises `CredentialInvalid` before and after the leaf's time; a clock may be 30 seconds behind."""
        if now_ns < self.not_before_ns - limits.clock_skew_seconds_max * _SECOND_NS:
            raise CredentialInvalid("The certificate is not valid yet.")
        if now_ns >= self.not_after_ns:
            raise CredentialInvalid("The certificate has expired.")


def judge_leaf(certificate: bytes, kind: LeafKind, *, now_ns: int) -> Leaf:
    """The leaf in these DER bytes, valid now. Proves nothing about its issuer. Raises `CredentialInvalid`."""
    leaf = read_leaf(certificate, kind)
    leaf.check_time(now_ns=now_ns)
    return leaf


def read_leaf(certificate: bytes, kind: LeafKind) -> Leaf:
    """The leaf in these DER bytes, whatever the time. Raises `CredentialInvalid`, and nothing else, on any bytes."""
    parsed = parse_certificate(certificate)
    try:
        leaf = _leaf(parsed, certificate, kind)
        countries = [attribute.value for attribute in parsed.subject.get_attributes_for_oid(NameOID.COUNTRY_NAME)]
    except _UNREADABLE as error:
        raise CredentialInvalid("The certificate is malformed or lacks an extension.") from error
    if kind is LeafKind.RUNNER:
        _check_runner(countries, leaf)
    elif leaf.id.segments[0] != "client" or len(leaf.id.segments) != 2:
        raise CredentialInvalid("The SPIFFE id does not name a client.")
    return leaf


def parse_certificate(certificate: bytes) -> x509.Certificate:
    """The certificate in these DER bytes, 8 KiB at most. Raises `CredentialInvalid`."""
    if len(certificate) > limits.certificate_bytes_max:
        raise CredentialInvalid("The certificate is too large.")
    try:
        parsed = x509.load_der_x509_certificate(certificate)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise CredentialInvalid("The bytes are not a certificate.") from error
    # The count of unused bits stands before the signature and is not signed: with another one the same certificate
    # would have a second digest.
    if certificate[-len(parsed.signature) - 1] != 0:
        raise CredentialInvalid("The bytes are not a certificate.")
    return parsed


def key_of(certificate: x509.Certificate) -> VerifyingKey:
    """The P-256 key of a certificate. Raises `CredentialInvalid` for any other key."""
    try:
        public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CredentialInvalid("The key of the certificate can not be read.") from error
    return VerifyingKey.from_der(public)


def verify_chain(chain: tuple[bytes, ...], roots: tuple[bytes, ...], *, now_ns: int) -> VerifyingKey:
    """Build the chain (leaf first) to one of the roots, all DER; the key of the CA that signed the leaf.

    Raises `CredentialInvalid`. Promises that the signatures, times and CA constraints hold; what the leaf must hold
    besides is `read_leaf`'s to judge.
    """
    if not 1 <= len(chain) <= limits.chain_certificates_max:
        raise CredentialInvalid("The certificate chain is empty or too long.")
    if not roots:
        raise CredentialInvalid("No root is pinned.")
    leaf, *intermediates = (parse_certificate(certificate) for certificate in chain)
    try:
        store = Store([parse_certificate(root) for root in roots])
        verified = _policy(store, now_ns).build_client_verifier().verify(leaf, intermediates)
    except (VerificationError, ValueError, UnsupportedAlgorithm) as error:
        raise CredentialInvalid("The certificate chain does not verify.") from error
    if len(verified.chain) < 2:
        raise CredentialInvalid("A pinned root can not be its own leaf.")
    return key_of(verified.chain[1])


def _policy(store: Store, now_ns: int) -> PolicyBuilder:
    extensions = ExtensionPolicy.webpki_defaults_ee().require_present(
        x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_usages
    )
    return (
        PolicyBuilder()
        .store(store)
        .time(datetime.fromtimestamp(now_ns // _SECOND_NS, tz=UTC))
        .max_chain_depth(limits.chain_certificates_max - 1)
        .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=extensions)
    )


def _check_usages(_policy: Policy, _certificate: x509.Certificate, usages: x509.ExtendedKeyUsage) -> None:
    if len(list(usages)) != len(_USAGES) or set(usages) != _USAGES:
        raise ValueError("the extended key usage must be clientAuth and serverAuth")


def _leaf(parsed: x509.Certificate, certificate: bytes, kind: LeafKind) -> Leaf:
    _check_extensions(parsed)
    return Leaf(
        kind=kind,
        id=_spiffe_id(parsed),
        certificate_digest=hashlib.sha256(certificate).digest(),
        key=key_of(parsed),
        not_before_ns=int(parsed.not_valid_before_utc.timestamp()) * _SECOND_NS,
        not_after_ns=int(parsed.not_valid_after_utc.timestamp()) * _SECOND_NS,
    )


def _check_extensions(parsed: x509.Certificate) -> None:
    usages = _extension(parsed, x509.ExtendedKeyUsage)
    if len(list(usages)) != len(_USAGES) or set(usages) != _USAGES:
        raise CredentialInvalid("The extended key usage must be clientAuth and serverAuth.")
    usage = _extension(parsed, x509.KeyUsage)
    if not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        raise CredentialInvalid("The key usage must be that of a leaf.")
    if any(isinstance(e.value, x509.BasicConstraints) and e.value.ca for e in parsed.extensions):
        raise CredentialInvalid("A CA certificate is no leaf.")


def _spiffe_id(parsed: x509.Certificate) -> SpiffeId:
    names = list(_extension(parsed, x509.SubjectAlternativeName))
    if len(names) != 1 or not isinstance(names[0], x509.UniformResourceIdentifier):
        raise CredentialInvalid("The certificate must name exactly one URI and nothing else.")
    return SpiffeId.parse(names[0].value)


def _check_runner(countries: list[str | bytes], leaf: Leaf) -> None:
    runner = RunnerId.of(leaf.id)
    if countries != [runner.country]:
        raise CredentialInvalid("The country of the certificate is not that of its jurisdiction.")
    if leaf.not_after_ns - leaf.not_before_ns > limits.leaf_seconds_max * _SECOND_NS:
        raise CredentialInvalid("The certificate of a runner may live for 24 hours at most.")


def _extension(parsed: x509.Certificate, kind: type[X]) -> X:
    return parsed.extensions.get_extension_for_class(kind).value
