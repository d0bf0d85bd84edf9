"""A certificate authority for one child process, made at its start and gone with it.

- Between the gateway and its OPA child: TLS 1.3, both sides certified by a key that is never written down. So no other
  process on the machine can answer in the child's place, or ask it anything.
- The two leaf keys are files in a folder that only this user can open; the folder goes when the child does.
"""

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME: Final = datetime.timedelta(days=3650)
_SKEW: Final = datetime.timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loopback:
    """Where the child finds its own certificate, and the context that the gateway dials it with."""

    authority: Path
    certificate: Path
    key: Path
    client: ssl.SSLContext


def create(folder: Path, *, now: datetime.datetime) -> Loopback:
    """Make authority, server and client, with the files in `folder` (which must be private)."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("carnet policy child", key.public_key(), issuer=None, signer=key, usage=None, now=now)
    (folder / "authority.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    _leaf(folder, "server", authority, key, usage=ExtendedKeyUsageOID.SERVER_AUTH, now=now)
    _leaf(folder, "client", authority, key, usage=ExtendedKeyUsageOID.CLIENT_AUTH, now=now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cafile=folder / "authority.pem")
    context.load_cert_chain(folder / "client.pem", folder / "client.key")
    return Loopback(
        authority=folder / "authority.pem",
        certificate=folder / "server.pem",
        key=folder / "server.key",
        client=context,
    )


def _leaf(
    folder: Path,
    name: str,
    authority: x509.Certificate,
    signer: ec.EllipticCurvePrivateKey,
    *,
    usage: x509.ObjectIdentifier,
    now: datetime.datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    found = _certificate(name, key.public_key(), issuer=authority.subject, signer=signer, usage=usage, now=now)
    (folder / f"{name}.pem").write_bytes(found.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _certificate(
    name: str,
    public: ec.EllipticCurvePublicKey,
    *,
    issuer: x509.Name | None,
    signer: ec.EllipticCurvePrivateKey,
    usage: x509.ObjectIdentifier | None,
    now: datetime.datetime,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=usage is None, path_length=0 if usage is None else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(_key_usage(signs=usage is None), critical=True)
    )
    if usage is not None:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
