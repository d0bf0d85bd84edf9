"""Ciphertext in a local directory: payloads as they come in and as they were accepted, and results of each attempt.

    uploads/<random>/                              payloads that are coming in; swept at start
    payloads/<tenant>/<job>/<manifest digest>/     payloads whose upload was complete
    results/<tenant>/<job>/<attempt>/              results, from the first byte on

Rules:
- Nothing is opened, and nothing here could be: it is ciphertext, checked against the digests that the client signed.
- A payload appears whole or not at all: it is synced, renamed, and its folder synced, before `publish` returns. It is
  kept by its manifest's digest, so that another manifest under the same job id can never replace it.
- Every name is made of hex digits or numbers. File work is in threads of this file's own; the caller's `await` is the
  back-pressure, and at most 1 MiB of an upload waits in memory.
- A full or failing disk raises `StoreUnavailable`; what is not there raises `NotFound`.

    async with blobs.upload() as upload:
        await upload.write(data, object_id=0, segment=0)
        await upload.publish(Payload(key=key, manifest_digest=md), manifest.objects)
    async for chunk in blobs.read(Payload(key=key, manifest_digest=md), Position()): ...
"""

import asyncio
import contextlib
import errno
import os
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, ParamSpec, Self, TypeVar

from carnet.core import limits
from carnet.core.errors import Bug, NotFound, PayloadDigestMismatch, StoreUnavailable
from carnet.core.job import SealedObject
from gateway.storage.folders import make_folder, remove_folder, sync_folder
from gateway.storage.records import JobKey
from gateway.storage.segments import (
    Position,
    Segment,
    SegmentFolder,
    segment_path,
    segment_sealed_bytes_max,
    segment_sizes,
)

threads_default: Final = 4
buffer_bytes: Final = limits.MIB

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """The sealed objects of one manifest."""

    key: JobKey
    manifest_digest: bytes

    @property
    def path(self) -> Path:
        """Where it is, below the store's folder."""
        return Path("payloads", self.key.tenant_id.hex(), self.key.job_id.hex(), self.manifest_digest.hex())


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The sealed results of one attempt."""

    key: JobKey
    attempt: int

    @property
    def path(self) -> Path:
        """Where it is, below the store's folder."""
        return Path("results", self.key.tenant_id.hex(), self.key.job_id.hex(), f"{self.attempt:010d}")


class BlobStore:
    """The directory, and the threads that work in it."""

    def __init__(self, directory: Path, *, threads: int = threads_default) -> None:
        self._directory = directory
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="blobs")
        self._open_results: dict[Path, SegmentFolder] = {}
        self._results_turn = threading.Lock()
        for name in ("uploads", "payloads", "results"):
            make_folder(directory / name)

    def upload(self, *, bytes_max: int = limits.payload_bytes_max) -> "Upload":
        """A payload to come, of at most so many bytes of ciphertext. Nothing is made before its first byte."""
        return Upload(self, self._directory / "uploads" / secrets.token_hex(16), bytes_max=bytes_max)

    async def results(self, result: Result, *, bytes_max: int = limits.result_bytes_max) -> "ResultUpload":
        """The results of an attempt, to be added to from where they end. The newest caller takes over from the last."""
        return ResultUpload(self, result, await self.run(self._take_over, result, bytes_max))

    def let_go(self, result: Result, folder: SegmentFolder) -> None:
        """Close the results of an attempt. Blocking."""
        folder.close()
        with self._results_turn:
            if self._open_results.get(self._directory / result.path) is folder:
                del self._open_results[self._directory / result.path]

    async def sizes(self, blob: Payload | Result) -> tuple[tuple[int, int, int], ...]:
        """Object, segment and size in bytes of everything that is there, in order."""
        return await self.run(segment_sizes, self._directory / blob.path)

    async def read(self, blob: Payload | Result, at: Position) -> AsyncIterator[bytes]:
        """The ciphertext of one segment from an offset on, in chunks of at most 256 KiB. Raises `NotFound`."""
        path = segment_path(self._directory / blob.path, object_id=at.object_id, index=at.segment)
        offset = at.offset
        while data := await self.run(_read, path, offset):
            for start in range(0, len(data), limits.chunk_bytes):
                yield data[start : start + limits.chunk_bytes]
            offset += len(data)

    async def delete(self, blob: Payload | Result) -> None:
        """Remove a payload or a result, if it is there."""
        await self.run(_delete, self._directory / blob.path)

    async def jobs(self) -> tuple[JobKey, ...]:
        """Every job of which a payload or results are kept, in order."""
        return await self.run(self._jobs)

    async def sweep(self, known: Collection[tuple[JobKey, bytes]]) -> int:
        """Remove what no job has: at start, with `queries.job_keys`. How many folders went."""
        return await self.run(self._sweep, known)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do file work in a thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args, **kwargs))
        except FileNotFoundError as error:
            raise NotFound from error
        except OSError as error:
            raise StoreUnavailable(detail=f"the disk refused: {error.strerror}") from error

    def publish(self, folder: Path, payload: Payload) -> None:
        """Give a complete upload its name, durable. Where the same one is there already, it stays. Blocking."""
        target = self._directory / payload.path
        make_folder(target.parent)
        try:
            folder.rename(target)
        except FileNotFoundError:
            # The job's own folder went meanwhile, with the last that was in it: once more, while there is what to name.
            if not folder.exists():
                raise
            self.publish(folder, payload)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            remove_folder(folder)
        sync_folder(target.parent)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    def _take_over(self, result: Result, bytes_max: int) -> SegmentFolder:
        path = self._directory / result.path
        with self._results_turn:
            before = self._open_results.pop(path, None)
            if before is not None:
                before.close()
            folder = self._open_results[path] = SegmentFolder(path, bytes_max=bytes_max)
        return folder

    def _jobs(self) -> tuple[JobKey, ...]:
        kept = [path for name in ("payloads", "results") for path in self._directory.glob(f"{name}/*/*/*")]
        names = sorted({path.parts[-3:-1] for path in kept})
        return tuple(JobKey(tenant_id=bytes.fromhex(tenant), job_id=bytes.fromhex(job)) for tenant, job in names)

    def _sweep(self, known: Collection[tuple[JobKey, bytes]]) -> int:
        payloads = {Payload(key=key, manifest_digest=digest).path for key, digest in known}
        jobs = {Result(key=key, attempt=0).path.parent for key, _ in known}
        left = list((self._directory / "uploads").iterdir())
        left += [p for p in self._directory.glob("payloads/*/*/*") if p.relative_to(self._directory) not in payloads]
        left += [p for p in self._directory.glob("results/*/*") if p.relative_to(self._directory) not in jobs]
        for folder in left:
            remove_folder(folder)
        return len(left)


class Upload:
    """One payload that is coming in. Leaving its context without `publish` removes all of it."""

    def __init__(self, blobs: BlobStore, folder: Path, *, bytes_max: int) -> None:
        self._blobs = blobs
        self._path = folder
        self._bytes_max = bytes_max
        self._folder: SegmentFolder | None = None
        self._waiting: list[tuple[Position, bytes]] = []
        self._waiting_bytes = 0
        self._next = Position()
        self._turn = threading.Lock()
        self._over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Shielded, and not awaited by a cancelled caller: the folder goes all the same.
        await asyncio.shield(asyncio.ensure_future(self._blobs.run(self._discard)))

    async def write(self, data: bytes, *, object_id: int, segment: int) -> None:
        """Add bytes at the end of this segment, which is the last one or the next. Raises `EnvelopeMalformed`."""
        same = (object_id, segment) == (self._next.object_id, self._next.segment)
        at = Position(object_id=object_id, segment=segment, offset=self._next.offset if same else 0)
        self._next = Position(object_id=object_id, segment=segment, offset=at.offset + len(data))
        self._waiting.append((at, data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= buffer_bytes:
            await self._blobs.run(self._flush)

    async def publish(self, payload: Payload, objects: Sequence[SealedObject]) -> tuple[Segment, ...]:
        """Check all segments against the signed digests, and keep them, durable. Raises `PayloadDigestMismatch`."""
        return await self._blobs.run(self._publish, payload, objects)

    def _publish(self, payload: Payload, objects: Sequence[SealedObject]) -> tuple[Segment, ...]:
        with self._turn:
            segments = self._flushed().finish()
            check_segments(segments, objects)
            self._blobs.publish(self._path, payload)
        return segments

    def _flush(self) -> None:
        with self._turn:
            self._flushed()

    def _flushed(self) -> SegmentFolder:
        if self._over:
            raise Bug(detail="an upload that has ended was written to")
        if self._folder is None:
            self._folder = SegmentFolder(self._path, bytes_max=self._bytes_max)
        for at, data in self._waiting:
            self._folder.write(at, data)
        self._waiting, self._waiting_bytes = [], 0
        return self._folder

    def _discard(self) -> None:
        # A cancelled caller may have left a thread at work: it ends first, and one that comes later does nothing.
        with self._turn:
            self._over = True
            if self._folder is not None:
                self._folder.close()
                remove_folder(self._path)


class ResultUpload:
    """The results of one attempt, as they come in; what is there stays, also after a cut."""

    def __init__(self, blobs: BlobStore, result: Result, folder: SegmentFolder) -> None:
        self._blobs = blobs
        self._result = result
        self._folder = folder

    @property
    def written(self) -> Position:
        """Where the next byte belongs."""
        return self._folder.written

    async def write(self, at: Position, data: bytes) -> None:
        """Add bytes; those that are there already are passed over. Raises `EnvelopeMalformed` after a gap."""
        await self._blobs.run(self._folder.write, at, data)

    async def sync(self) -> Position:
        """Make all of it durable; where the next byte belongs, to be acknowledged."""
        return await self._blobs.run(self._folder.sync)

    async def finish(self) -> tuple[Segment, ...]:
        """End the last segment, durable; all segments with their digests, in order."""
        return await self._blobs.run(self._folder.finish)

    async def close(self) -> None:
        """Let go of the file."""
        await self._blobs.run(self._blobs.let_go, self._result, self._folder)


def check_segments(segments: Sequence[Segment], objects: Sequence[SealedObject]) -> None:
    """Raise `PayloadDigestMismatch` unless these are all the segments that the client signed, in order."""
    signed = [(o.id, i, digest) for o in objects for i, digest in enumerate(o.segment_digests)]
    if [(segment.object_id, segment.index, segment.digest) for segment in segments] != signed:
        raise PayloadDigestMismatch


def _delete(path: Path) -> None:
    remove_folder(path)
    # The job's own folder goes with the last that was in it.
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def _read(path: Path, offset: int) -> bytes:
    offset = min(offset, segment_sealed_bytes_max)  # a caller's offset may be more than the file system can say
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(file, buffer_bytes, offset)
    finally:
        os.close(file)
