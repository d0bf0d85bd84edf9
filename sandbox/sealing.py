"""Sealing: the cage's output, sealed the moment that it comes out. It is the sink that a cage writes into.

- Log records carry one sequence over both streams and end with a final record; what is buffered is flushed every 200 ms
  or 64 KiB, so that the client sees it while the job runs.
- Results are sealed in segments before they touch the disk. A result that was begun and not ended is dropped.
- Result 0 is the sealed index of names; it is made last.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from carnet.core import limits
from carnet.core.document import Json, canonical
from carnet.core.errors import EnvelopeMalformed
from carnet.core.job import LogMode
from carnet.core.logrecord import seal_log
from carnet.core.receipt import ResultObject
from carnet.core.segment import ResultSealer
from sandbox.outcome import Stream
from sandbox.spool import Spool

STREAMS: Final[dict[Stream, int]] = {"stdout": 1, "stderr": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRecord:
    """One sealed log record: its place in the sequence, its stream (0 for the final one), and the ciphertext."""

    sequence: int
    stream: int
    final: bool
    ciphertext: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    id: int
    name: str
    size: int
    digests: tuple[bytes, ...]


class Sealing:
    """The sink of one attempt. `emit` takes each sealed log record, in order."""

    def __init__(
        self,
        root: bytearray,
        spool: Spool,
        *,
        manifest_digest: bytes,
        grant_digest: bytes,
        log_mode: LogMode,
        emit: Callable[[SealedRecord], None],
    ) -> None:
        self._root = root
        self._spool = spool
        self._names = {"manifest_digest": manifest_digest, "grant_digest": grant_digest}
        self._log_mode = log_mode
        self._emit = emit
        self._sequence = 0
        self._buffers: dict[Stream, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._flusher: asyncio.Task[None] | None = None
        self._results: list[_Result] = []
        self._open: tuple[int, str] | None = None
        self._pending = bytearray()
        self._digests: list[bytes] = []
        self._size = 0
        self._size_said: int | None = None

    @property
    def log_records(self) -> int:
        """How many records were emitted, the final one included once it was."""
        return self._sequence

    async def output(self, stream: Stream, data: bytes) -> None:
        """Bytes of the job's log."""
        if self._log_mode is LogMode.NONE:
            return
        buffer = self._buffers[stream]
        for start in range(0, len(data), limits.log_record_bytes_max):
            buffer += data[start : start + limits.log_record_bytes_max]
            while len(buffer) >= limits.log_record_bytes_max:
                self._record(stream, bytes(buffer[: limits.log_record_bytes_max]))
                del buffer[: limits.log_record_bytes_max]
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush_soon())

    async def result_begin(self, name: str, size: int | None) -> None:
        """A result begins."""
        self._open = (len(self._results) + 1, name)
        self._pending.clear()
        self._digests, self._size, self._size_said = [], 0, size

    async def result_chunk(self, data: bytes) -> None:
        """The next bytes of it."""
        self._pending += data
        self._size += len(data)
        while len(self._pending) > limits.segment_bytes:
            await self._segment(limits.segment_bytes, last=False)

    async def result_end(self) -> None:
        """It is complete."""
        assert self._open is not None
        if self._size_said is not None and self._size != self._size_said:
            raise EnvelopeMalformed("A result is of another size than the one announced.")
        await self._segment(len(self._pending), last=True)
        object_id, name = self._open
        self._results.append(_Result(id=object_id, name=name, size=self._size, digests=tuple(self._digests)))
        self._open = None

    async def finish(self) -> tuple[ResultObject, ...]:
        """Flush the log, end it, seal the index of names: the results as the receipt names them."""
        if self._flusher is not None:
            self._flusher.cancel()
        self._flush()
        self._final()
        rows: list[Json] = [{"id": r.id, "name": r.name, "size": r.size} for r in self._results]
        index = canonical({"objects": rows})
        self._open, self._digests = (0, ""), []
        self._pending = bytearray(index)
        await self._segment(len(index), last=True)
        first = ResultObject(id=0, size=len(index), segment_digests=tuple(self._digests))
        rest = (ResultObject(id=r.id, size=r.size, segment_digests=r.digests) for r in self._results)
        return (first, *rest)

    async def _segment(self, size: int, *, last: bool) -> None:
        assert self._open is not None
        data = bytes(self._pending[:size])
        del self._pending[:size]
        self._digests.append(await asyncio.to_thread(self._seal, self._open[0], len(self._digests), data, last))

    def _seal(self, object_id: int, index: int, data: bytes, last: bool) -> bytes:
        sealer = ResultSealer(self._root, **self._names, object_id=object_id, index=index, last=last)
        for ciphertext in (sealer.update(data), sealer.finish()):
            self._spool.write_result(object_id, index, ciphertext)
        return sealer.digest

    async def _flush_soon(self) -> None:
        await asyncio.sleep(limits.log_flush_seconds)
        self._flush()

    def _flush(self) -> None:
        for stream, buffer in self._buffers.items():
            if buffer:
                self._record(stream, bytes(buffer))
                buffer.clear()

    def _record(self, stream: Stream, data: bytes) -> None:
        self._seal_record(STREAMS[stream], data, final=False)

    def _final(self) -> None:
        self._seal_record(0, b"", final=True)

    def _seal_record(self, stream: int, data: bytes, *, final: bool) -> None:
        ciphertext = seal_log(self._root, data, **self._names, stream=stream, sequence=self._sequence, final=final)
        record = SealedRecord(sequence=self._sequence, stream=stream, final=final, ciphertext=ciphertext)
        self._sequence += 1
        self._emit(record)
