"""TLS: mutual TLS credentials for channels and servers, and what a peer's certificate says, judged on each call.

- gRPC alone accepts TLS 1.2, leaves with no extended key usage, CAs as leaves, and leaves with two names; a connection
  outlives its certificate. `check_peer` refuses all of these, on every call.
- Keys are ECDSA P-256 (gRPC refuses Ed25519 client certificates). A private key's file must be closed to everyone but
  its owner (mode 0600 or tighter), or it is not used.
- A server asks every client for a certificate; there is no listener where one is optional.
- The gateway's own certificate names a DNS name, which gRPC verifies against the pinned gateway CA.

    channel = open_channel("localhost:7443", credentials, server_name=pins.gateway.server_name)
    peer = check_peer(context.auth_context(), LeafKind.RUNNER, now_ns=time.time_ns())
"""

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from carnet.core import limits
from carnet.core.certificate import Leaf, LeafKind, judge_leaf
from carnet.core.errors import ClientCertificateRequired, CredentialInvalid
from carnet.core.statement import Signer

TLS_VERSION: Final = "TLSv1.3"
private_key_bytes_max: Final = 8 * limits.KIB
connection_age_seconds_max: Final = 3600
connection_grace_seconds: Final = 30
keepalive_seconds: Final = 20
keepalive_timeout_seconds: Final = 10

_SIZES: Final = (
    ("grpc.max_receive_message_length", limits.message_bytes_max),
    ("grpc.max_send_message_length", limits.message_bytes_max),
)
SERVER_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    *_SIZES,
    ("grpc.max_connection_age_ms", connection_age_seconds_max * 1000),
    ("grpc.max_connection_age_grace_ms", connection_grace_seconds * 1000),
    ("grpc.keepalive_time_ms", keepalive_seconds * 1000),
    ("grpc.keepalive_timeout_ms", keepalive_timeout_seconds * 1000),
    ("grpc.http2.min_ping_interval_without_data_ms", keepalive_seconds * 500),
    ("grpc.so_reuseport", 0),
)
CHANNEL_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    *_SIZES,
    ("grpc.keepalive_time_ms", keepalive_seconds * 1000),
    ("grpc.keepalive_timeout_ms", keepalive_timeout_seconds * 1000),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCertificate:
    """The certificate of the other side: its DER bytes, and what it says. Its issuer was judged by gRPC alone."""

    certificate: bytes
    leaf: Leaf


def check_peer(auth_context: Mapping[str, Iterable[bytes]], kind: LeafKind, *, now_ns: int) -> PeerCertificate:
    """Judge the peer of one call. Raises `ClientCertificateRequired` or `CredentialInvalid`."""
    certificate = certificate_from_pem(peer_pem(auth_context))
    return PeerCertificate(certificate=certificate, leaf=judge_leaf(certificate, kind, now_ns=now_ns))


def peer_pem(auth_context: Mapping[str, Iterable[bytes]]) -> bytes:
    """The peer's certificate in PEM, as TLS 1.3 brought it; it was not judged.

    Raises `ClientCertificateRequired`, and `CredentialInvalid` for another version of TLS.
    """
    pem = _only(auth_context, "x509_pem_cert")
    if not pem:
        raise ClientCertificateRequired
    if _only(auth_context, "ssl_tls_version") != TLS_VERSION.encode():
        raise CredentialInvalid("The connection must use TLS 1.3.")
    return pem


def channel_credentials(*, gateway_ca: bytes, certificate: Path, private_key: Path) -> grpc.ChannelCredentials:
    """Credentials of a client or runner. `gateway_ca` is the pinned CA in PEM. Raises `CredentialInvalid`."""
    return grpc.ssl_channel_credentials(
        root_certificates=_checked_pem(gateway_ca),
        private_key=read_private_key(private_key),
        certificate_chain=_checked_pem(certificate.read_bytes()),
    )


def server_credentials(
    *, certificate: Path, private_key: Path, client_roots: tuple[bytes, ...]
) -> grpc.ServerCredentials:
    """Credentials of a listener that demands a certificate under one of the roots (DER). Raises `CredentialInvalid`."""
    if not client_roots:
        raise CredentialInvalid("A listener with no client root would let nobody in.")
    return grpc.ssl_server_credentials(
        [(read_private_key(private_key), _checked_pem(certificate.read_bytes()))],
        root_certificates=b"".join(certificate_to_pem(root) for root in client_roots),
        require_client_auth=True,
    )


def open_channel(
    target: str, credentials: grpc.ChannelCredentials, *, server_name: str, options: tuple[tuple[str, int], ...] = ()
) -> grpc.aio.Channel:
    """A channel to the gateway. The server's certificate must be for `server_name`, wherever `target` leads."""
    named: tuple[tuple[str, int | str], ...] = (("grpc.ssl_target_name_override", server_name),)
    return grpc.aio.secure_channel(target, credentials, options=[*CHANNEL_OPTIONS, *named, *options])


def read_private_key(path: Path) -> bytes:
    """A P-256 key in PEM from a file that only its owner may read. Raises `CredentialInvalid`."""
    pem = read_secret(path, bytes_max=private_key_bytes_max)
    Signer.from_pem(pem)
    return pem


def read_secret(path: Path, *, bytes_max: int) -> bytes:
    """The bytes of a file whose mode is 0600 or tighter; links are not followed. Raises `CredentialInvalid`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise CredentialInvalid("A secret file can not be opened.", detail=f"{path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        # The mode of the open file, not of the path: nothing can be swapped in between.
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise CredentialInvalid("A secret file must be closed to group and others (0600).", detail=str(path))
        data = file.read(bytes_max + 1)
    if not 0 < len(data) <= bytes_max:
        raise CredentialInvalid("A secret file is empty or too large.", detail=str(path))
    return data


def certificate_from_pem(pem: bytes) -> bytes:
    """The DER bytes of the one certificate in these PEM bytes. Raises `CredentialInvalid`."""
    chain = chain_from_pem(pem)
    if len(chain) != 1:
        raise CredentialInvalid("There must be exactly one certificate.")
    return chain[0]


def chain_from_pem(pem: bytes) -> tuple[bytes, ...]:
    """The DER bytes of each certificate in these PEM bytes, in their order. Raises `CredentialInvalid`."""
    if len(pem) > 2 * limits.certificate_bytes_max * limits.chain_certificates_max:
        raise CredentialInvalid("The certificates are too large.")
    try:
        return tuple(c.public_bytes(Encoding.DER) for c in x509.load_pem_x509_certificates(pem))
    except (ValueError, x509.InvalidVersion) as error:
        raise CredentialInvalid("The bytes are not certificates in PEM.") from error


def certificate_to_pem(certificate: bytes) -> bytes:
    """A certificate in PEM. Raises `CredentialInvalid`."""
    try:
        return x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)
    except (ValueError, x509.InvalidVersion) as error:
        raise CredentialInvalid("The bytes are not a certificate.") from error


def _checked_pem(pem: bytes) -> bytes:
    chain_from_pem(pem)
    return pem


def _only(auth_context: Mapping[str, Iterable[bytes]], name: str) -> bytes | None:
    values = list(auth_context.get(name, ()))
    return values[0] if len(values) == 1 else None
