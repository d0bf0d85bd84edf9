"""Sealed segments as files in one folder, written in order: `0000-00000000` is object 0, segment 0. Blocking.

Rules:
- Segments come in the order of the manifest: object 0 segment 0, its next ones, then object 1 segment 0. No segment is
  larger than one can be, and all together no larger than `bytes_max`.
- SHA-256 is taken while the bytes are written, once. Only what was found on disk after a restart is hashed again, and
  synced: its writer may have died before it did so.
- `written` says what was handed over, `sync` makes it durable. Bytes that were written already are passed over, so a
  sender may begin again at any offset up to the end; one after the end raises `EnvelopeMalformed`.
- Names are numbers only; files are 0600, folders 0700.
"""

import hashlib
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from carnet.core import limits
from carnet.core.errors import EnvelopeMalformed, LeaseLost, QuotaExceeded
from carnet.core.segment import ciphertext_size
from gateway.storage.folders import make_folder, sync_folder

segment_sealed_bytes_max: Final = ciphertext_size(limits.segment_bytes)
_NAME: Final = re.compile(r"([0-9a-f]{4})-([0-9a-f]{8})")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """A byte of a folder: `offset` in this segment of this object."""

    object_id: int = 0
    segment: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One whole segment: its size in bytes and the SHA-256 of its ciphertext."""

    object_id: int
    index: int
    size: int
    digest: bytes


def segment_path(folder: Path, *, object_id: int, index: int) -> Path:
    """The file of one segment. Raises `EnvelopeMalformed` for numbers out of bounds."""
    if not 0 <= object_id <= limits.objects_max or not 0 <= index < limits.segments_max:
        raise EnvelopeMalformed("The object or segment is out of bounds.")
    return folder / f"{object_id:04x}-{index:08x}"


def segment_sizes(folder: Path) -> tuple[tuple[int, int, int], ...]:
    """Object, segment and size in bytes of each file of a folder, in order; nothing where there is no folder."""
    if not folder.is_dir():
        return ()
    found = ((_NAME.fullmatch(entry.name), entry) for entry in os.scandir(folder))
    return tuple(sorted((int(n[1], 16), int(n[2], 16), entry.stat().st_size) for n, entry in found if n))


class SegmentFolder:
    """A folder that is being written, from where it ended before. Threads take turns; none writes after `close`."""

    def __init__(self, folder: Path, *, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_left = bytes_max
        self._at = Position()
        self._file: int | None = None
        self._hash = hashlib.sha256()
        self._done: list[Segment] = []
        self._turn = threading.Lock()
        self._closed = False
        make_folder(folder)
        self._resume()

    @property
    def written(self) -> Position:
        """Where the next byte belongs."""
        return self._at

    def write(self, at: Position, data: bytes) -> None:
        """Add bytes. Raises `EnvelopeMalformed` out of order, `QuotaExceeded` where they are too many, and OSError."""
        with self._turn:
            self._check_open()
            if (at.object_id, at.segment) < (self._at.object_id, self._at.segment):
                return
            if (at.object_id, at.segment) != (self._at.object_id, self._at.segment):
                self._step(at)
            if at.offset > self._at.offset:
                raise EnvelopeMalformed("Bytes of a segment are missing before these.")
            self._append(data[self._at.offset - at.offset :])

    def sync(self) -> Position:
        """Make all that was written durable; where the next byte belongs."""
        with self._turn:
            self._check_open()
            if self._file is not None:
                os.fsync(self._file)
            sync_folder(self._folder)
            return self._at

    def finish(self) -> tuple[Segment, ...]:
        """Close the last segment, durable; all segments in order."""
        with self._turn:
            self._check_open()
            self._end_segment()
            sync_folder(self._folder)
            return tuple(self._done)

    def close(self) -> None:
        """Let go of the file, and leave what was written."""
        with self._turn:
            self._closed = True
            self._close_file()

    def _check_open(self) -> None:
        if self._closed:
            raise LeaseLost("The upload was taken over or has ended.")

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, data: bytes) -> None:
        if self._at.offset + len(data) > segment_sealed_bytes_max:
            raise EnvelopeMalformed("The segment is too large.")
        if len(data) > self._bytes_left:
            raise QuotaExceeded("The sealed objects are too large.", metadata={"quota": "bytes"})
        if self._file is None:
            path = segment_path(self._folder, object_id=self._at.object_id, index=self._at.segment)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._hash.update(data)
        self._bytes_left -= len(data)
        self._at = Position(object_id=self._at.object_id, segment=self._at.segment, offset=self._at.offset + len(data))

    def _step(self, at: Position) -> None:
        current = (self._at.object_id, self._at.segment)
        follows = (at.object_id, at.segment) in ((current[0], current[1] + 1), (current[0] + 1, 0))
        if not follows or self._at.offset == 0:
            raise EnvelopeMalformed("The segments are out of order.")
        self._end_segment()
        self._at = Position(object_id=at.object_id, segment=at.segment)

    def _end_segment(self) -> None:
        if self._file is None and self._at.offset == 0:
            return
        if self._file is not None:
            os.fsync(self._file)
            self._close_file()
        at = self._at
        if not self._done or (self._done[-1].object_id, self._done[-1].index) != (at.object_id, at.segment):
            digest = self._hash.digest()
            self._done.append(Segment(object_id=at.object_id, index=at.segment, size=at.offset, digest=digest))
        self._hash = hashlib.sha256()

    def _resume(self) -> None:
        for object_id, index, size in segment_sizes(self._folder):
            if (object_id, index) != (0, 0):
                self._step(Position(object_id=object_id, segment=index))
            self._hash = _found(segment_path(self._folder, object_id=object_id, index=index))
            self._bytes_left -= size
            self._at = Position(object_id=object_id, segment=index, offset=size)


def _found(path: Path) -> "hashlib._Hash":
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256")
