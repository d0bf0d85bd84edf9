"""Spool: ciphertext on the runner's disk, for one attempt. Nothing that could be read without a key is ever written.

- Payload segments are held against the client-signed digests as they arrive; one that differs is an error at once.
- Result segments are sealed before they are written.
- The folder is the attempt's own; it is removed with the attempt, and what a crash left is removed at the next start.
"""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from carnet.core import limits
from carnet.core.errors import PayloadDigestMismatch
from carnet.core.job import Manifest
from carnet.core.segment import ciphertext_size, segment_sizes

_read_bytes: Final = limits.MIB


class Spool:
    """The folder of one attempt. Calls block: make them in a thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True)

    def begin(self, object_id: int, segment: int) -> "SegmentFile":
        """A payload segment to write."""
        return SegmentFile(self._payload(object_id, segment))

    def read(self, object_id: int, segment: int) -> Iterator[bytes]:
        """A payload segment's ciphertext, in pieces."""
        return _pieces(self._payload(object_id, segment))

    def write_result(self, object_id: int, segment: int, data: bytes) -> None:
        """Add ciphertext to a result segment."""
        with self._result(object_id, segment).open("ab") as file:
            file.write(data)

    def read_result(self, object_id: int, segment: int, offset: int) -> Iterator[bytes]:
        """A result segment's ciphertext from an offset on, in pieces that fit a message."""
        return _pieces(self._result(object_id, segment), offset=offset, size=limits.chunk_bytes)

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _payload(self, object_id: int, segment: int) -> Path:
        return self._directory / f"payload-{object_id}-{segment}"

    def _result(self, object_id: int, segment: int) -> Path:
        return self._directory / f"result-{object_id}-{segment}"


class SegmentFile:
    """One payload segment while it arrives."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._hash = hashlib.sha256()
        self.size = 0

    def add(self, data: bytes) -> None:
        """The next bytes."""
        self._hash.update(data)
        self._file.write(data)
        self.size += len(data)

    def finish(self, digest: bytes) -> None:
        """It is complete. Raises `PayloadDigestMismatch` unless it is what the client signed."""
        self._file.close()
        if self._hash.digest() != digest:
            raise PayloadDigestMismatch("A payload segment differs from the digest that the client signed.")

    def close(self) -> None:
        """Let go of it, complete or not."""
        self._file.close()


def segments_of(manifest: Manifest) -> Iterator[tuple[int, int, bytes, int]]:
    """Object, segment, digest and ciphertext size of every payload segment, in order."""
    for item in manifest.objects:
        sizes = segment_sizes(item.size)
        for index, (digest, size) in enumerate(zip(item.segment_digests, sizes, strict=True)):
            yield item.id, index, digest, ciphertext_size(size)


def _pieces(path: Path, *, offset: int = 0, size: int = _read_bytes) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while data := file.read(size):
            yield data
