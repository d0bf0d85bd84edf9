"""Segment: the stream of ciphertext that jobs and results travel in.

- An object is cut into segments of 64 MiB of plaintext; only the last one is shorter (an empty object has one empty
  segment). Each segment is one Cobblestone-256 message (C2SP chunked-encryption v1): committing to its key, bound to
  its context, refused when cut short, extended, reordered or joined.
- The context names job, object, index and whether it is the last; the key is the object's own. Results have other
  labels, and manifest and grant in place of the job id.
- `update` takes slices of any size; 256 KiB to 1 MiB are fastest. It works outside the interpreter's lock, so a thread
  may run it; one segment belongs to one thread at a time. Each byte of ciphertext is hashed once, by the sealer.
- An opener hands out verified plaintext only, and nothing after its first failure. It hands it out before the end of
  the segment is known: compare the digests of all ciphertext with the signed ones first.
- Every failure to open is one `EnvelopeUnopened` with the same text.

    sealer = SegmentSealer(root, job_id=job_id, object_id=1, index=0, last=True)
    ciphertext = sealer.update(data) + sealer.finish()
    sealer.digest                                           # for the manifest
"""

import hashlib
from collections.abc import Iterator
from typing import Final

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import AlreadyFinalized, InvalidTag

from carnet.core import limits
from carnet.core.encoding import ctx
from carnet.core.errors import Bug, EnvelopeMalformed, EnvelopeUnopened
from carnet.core.root import derive, wipe

Data = bytes | bytearray | memoryview
Root = bytes | bytearray

cobblestone_chunk_bytes: Final = 16 * limits.KIB
cobblestone_header_bytes: Final = 24 + 32
cobblestone_tag_bytes: Final = 16


class Sealer:
    """One Cobblestone-256 message being made, and the digest of its ciphertext. Wipes the key that it was given."""

    def __init__(self, key: bytearray, context: bytes, *, bytes_max: int = limits.segment_bytes) -> None:
        self._encryptor = Cobblestone256Encryptor(key, context)
        wipe(key)
        self._left = bytes_max
        self._hash = hashlib.sha256()
        self._finished = False

    def update(self, data: Data) -> bytes:
        """The ciphertext that is ready after this plaintext. Raises `EnvelopeMalformed` beyond the segment's bound."""
        self._left -= memoryview(data).nbytes
        if self._left < 0:
            raise EnvelopeMalformed("A segment is larger than its bound.")
        return self._hashed(self._encryptor.update(data))

    def finish(self) -> bytes:
        """The rest of the ciphertext; the sealer is done then."""
        rest = self._hashed(self._encryptor.finalize())
        self._finished = True
        return rest

    @property
    def digest(self) -> bytes:
        """SHA-256 over all the ciphertext, 32 bytes; only after `finish`."""
        if not self._finished:
            raise Bug(detail="the digest of a segment was asked for before its end")
        return self._hash.digest()

    def _hashed(self, ciphertext: bytes) -> bytes:
        self._hash.update(ciphertext)
        return ciphertext


class Opener:
    """One Cobblestone-256 message being opened. Wipes the key that it was given."""

    def __init__(self, key: bytearray, context: bytes, *, bytes_max: int = limits.segment_bytes) -> None:
        self._decryptor = Cobblestone256Decryptor(key, context)
        wipe(key)
        self._left = bytes_max

    def update(self, ciphertext: Data) -> bytes:
        """The plaintext that is verified after this ciphertext; it lags by less than one chunk of 16 KiB."""
        # Never update_into: on failure it leaves unverified plaintext in the caller's buffer.
        try:
            return self._bounded(self._decryptor.update(ciphertext))
        except (InvalidTag, AlreadyFinalized):
            raise EnvelopeUnopened from None

    def finish(self) -> bytes:
        """The rest of the plaintext, once the end of the message is verified."""
        try:
            return self._bounded(self._decryptor.finalize())
        except (InvalidTag, AlreadyFinalized):
            raise EnvelopeUnopened from None

    def _bounded(self, plaintext: bytes) -> bytes:
        self._left -= len(plaintext)
        if self._left < 0:
            raise EnvelopeUnopened
        return plaintext


class SegmentSealer(Sealer):
    """Seals one segment of an object of a job."""

    def __init__(self, root: Root, *, job_id: bytes, object_id: int, index: int, last: bool) -> None:
        super().__init__(_object_key(root, job_id, object_id), _segment(job_id, object_id, index, last))


class SegmentOpener(Opener):
    """Opens one segment of an object of a job."""

    def __init__(self, root: Root, *, job_id: bytes, object_id: int, index: int, last: bool) -> None:
        super().__init__(_object_key(root, job_id, object_id), _segment(job_id, object_id, index, last))


class ResultSealer(Sealer):
    """Seals one segment of a result of one attempt."""

    def __init__(
        self, result_root: Root, *, manifest_digest: bytes, grant_digest: bytes, object_id: int, index: int, last: bool
    ) -> None:
        attempt = (manifest_digest, grant_digest)
        super().__init__(_result_key(result_root, attempt, object_id), _result(attempt, object_id, index, last))


class ResultOpener(Opener):
    """Opens one segment of a result of one attempt."""

    def __init__(
        self, result_root: Root, *, manifest_digest: bytes, grant_digest: bytes, object_id: int, index: int, last: bool
    ) -> None:
        attempt = (manifest_digest, grant_digest)
        super().__init__(_result_key(result_root, attempt, object_id), _result(attempt, object_id, index, last))


def ciphertext_size(plain_size: int) -> int:
    """Bytes of ciphertext that a segment of `plain_size` bytes has: header 56, and 16 for each chunk of 16 KiB.

    The last chunk is always shorter than 16 KiB, so a size that is a multiple of it has one empty chunk more.
    """
    chunks = plain_size // cobblestone_chunk_bytes + 1
    return cobblestone_header_bytes + plain_size + chunks * cobblestone_tag_bytes


def segment_sizes(size: int) -> Iterator[int]:
    """The plaintext size of each segment of an object of `size` bytes, in order; at least one."""
    for offset in range(0, max(size, 1), limits.segment_bytes):
        yield min(limits.segment_bytes, size - offset)


def _object_key(root: Root, job_id: bytes, object_id: int) -> bytearray:
    return derive(root, ctx("object key", job_id, object_id.to_bytes(4)))


def _segment(job_id: bytes, object_id: int, index: int, last: bool) -> bytes:
    return ctx("segment", job_id, object_id.to_bytes(4), index.to_bytes(4), last.to_bytes(1))


def _result_key(root: Root, attempt: tuple[bytes, bytes], object_id: int) -> bytearray:
    return derive(root, ctx("result object key", *attempt, object_id.to_bytes(4)))


def _result(attempt: tuple[bytes, bytes], object_id: int, index: int, last: bool) -> bytes:
    return ctx("result segment", *attempt, object_id.to_bytes(4), index.to_bytes(4), last.to_bytes(1))
