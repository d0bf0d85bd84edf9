"""Authorities: the operator's CA, a tenant's CA and the gateway's own; what each one may issue and sign.

- Names come from the authority's own record, never from a request: a request gives a P-256 public key and nothing else.
- Serial numbers are 20 random octets; times start 30 seconds back, for clocks that run behind; a runner's leaf lives
  24 hours at most, with that half minute counted.
- The operator's CA signs status (an hour at most) and ownership facts with the same key that signs its leaves: that is
  the key which a chain proves.
- No name constraints on a CA (they are not supported for URIs): what a CA may name is pinned by those who trust it.

    authority = OperatorAuthority.create("gpu-fr.example", now=now)
    leaf = authority.issue_runner(runner_id, public_der, now=now)
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from carnet import statements
from carnet.core import limits
from carnet.core.credential import Leaf, RunnerId, SpiffeId
from carnet.core.errors import CredentialInvalid
from carnet.core.runner import Owner, Ownership, RunnerStatus
from carnet.core.spiffe import check_trust_domain
from carnet.core.statement import Signed, Signer, VerifyingKey

ca_days: Final = 3650
ownership_days: Final = 30
server_days: Final = 30

_BACKDATE: Final = timedelta(seconds=limits.clock_skew_seconds_max)
_SECOND_NS: Final = 10**9
_SHA256: Final = hashes.SHA256()
_SVID_USAGES: Final = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnershipRecord:
    """Who stands behind an operator: legal entities and their ISO 3166-1 countries."""

    entity: str
    country: str
    parent_entity: str
    parent_country: str
    owners: tuple[Owner, ...] = ()
    covered_person: str = "unknown"
    certifications: tuple[str, ...] = ()


class CertificateAuthority:
    """A P-256 key, its self-signed certificate, and the trust domain that it speaks for."""

    def __init__(
        self, *, trust_domain: str, private: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> None:
        if certificate.public_key() != private.public_key():
            raise CredentialInvalid("The key of an authority is not that of its certificate.")
        self.trust_domain = check_trust_domain(trust_domain)
        self.certificate = certificate
        self.signer = Signer(private)
        self._private = private

    @classmethod
    def create(cls, trust_domain: str, *, now: datetime) -> Self:
        """A new key with a new self-signed certificate."""
        private = ec.generate_private_key(ec.SECP256R1())
        certificate = _root(trust_domain, private, now)
        return cls(trust_domain=trust_domain, private=private, certificate=certificate)

    @classmethod
    def load(cls, trust_domain: str, *, private_pem: bytes, certificate_pem: bytes) -> Self:
        """An authority from its two files' bytes. Raises `CredentialInvalid`."""
        try:
            private = serialization.load_pem_private_key(private_pem, password=None)
            certificate = x509.load_pem_x509_certificate(certificate_pem)
        except (ValueError, TypeError) as error:
            raise CredentialInvalid("The files of an authority can not be read.") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise CredentialInvalid("An authority's key must be on P-256.")
        return cls(trust_domain=trust_domain, private=private, certificate=certificate)

    @property
    def certificate_pem(self) -> bytes:
        """The CA's certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def certificate_der(self) -> bytes:
        """The CA's certificate, as pins hold it."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def _issue_svid(
        self, spiffe_id: SpiffeId, subject: x509.Name, public: bytes, *, seconds: int, now: datetime
    ) -> bytes:
        if spiffe_id.trust_domain != self.trust_domain:
            raise CredentialInvalid("An authority issues for its own trust domain alone.")
        if not 0 < seconds <= limits.leaf_seconds_max:
            raise CredentialInvalid("A leaf may live for 24 hours at most.")
        start = now.replace(microsecond=0) - _BACKDATE
        builder = _leaf_builder(public, subject=subject, issuer=self.certificate, usages=_SVID_USAGES)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(spiffe_id))]), critical=not list(subject)
        )
        builder = builder.not_valid_before(start).not_valid_after(start + timedelta(seconds=seconds))
        return builder.sign(self._private, _SHA256).public_bytes(serialization.Encoding.DER)


class OperatorAuthority(CertificateAuthority):
    """An operator's CA: leaves, status and ownership facts of its runners."""

    def issue_runner(
        self, runner: RunnerId, public: bytes, *, now: datetime, seconds: int = limits.leaf_seconds_max
    ) -> bytes:
        """A runner's leaf in DER for a SubjectPublicKeyInfo; the country is that of its jurisdiction."""
        country = x509.NameAttribute(NameOID.COUNTRY_NAME, runner.country)
        spiffe_id = SpiffeId.parse(str(runner))
        return self._issue_svid(spiffe_id, x509.Name([country]), public, seconds=seconds, now=now)

    def sign_status(self, leaf: Leaf, *, good: bool, now: datetime) -> Signed:
        """The operator's word on one leaf; it lasts an hour, and not beyond the leaf."""
        issued_ns = to_ns(now)
        status = RunnerStatus(
            payload=b"",
            spiffe_id=str(leaf.id),
            certificate_digest=leaf.certificate_digest,
            good=good,
            issued_ns=issued_ns,
            expires_ns=min(issued_ns + limits.status_seconds_max * _SECOND_NS, leaf.not_after_ns),
        )
        return statements.STATUS.sign(status, self.signer)[1]

    def sign_ownership(self, record: OwnershipRecord, *, now: datetime) -> Signed:
        """Who stands behind this operator; it lasts thirty days."""
        ownership = Ownership(
            payload=b"",
            trust_domain=self.trust_domain,
            entity=record.entity,
            country=record.country,
            parent_entity=record.parent_entity,
            parent_country=record.parent_country,
            owners=record.owners,
            covered_person=record.covered_person,
            certifications=record.certifications,
            issued_ns=to_ns(now),
            expires_ns=to_ns(now + timedelta(days=ownership_days)),
        )
        return statements.OWNERSHIP.sign(ownership, self.signer)[1]


class TenantAuthority(CertificateAuthority):
    """An enterprise's CA: the certificates of its clients."""

    def issue_client(self, name: str, public: bytes, *, now: datetime, seconds: int = limits.leaf_seconds_max) -> bytes:
        """A client's leaf in DER, for `spiffe://<tenant>/client/<name>`."""
        spiffe_id = SpiffeId(trust_domain=self.trust_domain, path=f"/client/{name}")
        organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.trust_domain)
        return self._issue_svid(spiffe_id, x509.Name([organization]), public, seconds=seconds, now=now)


class GatewayAuthority(CertificateAuthority):
    """The gateway's CA: its listeners' certificates. It vouches for no runner and no client."""

    def issue_server(self, server_name: str, public: bytes, *, now: datetime) -> bytes:
        """A listener's certificate in DER, for one DNS name."""
        start = now.replace(microsecond=0) - _BACKDATE
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.trust_domain)])
        builder = _leaf_builder(
            public, subject=subject, issuer=self.certificate, usages=(ExtendedKeyUsageOID.SERVER_AUTH,)
        )
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(server_name)]), critical=False)
        builder = builder.not_valid_before(start).not_valid_after(start + timedelta(days=server_days))
        return builder.sign(self._private, _SHA256).public_bytes(serialization.Encoding.DER)


def to_ns(moment: datetime) -> int:
    """Nanoseconds since 1970 UTC, to the microsecond."""
    return int(moment.timestamp()) * _SECOND_NS + moment.microsecond * 1000


def _leaf_builder(
    public: bytes, *, subject: x509.Name, issuer: x509.Certificate, usages: tuple[x509.ObjectIdentifier, ...]
) -> x509.CertificateBuilder:
    VerifyingKey.from_der(public)
    key = serialization.load_der_public_key(public)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(leaf=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )


def _root(trust_domain: str, private: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{trust_domain} CA")])
    start = now.replace(microsecond=0) - _BACKDATE
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=ca_days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(leaf=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .sign(private, _SHA256)
    )


def _usage(*, leaf: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=leaf,
        key_cert_sign=not leaf,
        crl_sign=not leaf,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
