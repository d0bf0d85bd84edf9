"""Root: the 32 random bytes that every key of a job, or of one attempt's results, comes from.

- Roots are drawn at the edge (`secrets.token_bytes`), kept in bytearrays, and wiped by whoever holds them.
- A key is HKDF-Expand (RFC 5869, SHA-256) of a root under a context of `core/encoding.py`: a root is uniform already,
  so there is nothing to extract.
- The commitment is public and stands in the manifest: a root that does not fit it is found before a byte is opened.

    key = derive(root, ctx("object key", job_id, object_id))
    check_root(root, manifest)
"""

from typing import Final

from cryptography.hazmat.primitives import constant_time
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from carnet.core.encoding import ctx
from carnet.core.errors import EnvelopeMalformed, EnvelopeUnopened
from carnet.core.job import Manifest

root_bytes: Final = 32
key_bytes: Final = 32


def derive(root: bytes | bytearray, info: bytes) -> bytearray:
    """A 32-byte key of this root, in a buffer that the caller wipes."""
    check_root_size(root)
    key = bytearray(key_bytes)
    HKDFExpand(SHA256(), key_bytes, info).derive_into(root, key)
    return key


def root_commit(root: bytes | bytearray, job_id: bytes) -> bytes:
    """The public commitment to a job root, 32 bytes."""
    return bytes(derive(root, ctx("commit", job_id)))


def check_root(root: bytes | bytearray, manifest: Manifest) -> None:
    """Raise `EnvelopeUnopened` unless this is the root that the manifest commits to."""
    if not constant_time.bytes_eq(root_commit(root, manifest.job_id), manifest.root_commit):
        raise EnvelopeUnopened


def check_root_size(root: bytes | bytearray) -> None:
    """Raise `EnvelopeMalformed` unless a root is 32 bytes."""
    if len(root) != root_bytes:
        raise EnvelopeMalformed("A root must be 32 bytes.")


def wipe(secret: bytearray) -> None:
    """Overwrite a secret with zeros: the best that Python offers, and no promise about other copies."""
    secret[:] = bytes(len(secret))
