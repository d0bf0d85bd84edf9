"""Signing: the signature of a bundle, byte for byte OPA's own, so that one artefact serves OPA and this process.

- `.signatures.json` holds one compact JWS (RFC 7515), ES256, over the digest of every other file. Its form is OPA's
  (v1/bundle/sign.go, hash.go): structured files are hashed in canonical form, all others as they are.
- Verification takes the key that the keyid names among those that the reader holds, and ES256 alone, whatever the
  header says. A header with more in it, another spelling of base64, a second signature: refused.
- Every file is listed once, and no other; no digest but SHA-256.
- The caller gets: who signed these files as a policy bundle of Carnet (`scope`). It does not get: when, or that no
  newer bundle exists. For that there are stamps (`policy/release.py`).

    files[SIGNATURES] = signing.sign(files, key, issued_ns=now_ns)
    signing.verify(files, keys)
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from carnet.core import limits
from carnet.core.document import Document, Json, canonical, parse
from carnet.core.errors import CredentialInvalid, FieldInvalid, SignatureInvalid
from policy.archive import files_max

SIGNATURES: Final = ".signatures.json"
SCOPE: Final = "carnet.policy"
ISSUER: Final = "carnet"

structured_bytes_max: Final = 16 * limits.MIB
signatures_bytes_max: Final = 1 * limits.MIB

_ALGORITHM: Final = "ES256"
_DIGEST: Final = "SHA-256"
_HALF: Final = 32
_ECDSA: Final = ec.ECDSA(SHA256())
_BASE64: Final = re.compile(r"[A-Za-z0-9_-]+")
_SEPARATORS: Final = {"\u2028": "\\u2028", "\u2029": "\\u2029"}

Keys = Mapping[str, ec.EllipticCurvePublicKey]


class BundleUnsigned(SignatureInvalid):
    """The policy bundle is not signed by a key that is trusted for it."""


class PolicyKey:
    """The P-256 key that bundles are signed with. It signs nothing else."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self.public = _on_curve(private.public_key())
        self.keyid = keyid_of(self.public)

    @classmethod
    def generate(cls) -> "PolicyKey":
        """A new key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> "PolicyKey":
        """Read an unencrypted PKCS #8 key. Raises `CredentialInvalid` for any other bytes."""
        try:
            private = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise CredentialInvalid("The bytes are not a private key in PEM.") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise CredentialInvalid("A policy key must be on P-256.")
        return cls(private)

    def to_pem(self) -> bytes:
        """The key as unencrypted PKCS #8 in PEM, for a file that only its owner may read."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def public_pem(self) -> bytes:
        """The public half in PEM, for those who verify: an OPA, a gateway, an officer."""
        return self.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def token(self, payload: bytes) -> str:
        """The compact JWS of a payload."""
        header = canonical({"alg": _ALGORITHM, "kid": self.keyid, "typ": "JWT"})
        signed = f"{_encoded(header)}.{_encoded(payload)}"
        r, s = decode_dss_signature(self._private.sign(signed.encode(), _ECDSA))
        return f"{signed}.{_encoded(r.to_bytes(_HALF, 'big') + s.to_bytes(_HALF, 'big'))}"


def public_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    """A verifying key from its PEM. Raises `CredentialInvalid` for any other bytes."""
    try:
        public = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise CredentialInvalid("The bytes are not a public key in PEM.") from None
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise CredentialInvalid("A policy key must be on P-256.")
    return _on_curve(public)


def keyid_of(public: ec.EllipticCurvePublicKey) -> str:
    """The name that Carnet gives a policy key: `policy-` and 16 hex digits of SHA-256 over its SubjectPublicKeyInfo."""
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "policy-" + hashlib.sha256(der).hexdigest()[:16]


def sign(files: Mapping[str, bytes], key: PolicyKey, *, issued_ns: int) -> bytes:
    """The `.signatures.json` of these files. Raises `FieldInvalid` where a structured one is no strict JSON."""
    listed: Json = [
        {"name": name, "hash": digest(name, data), "algorithm": _DIGEST} for name, data in sorted(files.items())
    ]
    claims: Json = {
        "files": listed,
        "iat": issued_ns // 10**9,
        "iss": ISSUER,
        "keyid": key.keyid,
        "scope": SCOPE,
    }
    return canonical({"signatures": [key.token(canonical(claims))]})


def verify(files: Mapping[str, bytes], keys: Keys) -> str:
    """The keyid that signed these files, `.signatures.json` being one. Raises `BundleUnsigned`, on any bytes."""
    if SIGNATURES not in files:
        raise BundleUnsigned("The policy bundle has no signature.")
    try:
        claims, keyid = _claims(files[SIGNATURES], keys)
        listed = [_listed(entry) for entry in claims.documents("files", items_max=files_max)]
        claims.close()
        found = sorted((name, digest(name, data)) for name, data in files.items() if name != SIGNATURES)
    except FieldInvalid as error:
        raise BundleUnsigned(detail=error.text, metadata=error.metadata) from error
    if sorted(listed) != found:
        changed = sorted({name for name, _ in {*listed} ^ {*found}})
        raise BundleUnsigned("The files of the policy bundle are not those that were signed.", detail=f"{changed[:8]}")
    return keyid


def digest(name: str, data: bytes) -> str:
    """OPA's digest of a file, in hex. Raises `FieldInvalid` where a structured one is no strict JSON."""
    if name.rpartition("/")[2] in {"data.json", ".manifest"}:
        parse(data, bytes_max=structured_bytes_max)
        data = canonical(json.loads(data))
        for letter, escaped in _SEPARATORS.items():
            data = data.replace(letter.encode(), escaped.encode())
    return hashlib.sha256(data).hexdigest()


def _claims(data: bytes, keys: Keys) -> tuple[Document, str]:
    top = parse(data, bytes_max=signatures_bytes_max)
    tokens = top.texts("signatures", items_max=1, bytes_max=signatures_bytes_max)
    top.close()
    if len(tokens) != 1 or tokens[0].count(".") != 2:
        raise BundleUnsigned("The policy bundle must have one signature.")
    head, body, tail = tokens[0].split(".")
    kid = _header(parse(_decoded(head), bytes_max=limits.KIB))
    payload = _decoded(body)
    claims = parse(payload, bytes_max=signatures_bytes_max)
    keyid = claims.text("keyid")
    if keyid not in keys or kid not in {None, keyid}:
        raise BundleUnsigned("The policy bundle is signed by a key that is not trusted.", metadata={"keyid": keyid})
    _check_signature(keys[keyid], f"{head}.{body}".encode(), _decoded(tail))
    claims.text("scope", choices={SCOPE})
    claims.text("iss")
    claims.integer("iat")
    return claims, keyid


def _header(header: Document) -> str | None:
    header.text("alg", choices={_ALGORITHM})
    header.text("typ", choices={"JWT"})
    # `opa sign` names the key in the payload alone, where it must stand in any case.
    kid = header.text("kid") if header.has("kid") else None
    header.close()
    return kid


def _check_signature(key: ec.EllipticCurvePublicKey, signed: bytes, signature: bytes) -> None:
    if len(signature) != 2 * _HALF:
        raise BundleUnsigned(detail="the signature has the wrong size")
    r, s = int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big")
    try:
        _on_curve(key).verify(encode_dss_signature(r, s), signed, _ECDSA)
    except InvalidSignature:
        raise BundleUnsigned(detail="the signature does not verify") from None


def _listed(entry: Document) -> tuple[str, str]:
    found = entry.text("name"), entry.text("hash")
    entry.text("algorithm", choices={_DIGEST})
    entry.close()
    return found


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if _BASE64.fullmatch(text) else b""
    except binascii.Error as error:
        raise BundleUnsigned(detail="the signature is not base64url") from error
    if not data or _encoded(data) != text:
        raise BundleUnsigned(detail="the signature is not base64url in its one form")
    return data


def _on_curve(public: ec.EllipticCurvePublicKey) -> ec.EllipticCurvePublicKey:
    if not isinstance(public.curve, ec.SECP256R1):
        raise CredentialInvalid("A policy key must be on P-256.")
    return public
