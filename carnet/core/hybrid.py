"""Hybrid: the X-Wing key pair that roots are wrapped for, and one HPKE seal to it.

- HPKE (RFC 9180) base mode, single shot: MLKEM768_X25519 (draft-connolly-cfrg-xwing-kem), HKDF-SHA256, AES-256-GCM.
- public = ML-KEM-768 encapsulation key (1184 B) || X25519 public key (32 B); private = the 32-byte X-Wing seed,
  expanded by SHAKE256(seed, 96) to the ML-KEM seed (64 B) and the X25519 private key (32 B).
- A wrap is encapsulation (1120 B) || the sealed 32-byte root || tag (16 B): 1168 bytes, never another size.
- A sealed document is the same around at most 192 KiB (`input_bytes_max`); its `info` has a label that no wrap has.
- The caller gets secrecy against a quantum computer and binding to `info`. It does not get the sender: anyone can wrap
  for a public key, so who wrapped is known from a signed manifest or Start, and never from the wrap.

    key = HybridPrivateKey.from_seed(seed)
    wrap = HybridPublicKey(key.public).wrap(root, info=ctx("self", md))
    root = key.unwrap(wrap, info=ctx("self", md))
"""

import hashlib
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from carnet.core import limits
from carnet.core.errors import EnvelopeMalformed, EnvelopeUnopened
from carnet.core.root import check_root_size

_SUITE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_mlkem_bytes: Final = 1184
_mlkem_seed_bytes: Final = 64
_field_prime: Final = 2**255 - 19


class HybridPublicKey:
    """A public key to wrap for. Raises `EnvelopeMalformed` for bytes that are not one good key in its one form."""

    def __init__(self, data: bytes) -> None:
        if len(data) != limits.hybrid_public_bytes:
            raise EnvelopeMalformed("A hybrid public key must be 1216 bytes.")
        self.data = bytes(data)
        self._key = _public(self.data[:_mlkem_bytes], self.data[_mlkem_bytes:])

    @property
    def kid(self) -> bytes:
        """SHA-256 of the 1216 bytes, 32 bytes."""
        return hashlib.sha256(self.data).digest()

    def wrap(self, root: bytes | bytearray, *, info: bytes) -> bytes:
        """Seal a 32-byte root for this key, bound to `info`: 1168 bytes."""
        check_root_size(root)
        return _SUITE.encrypt(root, self._key, info=info)

    def seal(self, document: bytes, *, info: bytes) -> bytes:
        """Seal a document for this key, bound to `info`. Raises `EnvelopeMalformed` for one that is too large."""
        if len(document) > limits.input_bytes_max:
            raise EnvelopeMalformed("A document to be sealed is too large.")
        return _SUITE.encrypt(document, self._key, info=info)


class HybridPrivateKey:
    """A private key that opens wraps; it lives in memory only."""

    def __init__(self, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> None:
        self._key = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public: Final = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes | bytearray) -> "HybridPrivateKey":
        """The key pair of a 32-byte X-Wing seed. Raises `EnvelopeMalformed` for another size."""
        if len(seed) != limits.hybrid_seed_bytes:
            raise EnvelopeMalformed("A hybrid private seed must be 32 bytes.")
        expanded = hashlib.shake_256(seed).digest(_mlkem_seed_bytes + 32)
        return cls(
            MLKEM768PrivateKey.from_seed_bytes(expanded[:_mlkem_seed_bytes]),
            X25519PrivateKey.from_private_bytes(expanded[_mlkem_seed_bytes:]),
        )

    @property
    def kid(self) -> bytes:
        """SHA-256 of the public key, 32 bytes."""
        return hashlib.sha256(self.public).digest()

    def unwrap(self, wrap: bytes, *, info: bytes) -> bytearray:
        """The 32-byte root, in a buffer that the caller wipes. Every failure is the one `EnvelopeUnopened`."""
        if len(wrap) != limits.wrap_bytes:
            raise EnvelopeUnopened
        try:
            return bytearray(_SUITE.decrypt(wrap, self._key, info=info))
        except InvalidTag:
            raise EnvelopeUnopened from None

    def open(self, sealed: bytes, *, info: bytes) -> bytes:
        """The document that `HybridPublicKey.seal` sealed. Every failure is the one `EnvelopeUnopened`."""
        if not limits.sealed_bytes_min <= len(sealed) <= limits.input_bytes_max + limits.sealed_bytes_min:
            raise EnvelopeUnopened
        try:
            return _SUITE.decrypt(sealed, self._key, info=info)
        except InvalidTag:
            raise EnvelopeUnopened from None


def _public(mlkem: bytes, x25519: bytes) -> hpke.MLKEM768X25519PublicKey:
    try:
        lattice = MLKEM768PublicKey.from_public_bytes(mlkem)
        curve = X25519PublicKey.from_public_bytes(x25519)
        # Any exchange with a point of low order gives zeros, which the library refuses: the key itself does not matter.
        X25519PrivateKey.from_private_bytes(bytes(32)).exchange(curve)
    except ValueError:
        raise EnvelopeMalformed("The bytes are not a hybrid public key.") from None
    if int.from_bytes(x25519, "little") >= _field_prime:
        raise EnvelopeMalformed("A hybrid public key must be in its one form.")
    return hpke.MLKEM768X25519PublicKey(lattice, curve)
