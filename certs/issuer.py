"""Issuer: a token issuer for development, in the place of an enterprise's own.

- Tokens are RFC 9068 access tokens (`at+jwt`), ES256, ten minutes long, bound to one client certificate (RFC 8705).
- The JWS is put together here from `cryptography` alone: the gateway's judge is tried against an issuer that shares no
  code with it.

    token = mint(directory, client_id="ward-7", audience="carnet", certificate_pem=pem, now=now)
"""

import base64
import hashlib
import secrets
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from carnet.core.document import Json, canonical
from carnet.core.errors import CredentialInvalid
from carnet.tls import read_private_key

ISSUER: Final = "https://issuer.hospital.example"
token_seconds: Final = 600


def mint(
    directory: Path,
    *,
    client_id: str,
    audience: str,
    certificate_pem: bytes,
    now: datetime,
    subject: str = "developer",
    roles: tuple[str, ...] = (),
) -> str:
    """A token signed by the key in `directory/issuer.key.pem`, for the holder of the certificate's key."""
    certificate = x509.load_pem_x509_certificate(certificate_pem).public_bytes(serialization.Encoding.DER)
    issued = int(now.timestamp())
    claims: dict[str, Json] = {
        "iss": ISSUER,
        "aud": audience,
        "sub": subject,
        "client_id": client_id,
        "iat": issued,
        "exp": issued + token_seconds,
        "jti": secrets.token_hex(16),
        "roles": list(roles),
        "cnf": {"x5t#S256": encode(hashlib.sha256(certificate).digest())},
    }
    return sign(read_key(directory), claims)


def sign(private: ec.EllipticCurvePrivateKey, claims: dict[str, Json]) -> str:
    """A compact JWS over the claims, ES256 (RFC 7515, section 3.1; RFC 7518, section 3.4)."""
    header = canonical({"alg": "ES256", "kid": kid_of(private), "typ": "at+jwt"})
    signed = f"{encode(header)}.{encode(canonical(claims))}"
    r, s = decode_dss_signature(private.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def jwks(private: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key as a JWK set (RFC 7517, section 5)."""
    return canonical({"keys": [{**_members(private), "kid": kid_of(private), "use": "sig", "alg": "ES256"}]})


def kid_of(private: ec.EllipticCurvePrivateKey) -> str:
    """The key's RFC 7638 thumbprint."""
    return encode(hashlib.sha256(canonical(dict(_members(private)))).digest())


def read_key(directory: Path) -> ec.EllipticCurvePrivateKey:
    """The issuer's key. Raises `CredentialInvalid`."""
    private = serialization.load_pem_private_key(read_private_key(directory / "issuer.key.pem"), password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise CredentialInvalid("The issuer's key must be on P-256.")
    return private


def encode(data: bytes) -> str:
    """base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _members(private: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = private.public_key().public_numbers()
    x, y = (encode(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}
