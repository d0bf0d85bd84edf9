"""Statement: bytes with a signature. DSSE v1 over the verbatim bytes, ECDSA P-256 with SHA-256, in DER.

- `verify` hands back exactly the bytes that were signed, or raises; what is parsed afterwards are those bytes.
- The kind of a statement is signed with it: a permit never passes for a grant.
- A statement's identity is SHA-256(payload), never its signature: ECDSA signatures are malleable.
- `keyid` is a hint for looking a key up. Verification uses the key that the caller holds, and never looks at it.
- The caller gets: who signed these bytes as this kind. It does not get: when, or that the signer still may.

    signed = signer.sign(StatementKind.START, payload)
    payload = key.verify(signed, StatementKind.START)
"""

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from carnet.core import limits
from carnet.core.encoding import StatementKind, pae, payload_type
from carnet.core.errors import CredentialInvalid, EnvelopeMalformed, SignatureInvalid

signature_bytes_min = 8
signature_bytes_max = 72
_ECDSA = ec.ECDSA(SHA256())


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A statement's bytes, the signature over them, and SHA-256 of the signer's SubjectPublicKeyInfo as a hint."""

    payload: bytes
    signature: bytes
    keyid: bytes

    def __post_init__(self) -> None:
        if not 0 < len(self.payload) <= limits.manifest_bytes_max:
            raise EnvelopeMalformed("A statement is empty or too large.")
        if not signature_bytes_min <= len(self.signature) <= signature_bytes_max or len(self.keyid) != 32:
            raise EnvelopeMalformed("A signature or its key id has the wrong size.")

    @property
    def digest(self) -> bytes:
        """The statement's identity: SHA-256(payload), 32 bytes."""
        return hashlib.sha256(self.payload).digest()


class Signer:
    """A P-256 private key that signs statements."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        if not isinstance(private.curve, ec.SECP256R1):
            raise CredentialInvalid("A signing key must be on P-256.")
        self._private = private
        self.public_der = _der(private.public_key())
        self.keyid = hashlib.sha256(self.public_der).digest()

    @classmethod
    def generate(cls) -> "Signer":
        """A new key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> "Signer":
        """Read an unencrypted PKCS #8 key. Raises `CredentialInvalid` for any other bytes."""
        try:
            private = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise CredentialInvalid("The bytes are not a private key in PEM.") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise CredentialInvalid("A signing key must be on P-256.")
        return cls(private)

    def to_pem(self) -> bytes:
        """The key as unencrypted PKCS #8 in PEM, for a file that only its owner may read."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign(self, kind: StatementKind, payload: bytes) -> Signed:
        """Sign these very bytes as a statement of this kind."""
        signature = self._private.sign(pae(payload_type(kind), payload), _ECDSA)
        return Signed(payload=payload, signature=signature, keyid=self.keyid)

    def verifying_key(self) -> "VerifyingKey":
        """The public half."""
        return VerifyingKey(self._private.public_key())


class VerifyingKey:
    """A P-256 public key that statements are verified with."""

    def __init__(self, public: ec.EllipticCurvePublicKey) -> None:
        if not isinstance(public.curve, ec.SECP256R1):
            raise CredentialInvalid("A verifying key must be on P-256.")
        self._public = public
        self.public_der = _der(public)
        self.keyid = hashlib.sha256(self.public_der).digest()

    @classmethod
    def from_der(cls, spki: bytes) -> "VerifyingKey":
        """Read a SubjectPublicKeyInfo in its one DER form. Raises `CredentialInvalid` for any other bytes."""
        try:
            public = serialization.load_der_public_key(spki)
        except (ValueError, UnsupportedAlgorithm):
            raise CredentialInvalid("The bytes are not a public key in DER.") from None
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise CredentialInvalid("A verifying key must be on P-256.")
        key = cls(public)
        # Compressed points and BER would give one key a second digest.
        if key.public_der != spki:
            raise CredentialInvalid("A public key must be in its one DER form.")
        return key

    def verify(self, signed: Signed, kind: StatementKind) -> bytes:
        """The signed bytes. Raises `SignatureInvalid` unless this key signed them as this kind."""
        try:
            self._public.verify(signed.signature, pae(payload_type(kind), signed.payload), _ECDSA)
        except InvalidSignature:
            raise SignatureInvalid(metadata={"kind": kind.value}) from None
        return signed.payload

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyingKey) and self.public_der == other.public_der

    def __hash__(self) -> int:
        return hash(self.public_der)


def _der(public: ec.EllipticCurvePublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
