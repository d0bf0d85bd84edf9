"""Envelope v1: how a job is sealed for the runners that its client verified, and its results for the client.

- job root (32 B, drawn by the client) -> commitment, one key an object; it leaves the client in wraps only.
- A wrap is bound to suite, manifest, SPIFFE id, jurisdiction and key id: for any other it does not open. A later wrap
  is bound to its signed addendum too. The self-wrap lets every replica of the client open the job again.
- The runner draws a result root for each attempt, and wraps it for the job's result key, bound to manifest, grant and
  its own id; any replica derives that key from the tenant's master secret.
- Every failure to open is one `EnvelopeUnopened` with the same text: bad key, bad tag and bad size are not told apart.
- The caller gets: only the holder of the private key opens, and only for this binding. It does not get who wrapped:
  anyone can make a wrap, so check the manifest's signature first, then the root against its commitment.

    wrap = wrap_root(HybridPublicKey(statement.public), root, manifest_digest=md, spiffe_id=..., jurisdiction="FR",
                     kid=statement.kid)
    root = unwrap_root(private, wrap, manifest_digest=md, spiffe_id=..., jurisdiction="FR", kid=kid)
    check_root(root, manifest)
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from carnet.core import limits
from carnet.core.encoding import ctx
from carnet.core.errors import EnvelopeMalformed, EnvelopeUnopened
from carnet.core.hybrid import HybridPrivateKey, HybridPublicKey
from carnet.core.job import SUITE, SealedObject
from carnet.core.logrecord import open_log, seal_log
from carnet.core.root import check_root, root_commit, wipe
from carnet.core.segment import (
    Data,
    ResultOpener,
    ResultSealer,
    Root,
    SegmentOpener,
    SegmentSealer,
    ciphertext_size,
    segment_sizes,
)

__all__ = [
    "HybridPrivateKey",
    "HybridPublicKey",
    "ResultOpener",
    "ResultSealer",
    "SegmentOpener",
    "SegmentSealer",
    "check_root",
    "ciphertext_size",
    "open_bytes",
    "open_log",
    "open_self_wrap",
    "result_key",
    "root_commit",
    "seal_bytes",
    "seal_log",
    "segment_sizes",
    "self_wrap",
    "unwrap_result_root",
    "unwrap_root",
    "unwrap_root_addendum",
    "wipe",
    "wrap_result_root",
    "wrap_root",
    "wrap_root_addendum",
]

_SUITE: Final = SUITE.to_bytes(2)


def wrap_root(
    public: HybridPublicKey, root: Root, *, manifest_digest: bytes, spiffe_id: str, jurisdiction: str, kid: bytes
) -> bytes:
    """The job root for one recipient of the manifest, 1168 bytes. `kid` must be the key's own."""
    _check_kid(public, kid)
    return public.wrap(root, info=_wrap_info(manifest_digest, spiffe_id, jurisdiction, kid))


def unwrap_root(
    private: HybridPrivateKey, wrap: bytes, *, manifest_digest: bytes, spiffe_id: str, jurisdiction: str, kid: bytes
) -> bytearray:
    """The job root from a wrap of the manifest; check it against the commitment next."""
    return private.unwrap(wrap, info=_wrap_info(manifest_digest, spiffe_id, jurisdiction, kid))


def wrap_root_addendum(
    public: HybridPublicKey,
    root: Root,
    *,
    manifest_digest: bytes,
    addendum_digest: bytes,
    spiffe_id: str,
    jurisdiction: str,
    kid: bytes,
) -> bytes:
    """The job root for one recipient of an addendum, 1168 bytes."""
    _check_kid(public, kid)
    return public.wrap(root, info=_addendum_info(manifest_digest, addendum_digest, spiffe_id, jurisdiction, kid))


def unwrap_root_addendum(
    private: HybridPrivateKey,
    wrap: bytes,
    *,
    manifest_digest: bytes,
    addendum_digest: bytes,
    spiffe_id: str,
    jurisdiction: str,
    kid: bytes,
) -> bytearray:
    """The job root from a wrap of an addendum; check it against the commitment next."""
    return private.unwrap(wrap, info=_addendum_info(manifest_digest, addendum_digest, spiffe_id, jurisdiction, kid))


def self_wrap(result_public: HybridPublicKey, root: Root, *, manifest_digest: bytes) -> bytes:
    """The job root for the client's own result key, 1168 bytes."""
    return result_public.wrap(root, info=ctx("self", manifest_digest))


def open_self_wrap(private: HybridPrivateKey, wrap: bytes, *, manifest_digest: bytes) -> bytearray:
    """The job root from a self-wrap. Verify the manifest's signature before, and the commitment after."""
    return private.unwrap(wrap, info=ctx("self", manifest_digest))


def wrap_result_root(
    result_public: HybridPublicKey, result_root: Root, *, manifest_digest: bytes, grant_digest: bytes, spiffe_id: str
) -> bytes:
    """The result root of one attempt for the client, 1168 bytes; it travels in the Start."""
    return result_public.wrap(result_root, info=ctx("result", manifest_digest, grant_digest, spiffe_id.encode()))


def unwrap_result_root(
    private: HybridPrivateKey, wrap: bytes, *, manifest_digest: bytes, grant_digest: bytes, spiffe_id: str
) -> bytearray:
    """The result root of one attempt. Verify the Start's signature before."""
    return private.unwrap(wrap, info=ctx("result", manifest_digest, grant_digest, spiffe_id.encode()))


def result_key(tenant_master: Root, job_id: bytes) -> HybridPrivateKey:
    """The key that a job's results are wrapped for: X-Wing from HKDF(tenant master secret, job id)."""
    if len(tenant_master) != 32:
        raise EnvelopeMalformed("A tenant's master secret must be 32 bytes.")
    seed = bytearray(limits.hybrid_seed_bytes)
    HKDF(SHA256(), len(seed), None, ctx("result key", job_id)).derive_into(tenant_master, seed)
    try:
        return HybridPrivateKey.from_seed(seed)
    finally:
        wipe(seed)


def seal_bytes(root: Root, *, job_id: bytes, object_id: int, data: Data) -> tuple[SealedObject, list[bytes]]:
    """Seal a small object whole: what the manifest says of it, and the ciphertext of each segment."""
    view = memoryview(data).cast("B")
    sizes = tuple(segment_sizes(len(view)))
    ciphertexts, digests = [], []
    for index, size in enumerate(sizes):
        last = index == len(sizes) - 1
        sealer = SegmentSealer(root, job_id=job_id, object_id=object_id, index=index, last=last)
        start = index * limits.segment_bytes
        ciphertexts.append(sealer.update(view[start : start + size]) + sealer.finish())
        digests.append(sealer.digest)
    return SealedObject(id=object_id, size=len(view), segment_digests=tuple(digests)), ciphertexts


def open_bytes(root: Root, *, job_id: bytes, sealed: SealedObject, segments: Sequence[bytes]) -> bytes:
    """Open a small object whole: digests and sizes first, then the segments. Raises `EnvelopeUnopened` only."""
    sizes = tuple(segment_sizes(sealed.size))
    digests = tuple(hashlib.sha256(segment).digest() for segment in segments)
    if digests != sealed.segment_digests or tuple(map(len, segments)) != tuple(map(ciphertext_size, sizes)):
        raise EnvelopeUnopened
    plain = bytearray()
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        opener = SegmentOpener(root, job_id=job_id, object_id=sealed.id, index=index, last=last)
        plain += opener.update(segment) + opener.finish()
    return bytes(plain)


def _wrap_info(manifest_digest: bytes, spiffe_id: str, jurisdiction: str, kid: bytes) -> bytes:
    return ctx("wrap", _SUITE, manifest_digest, spiffe_id.encode(), jurisdiction.encode(), kid)


def _addendum_info(
    manifest_digest: bytes, addendum_digest: bytes, spiffe_id: str, jurisdiction: str, kid: bytes
) -> bytes:
    fields = (manifest_digest, addendum_digest, spiffe_id.encode(), jurisdiction.encode(), kid)
    return ctx("wrap-add", _SUITE, *fields)


def _check_kid(public: HybridPublicKey, kid: bytes) -> None:
    if public.kid != kid:
        raise EnvelopeMalformed("The key id is not of this key.")
